import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** What the tests of the JUnit extension test: it keeps what it should not. */
final class Sessions {
    private static final List<byte[]> OPEN = new ArrayList<>();
    private static final ArrayDeque<byte[]> RECENT = new ArrayDeque<>();
    private static byte[] last;

    private static final ExecutorService POOL =
            Executors.newSingleThreadExecutor(
                    work -> {
                        Thread thread = new Thread(work);
                        thread.setDaemon(true);
                        return thread;
                    });

    static void open() {
        OPEN.add(new byte[496]); // leak: open
    }

    static void replace() {
        last = new byte[496];
    }

    static int length() {
        return last.length;
    }

    /** Keeps the last ten. */
    static void remember() {
        RECENT.add(new byte[400]);
        if (RECENT.size() > 10) {
            RECENT.remove();
        }
    }

    static void openElsewhere() throws Exception {
        Future<?> done = POOL.submit(() -> OPEN.add(Arrays.copyOf(new byte[64 << 10], 496))); // leak: elsewhere
        done.get();
    }

    private Sessions() {}
}
