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
 * How many bytes and objects of each class are live, at a few points in time, as HotSpot's own histogram says. Holds one row
 * of numbers per class, so that a look adds next to nothing to what the next one sees.
 */
final class LiveObjects {
    /** What collectors from Java 19 on put into gaps of the heap: it comes and goes by tens of kilobytes. */
    private static final String FILLER = "jdk.internal.vm.Filler";

    private final int points;
    /** Bytes at each point, then objects at each point. */
    private final Map<String, long[]> byClass = new HashMap<>();

    private final long[] all;

    LiveObjects(int points) {
        this.points = points;
        this.all = new long[points];
    }

    /** Collects, and counts what is left as the given point's. */
    void look(int point) {
        String histogram = collect();
        all[point] = 0;
        for (long[] row : byClass.values()) {
            row[point] = 0;
            row[points + point] = 0;
        }
        // `  12:     345     6789  java.lang.String (java.base@17)`
        for (String line : histogram.split("\n")) {
            String[] words = line.trim().split("\\s+");
            if (words.length < 4 || !words[0].matches("\\d+:") || words[3].contains(FILLER)) {
                continue;
            }
            long bytes = Long.parseLong(words[2]);
            long[] row = byClass.computeIfAbsent(words[3], name -> new long[2 * points]);
            row[point] += bytes;
            row[points + point] += Long.parseLong(words[1]);
            all[point] += bytes;
        }
    }

    /** Has the JVM collect, whatever its options say of {@code System.gc()}; its histogram of what is left. */
    static String collect() {
        try {
            MBeanServer beans = ManagementFactory.getPlatformMBeanServer();
            return (String)
                    beans.invoke(
                            new ObjectName("com.sun.management:type=DiagnosticCommand"),
                            "gcClassHistogram",
                            new Object[] {new String[0]},
                            new String[] {String[].class.getName()});
        } catch (JMException error) {
            throw new IllegalStateException("this JVM has no class histogram: a HotSpot is needed", error);
        }
    }

    /** From the first point to the last. */
    long growth() {
        long grown = 0;
        for (Growth growth : grown(Integer.MAX_VALUE)) {
            grown += growth.bytes;
        }
        return Math.max(grown, all[points - 1] - all[0]);
    }

    /**
     * Of the steps between the points, the smallest: of all, or of the classes that grew in every one, whichever is more. What
     * the JVM lets go of once, in a cache of its own, hides no leak.
     */
    long leastGrowth() {
        long ofClasses = 0;
        for (long[] row : byClass.values()) {
            ofClasses += Math.max(0, least(row));
        }
        return Math.max(ofClasses, least(all));
    }

    private long least(long[] row) {
        long least = Long.MAX_VALUE;
        for (int point = 1; point < points; point++) {
            least = Math.min(least, row[point] - row[point - 1]);
        }
        return least;
    }

    /** The classes that grew in every step, the most grown first. */
    List<Growth> grown(int top) {
        List<Growth> grown = new ArrayList<>();
        for (Map.Entry<String, long[]> entry : byClass.entrySet()) {
            long[] row = entry.getValue();
            if (least(row) > 0) {
                long objects = row[2 * points - 1] - row[points];
                grown.add(new Growth(entry.getKey(), row[points - 1] - row[0], Math.max(0, objects)));
            }
        }
        grown.sort((one, other) -> Long.compare(other.bytes, one.bytes));
        return grown.subList(0, Math.min(top, grown.size()));
    }
}
