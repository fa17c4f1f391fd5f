import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.zip.Inflater;

/** Java programs whose memory grows, moves or stays, and that must not be called leaks; the argument says which. */
public final class Innocent {
    private static final int SIZE = 2000;
    private static final int ITEM = SIZE + 16 + 4;
    /** The slowest pace fills them within two seconds. */
    private static final int SLOTS = 250;
    /** Eight megabytes: what a Java heap moves by anyway is less. */
    private static final int BOUND = 4000;

    private static final List<Object> KEPT = new ArrayList<>();
    private static final Object[] RING = new Object[SLOTS];

    private static final Map<Long, byte[]> LRU =
            new LinkedHashMap<>() {
                private static final long serialVersionUID = 1;

                @Override
                protected boolean removeEldestEntry(Map.Entry<Long, byte[]> eldest) {
                    return size() > BOUND;
                }
            };

    private Innocent() {}

    private static void garbage(long number) {
        RING[0] = new byte[SIZE];
    }

    /** Lives long enough to come into the old generation, where only a full collection finds it. */
    private static void middleAged(long number) {
        RING[(int) (number % SLOTS)] = new byte[SIZE];
    }

    private static void closed(long number) {
        Inflater inflater = new Inflater();
        inflater.end();
    }

    private static void joined(long number) {
        Thread thread = new Thread(() -> RING[1] = number);
        thread.start();
        try {
            thread.join();
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }

    public static void main(String[] words) throws InterruptedException {
        switch (words[0]) {
            case "garbage": Pace.run(Innocent::garbage, ITEM); break;
            case "middle-aged": Pace.run(Innocent::middleAged, ITEM); break;
            case "lru": Pace.run(number -> LRU.put(number, new byte[SIZE]), ITEM); break;
            case "warm-cache":
                Pace.run(number -> KEPT.add(new byte[SIZE]), ITEM, Pace.fill(Pace.SECONDS / 4));
                break;
            case "closed": Pace.run(Innocent::closed, 40_000); break;
            case "joined": Pace.run(Innocent::joined, 32_768); break;
            case "idle":
                Thread.sleep((long) (Pace.SECONDS * 1000));
                System.out.println("kept 0");
                break;
            default: throw new IllegalArgumentException(words[0]);
        }
    }
}
