import java.util.Random;
import java.util.function.DoubleUnaryOperator;
import java.util.function.LongConsumer;

/** Does something at the rate that was asked for, beside noise and load, and says in the end what was kept. See python/pace.py. */
final class Pace {
    static final double RATE = number("LEAK_RATE", 1 << 20);
    static final double SECONDS = number("LEAK_SECONDS", 12);
    private static final int NOISE = (int) number("LEAK_NOISE", 0);
    private static final double LOAD = number("LEAK_LOAD", 0);
    private static final Random RANDOM = new Random((long) number("LEAK_SEED", 1));

    private static volatile Object garbage;

    private Pace() {}

    static double number(String name, double otherwise) {
        String text = System.getenv(name);
        return text == null ? otherwise : Double.parseDouble(text);
    }

    static DoubleUnaryOperator steady() {
        return passed -> passed * RATE;
    }

    /** Stops after so many seconds. */
    static DoubleUnaryOperator fill(double seconds) {
        return passed -> Math.min(passed, seconds) * RATE;
    }

    static void run(LongConsumer step, double itemBytes) {
        run(step, itemBytes, steady());
    }

    /** Garbage makes the collector run, about eight times a second with a young generation of a megabyte. */
    static void run(LongConsumer step, double itemBytes, DoubleUnaryOperator due) {
        long begun = System.nanoTime();
        long items = 0;
        double passed;
        while ((passed = (System.nanoTime() - begun) / 1e9) < SECONDS) {
            for (; (items + 1) * itemBytes <= due.applyAsDouble(passed); items++) {
                step.accept(items);
            }
            byte[][] noise = new byte[1 + RANDOM.nextInt(NOISE / 8192 + 1)][];
            for (int i = 0; i < noise.length; i++) {
                noise[i] = new byte[8000];
            }
            garbage = noise;
            for (int i = 0; i < 20; i++) {
                garbage = new byte[8000];
            }
            long end = System.nanoTime() + (long) (20e6 * LOAD);
            while (System.nanoTime() < end) {
                garbage = new Object();
            }
            try {
                Thread.sleep((long) (20 * (1 - LOAD)));
            } catch (InterruptedException error) {
                return;
            }
        }
        System.out.printf("kept %.0f%n", items * itemBytes);
    }
}
