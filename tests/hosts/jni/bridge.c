/* Native methods of com.example.Bridge: what they allocate is kept, or given back at once. */

#include <jni.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct block {
    struct block *next;
};

static struct block *kept;

/* A function of its own, for the call path. */
__attribute__((noinline)) static void *bridge_allocate(size_t bytes) {
    struct block *block = malloc(bytes);
    if (block != NULL) {
        memset(block, 1, bytes);
    }
    return block;
}

__attribute__((noinline)) static void bridge_keep(size_t bytes) {
    struct block *block = bridge_allocate(bytes);
    if (block != NULL) {
        do {
            block->next = __atomic_load_n(&kept, __ATOMIC_RELAXED);
        } while (!__sync_bool_compare_and_swap(&kept, block->next, block));
    }
}

__attribute__((noinline)) static void bridge_churn(size_t bytes, int count) {
    for (int i = 0; i < count; i++) {
        void *block = bridge_allocate(bytes);
        __asm__ volatile("" : : "r"(block) : "memory");
        free(block);
    }
}

JNIEXPORT void JNICALL Java_com_example_Bridge_open(JNIEnv *env, jclass class, jint bytes, jint count) {
    (void)env, (void)class;
    for (int i = 0; i < count; i++) {
        bridge_keep((size_t)bytes);
    }
}

JNIEXPORT void JNICALL Java_com_example_Bridge_churn(JNIEnv *env, jclass class, jint bytes, jint count) {
    (void)env, (void)class;
    bridge_churn((size_t)bytes, count);
}

/* Allocates while a collection may be waiting for the array. */
JNIEXPORT void JNICALL Java_com_example_Bridge_critical(JNIEnv *env, jclass class, jbyteArray array, jint bytes,
                                                        jint count) {
    (void)class;
    void *content = (*env)->GetPrimitiveArrayCritical(env, array, NULL);
    bridge_churn((size_t)bytes, count);
    if (content != NULL) {
        (*env)->ReleasePrimitiveArrayCritical(env, array, content, 0);
    }
}

/* Allocates with an exception pending. */
JNIEXPORT void JNICALL Java_com_example_Bridge_fail(JNIEnv *env, jclass class, jint bytes, jint count) {
    (void)class;
    jclass error = (*env)->FindClass(env, "java/lang/IllegalStateException");
    if (error != NULL && (*env)->ThrowNew(env, error, "meant") == 0) {
        bridge_churn((size_t)bytes, count);
    }
}

/* Allocates while it holds a lock that the JVM takes for its log, also while all threads are stopped. */
JNIEXPORT void JNICALL Java_com_example_Bridge_locked(JNIEnv *env, jclass class, jint bytes, jint count) {
    (void)env, (void)class;
    flockfile(stdout);
    bridge_churn((size_t)bytes, count);
    funlockfile(stdout);
}
