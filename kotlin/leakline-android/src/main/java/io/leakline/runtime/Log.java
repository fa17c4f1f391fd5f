package io.leakline.runtime;

import java.lang.reflect.Method;

/** One line under leakline's tag: to Android's log, or to standard error. Never to standard output. */
public final class Log {
    /** {@code android.util.Log.w}, where there is one that works. */
    private static final Method WARN = find();

    private Log() {}

    private static Method find() {
        try {
            return Class.forName("android.util.Log").getMethod("w", String.class, String.class);
        } catch (ReflectiveOperationException | LinkageError absent) {
            return null;
        }
    }

    public static void warn(String line) {
        try {
            if (WARN != null) {
                WARN.invoke(null, "Leakline", line);
                return;
            }
        } catch (Throwable unusable) {
            // Stubs of android.jar throw; then there is standard error. Nor may an app end for the sake of a line.
            line += " (not in Android's log: " + unusable + ')';
        }
        System.err.println("W/Leakline: " + line);
    }
}
