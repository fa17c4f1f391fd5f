/* The native method of Leaks: a global reference that nobody deletes. */

#include <jni.h>

JNIEXPORT void JNICALL Java_Leaks_keep(JNIEnv *env, jclass class, jobject object) {
    (void)class;
    (*env)->NewGlobalRef(env, object);
}
