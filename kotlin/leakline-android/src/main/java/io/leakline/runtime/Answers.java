package io.leakline.runtime;

import io.leakline.Snapshot;
import java.util.LinkedHashMap;
import java.util.Map;

/** Reads the library's answers: one fact a line, fields between tabs. What is not known is left out. */
final class Answers {
    private static final long START_WAIT_MILLIS = 10_000;

    private Answers() {}

    /** Waits for the start's thread, not for ever. */
    static void await(Thread starting) {
        try {
            starting.join(START_WAIT_MILLIS);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    /** Null: there is none, and the log says why. */
    static Snapshot told(String answer) {
        String reason = reason(answer);
        if (reason != null) {
            Log.warn("no snapshot: " + reason);
            return null;
        }
        return snapshot(answer);
    }

    /** Null when the answer is {@code ok}. */
    static String reason(String answer) {
        if (answer == null) {
            return "no memory for the answer";
        }
        return answer.startsWith("ok\n") ? null : answer.substring(answer.indexOf('\n') + 1);
    }

    static Snapshot snapshot(String answer) {
        long number = 0;
        long millis = 0;
        long baseline = 0;
        Map<String, String> probes = new LinkedHashMap<>();
        Map<String, Double> gauges = new LinkedHashMap<>();
        Map<String, Double> peaks = new LinkedHashMap<>();
        for (String line : answer.split("\n")) {
            String[] fields = line.split("\t", -1);
            if (fields[0].equals("snapshot") && fields.length >= 4) {
                number = Long.parseLong(fields[1]);
                millis = Long.parseLong(fields[2]);
                baseline = Long.parseLong(fields[3]);
            } else if (fields[0].equals("probe") && fields.length >= 5) {
                probes.put(fields[1], fields[4].isEmpty() ? fields[3] : fields[3] + ": " + fields[4]);
            } else if (fields[0].equals("gauge") && fields.length >= 3) {
                gauges.put(fields[1], Double.parseDouble(fields[2]));
                if (fields.length >= 4) {
                    peaks.put(fields[1], Double.parseDouble(fields[3]));
                }
            }
        }
        return new Snapshot(number, millis, baseline, probes, gauges, peaks);
    }
}
