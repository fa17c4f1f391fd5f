package android.os;

/** Stands in for Android's, which no other JVM has. */
public final class Debug {
    public static String getRuntimeStat(String name) {
        switch (name) {
            case "art.gc.gc-count": return "12";
            case "art.gc.gc-time": return "345";
            case "art.gc.bytes-allocated": return "6789";
            case "art.gc.bytes-freed": return "5678";
            case "art.gc.blocking-gc-count": return "3";
            case "art.gc.blocking-gc-time": return "21";
            default: return null;
        }
    }

    public static long getNativeHeapAllocatedSize() { return 4321; }

    public static long getNativeHeapFreeSize() { return 1234; }

    public static long getNativeHeapSize() { return 5555; }

    public static int getLoadedClassCount() { return 987; }

    public static int getBinderLocalObjectCount() { return 65; }

    /** As the stubs that apps compile against, which throw. */
    public static int getBinderProxyObjectCount() { throw new RuntimeException("Stub!"); }
}
