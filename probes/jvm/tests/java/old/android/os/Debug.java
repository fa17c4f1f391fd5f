package android.os;

/** Stands in for that of an Android before 6, with as little as an app may find. */
public final class Debug {
    public static long getNativeHeapAllocatedSize() { return 4321; }
}
