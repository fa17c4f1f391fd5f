package io.leakline.runtime;

import io.leakline.Gauges;
import io.leakline.Probe;
import java.util.Locale;
import java.util.concurrent.CopyOnWriteArrayList;

/** The app's probes, read as one. What one of them throws costs its own gauges. */
final class AppProbes {
    private static final int MAX_PROBES = 32;
    private static final int MAX_GAUGES = 64;
    private static final CopyOnWriteArrayList<Probe> PROBES = new CopyOnWriteArrayList<>();

    private AppProbes() {}

    /** False: there are too many. */
    static synchronized boolean add(Probe probe) {
        return probe == null || PROBES.contains(probe) || (PROBES.size() < MAX_PROBES && PROBES.add(probe));
    }

    static void remove(Probe probe) {
        PROBES.remove(probe);
    }

    static String read() {
        StringBuilder text = new StringBuilder();
        for (Probe probe : PROBES) {
            Sheet sheet = new Sheet();
            String name = probe.getClass().getName();
            try {
                name = probe.name();
                sheet.prefix = probe.layer().name().toLowerCase(Locale.ROOT) + '.';
                probe.read(sheet);
                text.append(sheet.lines);
            } catch (Throwable thrown) {
                // Not an Error either: the app would not have survived it, but it is the app's probe.
                text.append("note\t").append(oneLine(name + ": " + thrown)).append('\n');
            }
        }
        return text.toString();
    }

    private static String oneLine(String text) {
        return text.replaceAll("\\p{Cntrl}", " ");
    }

    /** The gauges of one probe. */
    private static final class Sheet implements Gauges {
        private final StringBuilder lines = new StringBuilder();
        private String prefix = "";
        private int count;

        @Override
        public void bytes(String name, long value) {
            line(name, "bytes\tlevel", value);
        }

        @Override
        public void count(String name, long value) {
            line(name, "count\tlevel", value);
        }

        @Override
        public void total(String name, long value) {
            line(name, "count\ttotal", value);
        }

        private void line(String name, String kind, long value) {
            if (count++ < MAX_GAUGES) {
                lines.append("gauge\t").append(prefix).append(oneLine(name));
                lines.append('\t').append(kind).append('\t').append(value).append('\n');
            }
        }
    }
}
