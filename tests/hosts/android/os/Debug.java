package android.os;

/** Stands in for Android's: a JVM that has it, and no management beans, is read as Android's runtime is. */
public final class Debug {
    private Debug() {}

    public static String getRuntimeStat(String name) {
        return name.equals("art.gc.gc-count") ? "12" : null;
    }

    public static long getNativeHeapAllocatedSize() {
        return 4321;
    }
}
