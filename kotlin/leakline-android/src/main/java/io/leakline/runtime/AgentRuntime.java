package io.leakline.runtime;

import io.leakline.Config;
import io.leakline.Probe;
import io.leakline.Snapshot;
import io.leakline.spi.LeaklineRuntime;
import java.util.ArrayDeque;

/** Starts and asks the native agent. Loading and starting are done on a thread of their own; nothing is thrown. */
public final class AgentRuntime implements LeaklineRuntime {
    private static final int MAX_EARLY_MARKS = 64;
    private static final long START_WAIT_MILLIS = 10_000;

    private enum State {
        STOPPED,
        STARTING,
        RUNNING
    }

    // One agent per process, whoever made this object.
    private static final Object LOCK = new Object();
    private static final ArrayDeque<String> EARLY_MARKS = new ArrayDeque<>();
    private static State state = State.STOPPED;
    private static Thread starting;

    /** For the facade, which finds it by its name. */
    public AgentRuntime() {}

    @Override
    public boolean start(Object context, Config config) {
        synchronized (LOCK) {
            if (state != State.STOPPED) {
                Log.warn("not started: leakline runs in this process already");
                return false;
            }
            HostRules rules;
            Config wanted = config == null ? new Config() : config;
            String settings;
            try {
                rules = rulesOf(context);
                settings = rules.settings(wanted);
            } catch (HostRules.Refused refused) {
                Log.warn("not started: " + refused.getMessage());
                return false;
            } catch (RuntimeException | LinkageError error) {
                Log.warn("not started: " + error);
                return false;
            }
            Thread thread = new Thread(null, new Starting(rules, wanted, settings), "leakline-start", 256 << 10);
            thread.setDaemon(true);
            try {
                thread.start();
            } catch (OutOfMemoryError error) {
                Log.warn("not started: " + error.getMessage());
                return false;
            }
            state = State.STARTING;
            starting = thread;
            return true;
        }
    }

    /** The rules of an app when there is a context, of any JVM otherwise. */
    private static HostRules rulesOf(Object context) {
        if (context == null) {
            return new HostRules.AnyJvm();
        }
        try {
            Class<?> found = Class.forName("io.leakline.android.AppRules");
            return (HostRules) found.getDeclaredConstructor(Object.class).newInstance(context);
        } catch (ReflectiveOperationException | LinkageError error) {
            throw new IllegalArgumentException("a context, but no Android: " + error, error);
        }
    }

    /** A class by its name: a lambda takes a JVM milliseconds to make, on the app's thread. */
    private static final class Starting implements Runnable {
        private final HostRules rules;
        private final Config config;
        private final String settings;

        Starting(HostRules rules, Config config, String settings) {
            this.rules = rules;
            this.config = config;
            this.settings = settings;
        }

        @Override
        public void run() {
            try {
                startNow(rules, config, settings);
            } catch (Throwable thrown) {
                // What leaves a thread's run() ends an Android app. Out of memory or of stack, most likely.
                Log.warn("the start was cut short: " + thrown);
            }
        }
    }

    private static void startNow(HostRules rules, Config config, String settings) {
        String failure = null;
        try {
            Native.load();
            String refused = rules.becomeAgent(config);
            if (refused != null) {
                Native.agentRefused(refused);
            }
            failure = reason(Native.start(settings));
        } catch (Throwable thrown) {
            failure = thrown.toString();
        }
        synchronized (LOCK) {
            starting = null;
            state = failure == null ? State.RUNNING : State.STOPPED;
            if (failure != null) {
                EARLY_MARKS.clear();
                Log.warn("not started: " + failure);
                return;
            }
            for (String mark : EARLY_MARKS) {
                Native.mark(mark);
            }
            EARLY_MARKS.clear();
        }
    }

    @Override
    public void mark(String name) {
        String mark = name == null ? "null" : name;
        synchronized (LOCK) {
            if (state == State.RUNNING) {
                Native.mark(mark);
            } else if (state == State.STARTING && EARLY_MARKS.size() < MAX_EARLY_MARKS) {
                EARLY_MARKS.add(mark);
            }
        }
    }

    @Override
    public Snapshot snapshotNow() {
        return runs() ? told(Native.snapshotNow()) : null;
    }

    @Override
    public Snapshot stats() {
        return runs() ? told(Native.stats()) : null;
    }

    @Override
    public void resetBaseline() {
        if (runs()) {
            Native.resetBaseline();
        }
    }

    @Override
    public void stop() {
        if (!runs()) {
            return;
        }
        // Not under the lock: it waits for what is still to be written, and marks must not.
        Native.stop();
        synchronized (LOCK) {
            state = State.STOPPED;
        }
    }

    @Override
    public void addProbe(Probe probe) {
        if (!AppProbes.add(probe)) {
            Log.warn("a probe is left out: there are 32 already");
        }
    }

    @Override
    public void removeProbe(Probe probe) {
        AppProbes.remove(probe);
    }

    /** Whether the agent runs; waits while it is being started. */
    private static boolean runs() {
        Thread thread;
        synchronized (LOCK) {
            thread = starting;
        }
        if (thread != null && thread != Thread.currentThread()) {
            try {
                thread.join(START_WAIT_MILLIS);
            } catch (InterruptedException interrupted) {
                Thread.currentThread().interrupt();
            }
        }
        synchronized (LOCK) {
            return state == State.RUNNING;
        }
    }

    private static Snapshot told(String answer) {
        String reason = reason(answer);
        if (reason != null) {
            Log.warn("no snapshot: " + reason);
            return null;
        }
        return Answers.snapshot(answer);
    }

    /** Null when the answer is {@code ok}. */
    private static String reason(String answer) {
        if (answer == null) {
            return "no memory for the answer";
        }
        return answer.startsWith("ok\n") ? null : answer.substring(answer.indexOf('\n') + 1);
    }
}
