/* The C library behind Codec.java: splits a text into records, each in memory of its own, and gives them back.
 * Knows nothing of leakline. */

#include <jni.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RECORDS = 4096 };

JNIEXPORT jlong JNICALL Java_Codec_encode(JNIEnv *env, jclass class, jbyteArray text, jint wanted) {
    (void)class;
    static char *records[MOST_RECORDS];
    jsize length = (*env)->GetArrayLength(env, text);
    char *bytes = malloc((size_t)length);
    if (!bytes || length < 64) return 0;
    (*env)->GetByteArrayRegion(env, text, 0, length, (jbyte *)bytes);
    int count = wanted < MOST_RECORDS ? wanted : MOST_RECORDS;
    jlong sum = 0;
    for (int record = 0; record < count; record++) {
        size_t from = (size_t)(record * 37) % (size_t)(length / 2), size = (size_t)(16 + record * 7 % (length / 2));
        free(records[record]);
        records[record] = malloc(size + 1);
        if (!records[record]) continue;
        memcpy(records[record], bytes + from, size);
        records[record][size] = 0;
        for (char *at = records[record]; (at = strchr(at, ';')); at++) sum++;
        sum += (jlong)size;
    }
    free(bytes);
    return sum;
}
