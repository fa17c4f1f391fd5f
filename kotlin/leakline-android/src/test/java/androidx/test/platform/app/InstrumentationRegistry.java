package androidx.test.platform.app;

import android.app.Instrumentation;
import android.os.Bundle;

/** As much of androidx.test as Robolectric calls: the real one is not in Maven Central. Does nothing. */
public final class InstrumentationRegistry {
    private InstrumentationRegistry() {}

    public static void registerInstance(Instrumentation instrumentation, Bundle arguments) {}
}
