import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Allocates Java objects, in one of three ways. Each line on standard input asks for a turn and is answered with
 * {@code done}. Arguments: the way, megabytes or rounds a turn. BENCH_WAIT: milliseconds until whatever watches has begun.
 * Knows nothing of leakline.
 */
final class Allocating {
    static volatile Object sink;
    static final List<Object> KEPT = new ArrayList<>();

    /** Counts words and sorts them, as a service does with what comes in. */
    static void words(int rounds) {
        for (int round = 0; round < rounds; round++) {
            StringBuilder text = new StringBuilder();
            for (int i = 0; i < 400; i++) text.append("word").append(i * 31 % 97).append(i % 7 == 0 ? "; " : " ");
            Map<String, List<Integer>> places = new HashMap<>();
            String[] words = text.toString().split("[; ]+");
            for (int i = 0; i < words.length; i++) places.computeIfAbsent(words[i], word -> new ArrayList<>()).add(i);
            List<String> sorted = new ArrayList<>(places.keySet());
            Collections.sort(sorted);
            sink = String.join(",", sorted).getBytes(StandardCharsets.UTF_8);
        }
    }

    /** A megabyte at a time, of small objects, a millisecond from the beginning of one to that of the next. */
    static void steady(int megabytes) throws InterruptedException {
        long begun = System.nanoTime();
        for (int done = 1; done <= megabytes; done++) {
            for (int i = 0; i < 4096; i++) sink = new byte[240];
            long left = begun + done * 1_000_000L - System.nanoTime();
            if (left > 0) Thread.sleep(left / 1_000_000, (int) (left % 1_000_000));
        }
    }

    /** As fast as two threads can. */
    static void fast(int megabytes) throws InterruptedException {
        Runnable half = () -> { Object last = null; for (int i = 0; i < megabytes * 128; i++) { last = new byte[4080]; if (i % 64 == 0) sink = last; } sink = last; };
        Thread other = new Thread(half);
        other.start();
        half.run();
        other.join();
    }

    static void turn(String way, int amount) throws InterruptedException {
        switch (way) {
            case "words": words(amount); break;
            case "steady": steady(amount); break;
            default: fast(amount);
        }
    }

    public static void main(String[] arguments) throws Exception {
        int amount = Integer.parseInt(arguments[1]);
        String wait = System.getenv("BENCH_WAIT");
        Thread.sleep(wait == null ? 0 : Long.parseLong(wait));
        for (int i = 0; i < 10_000; i++) KEPT.add(new byte[1000]);
        for (int i = 0; i < 8; i++) turn(arguments[0], amount);
        System.out.println("ready");
        BufferedReader asks = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        while (asks.readLine() != null) {
            long begun = System.nanoTime();
            turn(arguments[0], amount);
            if (System.getenv("BENCH_RATE") != null) System.err.println(amount * 1e9 / (System.nanoTime() - begun) + " a second");
            System.out.println("done");
        }
    }
}
