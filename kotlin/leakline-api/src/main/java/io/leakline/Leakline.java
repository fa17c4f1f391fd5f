package io.leakline;

import io.leakline.spi.LeaklineRuntime;

/**
 * What an app calls. Finds leakline's runtime when the app was built with it, and does nothing otherwise: a release build
 * that carries only this class does no work, has no native code, and asks for no permission.
 *
 * <p>Every method may be called from any thread, at any time, and throws nothing. Those that wait say so.
 */
public final class Leakline {
    private Leakline() {}

    /** Looked up once, when the first method is called. */
    private static final LeaklineRuntime RUNTIME = find();

    private static LeaklineRuntime find() {
        try {
            Class<?> found = Class.forName("io.leakline.runtime.AgentRuntime");
            return (LeaklineRuntime) found.getDeclaredConstructor().newInstance();
        } catch (ReflectiveOperationException | LinkageError | ClassCastException absent) {
            return null;
        }
    }

    /** Whether this build has leakline in it. */
    public static boolean isPresent() {
        return RUNTIME != null;
    }

    /** Starts it in a JVM that is no Android app. The work is done on a thread of leakline's. False: refused, see the log. */
    public static boolean start(Config config) {
        return start(null, config);
    }

    /**
     * Starts it in an Android app; {@code context} is any {@code android.content.Context} of it. Needed only where the start
     * by itself was switched off. False: refused (it runs already, the app is not debuggable), see the log.
     */
    public static boolean start(Object context, Config config) {
        return RUNTIME != null && RUNTIME.start(context, config);
    }

    /** Tells an event of the app's, such as {@code reconnect}. Never waits. */
    public static void mark(String name) {
        if (RUNTIME != null) {
            RUNTIME.mark(name);
        }
    }

    /** Takes a snapshot besides the regular ones, and waits for it. Null: leakline does not run. */
    public static Snapshot snapshotNow() {
        return RUNTIME == null ? null : RUNTIME.snapshotNow();
    }

    /** The last snapshot with each level's peak; takes one when there is none. Null: leakline does not run. */
    public static Snapshot stats() {
        return RUNTIME == null ? null : RUNTIME.stats();
    }

    /** Has growth counted from now on. Does not wait for the snapshot that is taken for it. */
    public static void resetBaseline() {
        if (RUNTIME != null) {
            RUNTIME.resetBaseline();
        }
    }

    /** Stops it, and waits a second at most until all is written. It can be started again. */
    public static void stop() {
        if (RUNTIME != null) {
            RUNTIME.stop();
        }
    }

    /** Has {@code probe} read at each snapshot from now on, also after a stop and another start. At most 32. */
    public static void addProbe(Probe probe) {
        if (RUNTIME != null) {
            RUNTIME.addProbe(probe);
        }
    }

    /** No more. */
    public static void removeProbe(Probe probe) {
        if (RUNTIME != null) {
            RUNTIME.removeProbe(probe);
        }
    }
}
