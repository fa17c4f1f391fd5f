package io.leakline.runtime;

import io.leakline.Config;

/** What kind of program leakline is started in: what that forbids, what it adds to the settings, and what its JVM wants first. */
public interface HostRules {
    /**
     * Why there is no start, in words for the log; null: there may be one. Called on the thread that asks for the start, which
     * may be an app's main one: it must be quick, and read no file.
     */
    String refusal();

    /** The settings to start with, a line each. Called on leakline's thread. */
    String settings(Config config);

    /**
     * Makes leakline an agent of its JVM, where that is needed for the JVM's tool interface. Called on leakline's thread, after
     * the library was loaded and before it is started. Null: it is one, or need not be; otherwise why it is none.
     */
    String becomeAgent(Config config);
}
