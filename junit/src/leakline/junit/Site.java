package leakline.junit;

import java.util.List;
import java.util.StringJoiner;

/** Where objects of a class were allocated that live on. */
final class Site {
    /** Frames that are shown of a call path. */
    private static final int SHOWN = 6;

    final Growth growth;

    /** Innermost first. */
    private final List<StackTraceElement> frames;

    Site(Growth growth, List<StackTraceElement> frames) {
        this.growth = growth;
        this.frames = frames;
    }

    /**
     * {@code Sessions.java:41 in Sessions.open <- SessionsTest.java:12 in SessionsTest.reconnects}. Of the JDK's own frames
     * around the program's one is told, at the end, for nobody can mend those.
     */
    @Override
    public String toString() {
        int first = 0;
        while (first < frames.size() && isJdk(frames.get(first))) {
            first++;
        }
        int end = frames.size();
        while (first < end && isJdk(frames.get(end - 1))) {
            end--;
        }
        if (first == end) {
            first = 0;
        }
        StringJoiner path = new StringJoiner(" <- ");
        for (StackTraceElement frame : frames.subList(first, Math.min(end, first + SHOWN))) {
            path.add(words(frame));
        }
        return first == 0 ? path.toString() : path + ", through " + words(frames.get(first - 1));
    }

    static boolean isJdk(StackTraceElement frame) {
        String type = frame.getClassName();
        // Or made by it, for a lambda.
        return type.contains("$$Lambda")
                || type.startsWith("java.")
                || type.startsWith("javax.")
                || type.startsWith("jdk.")
                || type.startsWith("sun.");
    }

    private static String words(StackTraceElement frame) {
        String method = frame.getClassName() + "." + frame.getMethodName();
        if (frame.getLineNumber() <= 0) {
            return method;
        }
        // The flight recorder knows lines, and no files.
        return frame.getFileName() == null
                ? "line " + frame.getLineNumber() + " of " + method
                : frame.getFileName() + ":" + frame.getLineNumber() + " in " + method;
    }
}
