package io.leakline.runtime;

import io.leakline.Config;

/** What kind of program leakline is started in, and what that adds to the settings or forbids, and what its JVM wants first. */
public interface HostRules {
    /** The settings to start with, a line each; or why there is no start. */
    String settings(Config config) throws Refused;

    /**
     * Makes leakline an agent of its JVM, where that is needed for the JVM's tool interface. Called on leakline's thread, after
     * the library was loaded and before it is started. Null: it is one, or need not be; otherwise why it is none.
     */
    String becomeAgent(Config config);

    /** A JVM that is no app: what is asked for. */
    final class AnyJvm implements HostRules {
        @Override
        public String settings(Config config) {
            return AnyConfig.lines(config.settings());
        }

        /** HotSpot gives its tool interface to whoever asks, and warns of agents. */
        @Override
        public String becomeAgent(Config config) {
            return null;
        }
    }

    /** Why there is no start, in words for the log. */
    final class Refused extends Exception {
        private static final long serialVersionUID = 1;

        public Refused(String reason) {
            super(reason);
        }
    }
}
