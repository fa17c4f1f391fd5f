package androidx.test.runner.lifecycle;

/** As much of androidx.test as Robolectric calls: the real one is not in Maven Central. Does nothing. */
public interface ActivityLifecycleMonitor {}
