import io.leakline.Config;
import io.leakline.Leakline;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;

/** Times what a start takes of the thread that asks for it, an app's main thread. Prints name and nanoseconds a line. */
public final class Start {
    private static final ThreadMXBean CLOCK = ManagementFactory.getThreadMXBean();

    private Start() {}

    public static void main(String[] arguments) {
        // Its first answer takes longer.
        CLOCK.getCurrentThreadCpuTime();
        long begun = System.nanoTime();
        long cpuBegun = CLOCK.getCurrentThreadCpuTime();
        boolean isStarting = Leakline.start(new Config().file(arguments[0]));
        long cpu = CLOCK.getCurrentThreadCpuTime() - cpuBegun;
        long passed = System.nanoTime() - begun;
        if (!isStarting || Leakline.snapshotNow() == null) {
            throw new IllegalStateException("leakline did not start");
        }
        System.out.println("wall " + passed);
        System.out.println("cpu " + cpu);
        Leakline.stop();
    }
}
