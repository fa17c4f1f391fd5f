import java.util.HashMap;
import java.util.Map;

/** Plain Java: keeps entries of a static map at a constant rate (--leak jvm), or only makes garbage. */
public final class Plain {
    /** An entry's share of the heap: an array of 1,008 bytes, its key, its node, and its place in the table. */
    private static final int ENTRY_BYTES = 16 + 1008 + 24 + 32 + 6;

    private static final Map<Long, byte[]> HELD = new HashMap<>();

    private Plain() {}

    /** {@code Plain [--leak none|jvm] [--rate BYTES_PER_SECOND] [--seconds N] [--end main|exit|halt]}. */
    public static void main(String[] words) throws InterruptedException {
        boolean leaks = false;
        long rate = 1 << 20;
        double seconds = 5;
        String end = "main";
        for (int i = 0; i + 1 < words.length; i += 2) {
            switch (words[i]) {
                case "--leak": leaks = words[i + 1].equals("jvm"); break;
                case "--rate": rate = Long.parseLong(words[i + 1]); break;
                case "--seconds": seconds = Double.parseDouble(words[i + 1]); break;
                case "--end": end = words[i + 1]; break;
                default: throw new IllegalArgumentException(words[i]);
            }
        }
        long begun = System.nanoTime();
        long made = 0;
        double passed;
        while ((passed = (System.nanoTime() - begun) / 1e9) < seconds) {
            while ((made + 1) * ENTRY_BYTES <= passed * rate) {
                HELD.put(made++, new byte[1008]);
            }
            if (!leaks) {
                HELD.clear();
            }
            Thread.sleep(10);
        }
        System.out.printf("Plain: %d entries %s, %d bytes%n", made, leaks ? "kept" : "dropped", made * ENTRY_BYTES);
        switch (end) {
            case "exit": System.exit(3); break;
            case "halt": Runtime.getRuntime().halt(4); break;
            default: break;
        }
    }
}
