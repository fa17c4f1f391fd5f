import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Holds objects and direct buffers after it dropped as much, with some threads. */
public final class Heap {
    private Heap() {}

    /** {@code Heap SECONDS}. */
    public static void main(String[] words) throws InterruptedException {
        Map<Integer, String> held = new HashMap<>();
        for (int i = 0; i < 100_000; i++) {
            held.put(i, "value " + i);
        }
        List<byte[]> dropped = new ArrayList<>();
        for (int i = 0; i < 20_000; i++) {
            dropped.add(new byte[1000]);
        }
        dropped.clear();
        ByteBuffer direct = ByteBuffer.allocateDirect(8 << 20);
        while (direct.hasRemaining()) {
            direct.put((byte) 1);
        }
        long millis = (long) (Double.parseDouble(words[0]) * 1000);
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < 8; i++) {
            Thread thread = new Thread(() -> {
                try {
                    Thread.sleep(millis);
                } catch (InterruptedException end) {
                    Thread.currentThread().interrupt();
                }
            });
            thread.start();
            threads.add(thread);
        }
        for (Thread thread : threads) {
            thread.join();
        }
        System.out.println(held.size() + direct.capacity());
    }
}
