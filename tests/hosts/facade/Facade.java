import io.leakline.Leakline;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.util.Arrays;

/** Times a call into the facade where there is no runtime: what a release build pays. Prints name and nanoseconds a line. */
public final class Facade {
    /** Processor time of this thread: the machine may have other work. */
    private static final ThreadMXBean CLOCK = ManagementFactory.getThreadMXBean();

    private static long sink;

    private Facade() {}

    public static void main(String[] arguments) {
        int rounds = Integer.parseInt(arguments[0]);
        // Its first answer takes longer.
        sink = CLOCK.getCurrentThreadCpuTime();
        long begun = CLOCK.getCurrentThreadCpuTime();
        Leakline.mark("first");
        System.out.println("first " + (CLOCK.getCurrentThreadCpuTime() - begun));
        if (Leakline.isPresent()) {
            throw new IllegalStateException("there is a runtime on the class path");
        }
        // The first ones are for the compiler, where there is one.
        for (int round = 0; round < 5; round++) {
            without(rounds);
            with(rounds);
        }
        double[] differences = new double[15];
        for (int round = 0; round < differences.length; round++) {
            long start = CLOCK.getCurrentThreadCpuTime();
            without(rounds);
            long middle = CLOCK.getCurrentThreadCpuTime();
            with(rounds);
            long end = CLOCK.getCurrentThreadCpuTime();
            differences[round] = (double) (end - middle - (middle - start)) / rounds;
        }
        Arrays.sort(differences);
        System.out.println("call " + differences[differences.length / 2]);
    }

    /** The same loop without the call; its work depends on itself, so that no compiler leaves it out. */
    private static void without(int rounds) {
        long value = sink;
        for (int round = 0; round < rounds; round++) {
            value = value * 6364136223846793005L + 1442695040888963407L;
        }
        sink = value;
    }

    private static void with(int rounds) {
        long value = sink;
        for (int round = 0; round < rounds; round++) {
            value = value * 6364136223846793005L + 1442695040888963407L;
            Leakline.mark("reconnect");
        }
        sink = value;
    }
}
