package io.leakline.runtime;

import io.leakline.Snapshot;
import java.util.LinkedHashMap;
import java.util.Map;

/** Reads the library's answers: one fact a line, fields between tabs. What is not known is left out. */
final class Answers {
    private Answers() {}

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
