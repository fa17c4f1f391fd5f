import com.sun.management.HotSpotDiagnosticMXBean;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.List;

/**
 * Keeps objects of two classes, each made at a line of its own, beside garbage of the same classes; then stays as it is for some
 * seconds, and has Java collect now and then. {@code Kept SECONDS FILE}: in the end it writes a heap dump.
 */
public final class Kept {
    /** 32 bytes. */
    static final class Small { long a, b; }
    /** 256 bytes. */
    static final class Wide {
        long a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, c0, c1, c2, c3, c4, c5, c6, c7, c8, c9;
    }

    static final List<Object> KEPT = new ArrayList<>();
    static volatile Object sink;

    private Kept() {}

    static Object small() { return new Small(); }
    static Object wide() { return new Wide(); }

    public static void main(String[] words) throws Exception {
        // Whoever watches has begun by then.
        Thread.sleep(2000);
        for (int turn = 0; turn < 100; turn++) {
            for (int i = 0; i < 1200; i++) {
                // As much garbage as is kept.
                if (i % 2 == 0) KEPT.add(small()); else sink = small();
                if (i % 8 == 0) KEPT.add(wide()); else sink = wide();
            }
            Thread.sleep(10);
        }
        sink = null;
        long end = System.nanoTime() + (long) (Double.parseDouble(words[0]) * 1e9);
        while (System.nanoTime() < end) {
            System.gc();
            Thread.sleep(500);
        }
        ManagementFactory.getPlatformMXBean(HotSpotDiagnosticMXBean.class).dumpHeap(words[1], true);
    }
}
