package androidx.test.runner.intent;

/** As much of androidx.test as Robolectric calls: the real one is not in Maven Central. Does nothing. */
public final class IntentStubberRegistry {
    private IntentStubberRegistry() {}

    public static boolean isLoaded() {
        return false;
    }
}
