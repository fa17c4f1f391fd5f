package com.example;

/** Starts a CPython whose library is loaded privately, as Chaquopy does: {@code tests/hosts/android/python.c} has the functions. */
public final class AppHost {
    private AppHost() {}

    public static native boolean pythonStart(String library);

    public static native int pythonRun(String code);

    public static native int pythonEnd();
}
