package io.leakline;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;

/** All layers' numbers at one instant. */
public final class Snapshot {
    private final long number;
    private final long unixMillis;
    private final long baseline;
    private final Map<String, String> probes;
    private final Map<String, Double> gauges;
    private final Map<String, Double> peaks;

    /** For the runtime. */
    public Snapshot(
            long number,
            long unixMillis,
            long baseline,
            Map<String, String> probes,
            Map<String, Double> gauges,
            Map<String, Double> peaks) {
        this.number = number;
        this.unixMillis = unixMillis;
        this.baseline = baseline;
        this.probes = Collections.unmodifiableMap(new LinkedHashMap<>(probes));
        this.gauges = Collections.unmodifiableMap(new LinkedHashMap<>(gauges));
        this.peaks = Collections.unmodifiableMap(new LinkedHashMap<>(peaks));
    }

    /** Number since the start, from 0. */
    public long number() {
        return number;
    }

    /** When it was taken. */
    public long unixMillis() {
        return unixMillis;
    }

    /** Number of the snapshot that growth is counted from. */
    public long baseline() {
        return baseline;
    }

    /** Each probe ({@code python}, {@code jvm}, {@code native}, {@code process}, {@code app}) and {@code ok}, or why not. */
    public Map<String, String> probes() {
        return probes;
    }

    /** Value by name, such as {@code python.arenas_used_bytes}. */
    public Map<String, Double> gauges() {
        return gauges;
    }

    /** The highest value of each level so far; empty unless asked for by {@link Leakline#stats()}. */
    public Map<String, Double> peaks() {
        return peaks;
    }
}
