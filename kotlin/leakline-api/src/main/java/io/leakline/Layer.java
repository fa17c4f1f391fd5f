package io.leakline;

/** What a probe's numbers belong to. */
public enum Layer {
    /** The Java heap. */
    JVM,
    /** The Python heap. */
    PYTHON,
    /** Malloc's and mmap's. */
    NATIVE,
    /** What the operating system counts. */
    PROCESS
}
