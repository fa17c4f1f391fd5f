package relay;

import com.google.gson.Gson;
import java.util.concurrent.ArrayBlockingQueue;

/** Writes and reads every message as JSON for each of its subscribers, on a thread of its own. */
public final class Worker {
    private static final int SUBSCRIBERS = 40;
    private static final long USUAL_RATE = 512 << 10;

    private final ArrayBlockingQueue<String> queue = new ArrayBlockingQueue<>(1000);
    private final Gson gson = new Gson();
    private final boolean leaks;
    private final long bytesPerSecond;
    private long begunNanos;
    private long givenBytes;
    private long count;

    /** A rate of 0 plants no leak. */
    public Worker(long leakBytesPerSecond) {
        leaks = leakBytesPerSecond > 0;
        bytesPerSecond = leaks ? leakBytesPerSecond : USUAL_RATE;
    }

    /** Starts the thread, which never keeps the process alive. */
    public void start() {
        Thread thread = new Thread(this::run, "relay-worker");
        thread.setDaemon(true);
        thread.start();
    }

    /** Queues a message; a full queue drops it. */
    public boolean offer(String text) {
        return queue.offer(text);
    }

    private void run() {
        try {
            while (true) {
                work(queue.take());
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private void work(String text) {
        long hops = 0;
        for (int i = 0; i < SUBSCRIBERS; i++) {
            String json = gson.toJson(Envelope.of(count++, text));
            hops += gson.fromJson(json, Envelope.class).hops.size();
        }
        if (hops != SUBSCRIBERS * 8L) {
            throw new IllegalStateException("Gson lost " + (SUBSCRIBERS * 8L - hops) + " hops");
        }
        Archive.keep(dueEntries());
        if (!leaks) {
            Archive.forget();
        }
    }

    private long dueEntries() {
        long now = System.nanoTime();
        if (begunNanos == 0) {
            begunNanos = now;
        }
        long due = (long) ((now - begunNanos) / 1e9 * bytesPerSecond) - givenBytes;
        long entries = due / Archive.ENTRY_BYTES;
        givenBytes += entries * Archive.ENTRY_BYTES;
        return entries;
    }
}
