package io.leakline.runtime;

/** The library's entry points, registered when it is loaded. An answer's first line is {@code ok} or {@code error}. */
final class Native {
    private Native() {}

    /** Loads the library; called again, it does nothing. */
    static void load() {
        String file = System.getProperty("leakline.library");
        if (file != null) {
            System.load(file);
        } else {
            System.loadLibrary("leakline_jni");
        }
    }

    static native String start(String settings);

    /** Why leakline is no agent of its JVM: told in the readings where that matters. */
    static native String agentRefused(String reason);

    static native String mark(String name);

    static native String snapshotNow();

    static native String stats();

    static native String resetBaseline();

    static native String stop();

    /** Called by the library at each snapshot, on its own thread. */
    static String readProbes() {
        return AppProbes.read();
    }
}
