/* Starts a CPython inside a JVM as Android's runtimes do: its library is loaded privately, no symbol of it is anybody else's.
 * Needs no header of Python's: every function is asked for by its name. */
#include <dlfcn.h>
#include <jni.h>
#include <stdio.h>
#include <stdlib.h>

static void *library;
static void *main_state;

static void *function(const char *name) {
  void *found = dlsym(library, name);
  if (!found) {
    fprintf(stderr, "no %s\n", name);
    abort();
  }
  return found;
}

JNIEXPORT jboolean JNICALL Java_com_example_AppHost_pythonStart(JNIEnv *env, jclass class, jstring path) {
  (void)class;
  const char *text = (*env)->GetStringUTFChars(env, path, NULL);
  library = dlopen(text, RTLD_NOW | RTLD_LOCAL);
  (*env)->ReleaseStringUTFChars(env, path, text);
  if (!library) {
    fprintf(stderr, "%s\n", dlerror());
    return JNI_FALSE;
  }
  ((void (*)(int))function("Py_InitializeEx"))(0);
  main_state = ((void *(*)(void))function("PyEval_SaveThread"))();
  return JNI_TRUE;
}

JNIEXPORT jint JNICALL Java_com_example_AppHost_pythonRun(JNIEnv *env, jclass class, jstring code) {
  (void)class;
  const char *text = (*env)->GetStringUTFChars(env, code, NULL);
  int state = ((int (*)(void))function("PyGILState_Ensure"))();
  int answer = ((int (*)(const char *))function("PyRun_SimpleString"))(text);
  ((void (*)(int))function("PyGILState_Release"))(state);
  (*env)->ReleaseStringUTFChars(env, code, text);
  return answer;
}

JNIEXPORT jint JNICALL Java_com_example_AppHost_pythonEnd(JNIEnv *env, jclass class) {
  (void)env;
  (void)class;
  ((void (*)(void *))function("PyEval_RestoreThread"))(main_state);
  return ((int (*)(void))function("Py_FinalizeEx"))();
}
