package io.leakline.runtime;

import io.leakline.Config;
import io.leakline.Probe;
import io.leakline.Snapshot;
import io.leakline.spi.LeaklineRuntime;
import java.util.ArrayDeque;

/**
 * Starts and asks the native agent. Loading and starting are done on a thread of their own; nothing is thrown.
 *
 * <p>What the thread that asks for a start has to load, an app's main one, is this class and little else: each class more is
 * some tenths of a millisecond. So it is the start's Runnable, too, states are numbers, and what only waits or reads answers
 * stands in {@link Answers}.
 */
public final class AgentRuntime implements LeaklineRuntime, Runnable {
    private static final int MAX_EARLY_MARKS = 64;

    private static final int STOPPED = 0;
    private static final int STARTING = 1;
    private static final int RUNNING = 2;

    // One agent per process, whoever made this object.
    private static final Object LOCK = new Object();
    private static final ArrayDeque<String> EARLY_MARKS = new ArrayDeque<>();
    private static int state = STOPPED;
    private static Thread starting;

    /** What the start is to begin with; in the object that the facade has, null. Null rules: a JVM that is no app. */
    private HostRules rules;

    private Config config;

    /** For the facade, which finds it by its name; a second one would have its arguments' classes loaded for that. */
    public AgentRuntime() {}

    @Override
    public boolean start(Object context, Config config) {
        synchronized (LOCK) {
            if (state != STOPPED) {
                Log.warn("not started: leakline runs in this process already");
                return false;
            }
            HostRules rules = null;
            try {
                rules = context == null ? null : rulesOf(context);
                String refusal = rules == null ? null : rules.refusal();
                if (refusal != null) {
                    Log.warn("not started: " + refusal);
                    return false;
                }
            } catch (RuntimeException | LinkageError error) {
                Log.warn("not started: " + error);
                return false;
            }
            AgentRuntime start = new AgentRuntime();
            start.rules = rules;
            start.config = config == null ? new Config() : config.copy();
            Thread thread = new Thread(null, start, "leakline-start", 256 << 10);
            thread.setDaemon(true);
            try {
                thread.start();
            } catch (OutOfMemoryError error) {
                Log.warn("not started: " + error.getMessage());
                return false;
            }
            state = STARTING;
            starting = thread;
            return true;
        }
    }

    private static HostRules rulesOf(Object context) {
        try {
            Class<?> found = Class.forName("io.leakline.android.AppRules");
            return (HostRules) found.getDeclaredConstructor(Object.class).newInstance(context);
        } catch (ReflectiveOperationException | LinkageError error) {
            throw new IllegalArgumentException("a context, but no Android: " + error, error);
        }
    }

    /** The start itself, on leakline's thread. */
    @Override
    public void run() {
        try {
            startNow();
        } catch (Throwable thrown) {
            // What leaves a thread's run() ends an Android app. Out of memory or of stack, most likely.
            Log.warn("the start was cut short: " + thrown);
        }
    }

    private void startNow() {
        String failure;
        try {
            String settings = rules == null ? AnyConfig.lines(config.settings()) : rules.settings(config);
            Native.load();
            String refused = rules == null ? null : rules.becomeAgent(config);
            if (refused != null) {
                Native.agentRefused(refused);
            }
            failure = Answers.reason(Native.start(settings));
        } catch (Throwable thrown) {
            failure = thrown.toString();
        }
        synchronized (LOCK) {
            starting = null;
            state = failure == null ? RUNNING : STOPPED;
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
            if (state == RUNNING) {
                Native.mark(mark);
            } else if (state == STARTING && EARLY_MARKS.size() < MAX_EARLY_MARKS) {
                EARLY_MARKS.add(mark);
            }
        }
    }

    @Override
    public Snapshot snapshotNow() {
        return runs() ? Answers.told(Native.snapshotNow()) : null;
    }

    @Override
    public Snapshot stats() {
        return runs() ? Answers.told(Native.stats()) : null;
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
            state = STOPPED;
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
            Answers.await(thread);
        }
        synchronized (LOCK) {
            return state == RUNNING;
        }
    }
}
