package androidx.test.runner.lifecycle;

/** As much of androidx.test as Robolectric calls: the real one is not in Maven Central. Does nothing. */
public final class ActivityLifecycleMonitorRegistry {
    private ActivityLifecycleMonitorRegistry() {}

    public static void registerInstance(ActivityLifecycleMonitor monitor) {}
}
