package leakline.junit;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Call paths to objects that live on, put together where they differ only in what runs the test. */
final class Sites {
    private final StackTraceElement test;
    private final Map<List<Object>, Sum> sums = new HashMap<>();

    private static final class Sum {
        private long bytes;
        private long objects;
        private int parts;
    }

    /** {@code test}: the frame, of whatever line, at which paths end. */
    Sites(StackTraceElement test) {
        this.test = test;
    }

    /** {@code parts}: a bit for each part of the rounds that some of the objects are of. */
    void add(String type, long bytes, long objects, int parts, List<StackTraceElement> frames) {
        int length = 0;
        while (length < frames.size() && !isTest(frames.get(length))) {
            length++;
        }
        List<StackTraceElement> path = List.copyOf(frames.subList(0, Math.min(frames.size(), length + 1)));
        Sum sum = sums.computeIfAbsent(List.of(type, path), key -> new Sum());
        sum.bytes += bytes;
        sum.objects += objects;
        sum.parts |= parts;
    }

    private boolean isTest(StackTraceElement frame) {
        return frame.getClassName().equals(test.getClassName()) && frame.getMethodName().equals(test.getMethodName());
    }

    /** Those with objects of so many parts and so many objects at least, the most bytes first. */
    List<Site> of(int parts, long objects) {
        List<Site> sites = new ArrayList<>();
        for (Map.Entry<List<Object>, Sum> entry : sums.entrySet()) {
            Sum sum = entry.getValue();
            if (Integer.bitCount(sum.parts) < parts || sum.objects < objects) {
                continue;
            }
            List<StackTraceElement> frames = new ArrayList<>();
            for (Object frame : (List<?>) entry.getKey().get(1)) {
                frames.add((StackTraceElement) frame);
            }
            String type = (String) entry.getKey().get(0);
            sites.add(new Site(new Growth(type, sum.bytes, sum.objects), frames));
        }
        sites.sort(
                (one, other) ->
                        one.growth.bytes == other.growth.bytes
                                ? Long.compare(other.growth.objects, one.growth.objects)
                                : Long.compare(other.growth.bytes, one.growth.bytes));
        return sites;
    }
}
