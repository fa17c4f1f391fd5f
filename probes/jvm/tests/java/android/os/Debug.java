package android.os;

/** Stands in for Android's, which no other JVM has. */
public final class Debug {
    public static String getRuntimeStat(String name) {
        switch (name) {
            case "art.gc.gc-count": return "12";
            case "art.gc.gc-time": return "345";
            case "art.gc.bytes-allocated": return "6789";
            default: return null;
        }
    }

    public static long getNativeHeapAllocatedSize() { return 4321; }
}
