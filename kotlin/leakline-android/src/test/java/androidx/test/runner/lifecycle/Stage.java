package androidx.test.runner.lifecycle;

/** As much of androidx.test as Robolectric calls: the real one is not in Maven Central. Does nothing. */
public enum Stage {
    PRE_ON_CREATE,
    CREATED,
    STARTED,
    RESUMED,
    PAUSED,
    STOPPED,
    RESTARTED,
    DESTROYED
}
