package io.leakline;

/** Reads something of the app's own at each snapshot: the length of a queue, the bytes of a cache. */
public interface Probe {
    /** Names it in the log when it fails. */
    String name();

    /** What its gauges belong to; their names begin with it. */
    Layer layer();

    /**
     * Reads. Called on leakline's thread {@code leakline-app} at each snapshot, once the layers' own gauges were read and
     * after the other probes of the app, so it must be quick and must not wait for a lock that is held for long. What it
     * throws costs its own gauges only.
     */
    void read(Gauges into) throws Exception;
}
