package leakline.junit;

import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import javax.management.JMException;
import javax.management.MBeanServer;
import javax.management.ObjectName;

/**
 * How many bytes of each class are live, at a few points in time, as HotSpot's own histogram says. Holds one row of numbers
 * per class, so that a look adds next to nothing to what the next one sees.
 */
final class LiveObjects {
    private final int points;
    private final Map<String, long[]> byClass = new HashMap<>();
    private final long[] all;

    LiveObjects(int points) {
        this.points = points;
        this.all = new long[points];
    }

    /** Collects, and counts what is left as the given point's. */
    void look(int point) {
        String histogram;
        try {
            MBeanServer beans = ManagementFactory.getPlatformMBeanServer();
            histogram =
                    (String)
                            beans.invoke(
                                    new ObjectName("com.sun.management:type=DiagnosticCommand"),
                                    "gcClassHistogram",
                                    new Object[] {new String[0]},
                                    new String[] {String[].class.getName()});
        } catch (JMException error) {
            throw new IllegalStateException("this JVM has no class histogram: a HotSpot is needed", error);
        }
        all[point] = 0;
        for (long[] row : byClass.values()) {
            row[point] = 0;
        }
        // `  12:     345     6789  java.lang.String (java.base@17)`
        for (String line : histogram.split("\n")) {
            String[] words = line.trim().split("\\s+");
            if (words.length < 4 || !words[0].matches("\\d+:")) {
                continue;
            }
            long bytes = Long.parseLong(words[2]);
            byClass.computeIfAbsent(words[3], name -> new long[points])[point] += bytes;
            all[point] += bytes;
        }
    }

    /** From the first point to the last. */
    long growth() {
        return all[points - 1] - all[0];
    }

    /** Of the steps between the points, the smallest. */
    long leastGrowth() {
        return least(all);
    }

    private static long least(long[] row) {
        long least = Long.MAX_VALUE;
        for (int point = 1; point < row.length; point++) {
            least = Math.min(least, row[point] - row[point - 1]);
        }
        return least;
    }

    /** The classes that grew in every step, the most grown first, a line each. */
    String words(int top, int rounds) {
        List<Map.Entry<String, long[]>> grown = new ArrayList<>();
        for (Map.Entry<String, long[]> row : byClass.entrySet()) {
            if (least(row.getValue()) > 0) {
                grown.add(row);
            }
        }
        grown.sort((one, other) -> Long.compare(total(other), total(one)));
        StringBuilder words = new StringBuilder();
        for (Map.Entry<String, long[]> row : grown.subList(0, Math.min(top, grown.size()))) {
            words.append(String.format("    %d bytes per round of %s%n", total(row) / rounds, row.getKey()));
        }
        return words.toString();
    }

    private static long total(Map.Entry<String, long[]> row) {
        long[] bytes = row.getValue();
        return bytes[bytes.length - 1] - bytes[0];
    }
}
