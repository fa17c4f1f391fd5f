package io.leakline;

/** Takes what a probe read. Names are lower-case letters, digits and underscores; the layer's name is put in front. */
public interface Gauges {
    /** A level in bytes. End its name in {@code _bytes}. */
    void bytes(String name, long value);

    /** A level that counts things. */
    void count(String name, long value);

    /** A count that only rises. */
    void total(String name, long value);
}
