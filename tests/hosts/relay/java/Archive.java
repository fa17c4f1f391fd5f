package relay;

import java.util.HashMap;
import java.util.Map;

/** What was handed on, by number. The leak that can be planted: nobody takes anything out. */
public final class Archive {
    /** An entry's share of the heap: an array of 1,008 bytes, its key, its node, and its place in the table. */
    static final int ENTRY_BYTES = 16 + 1008 + 24 + 32 + 6;

    private static final Map<Long, byte[]> BY_NUMBER = new HashMap<>();

    private static long next;

    private Archive() {}

    static synchronized void keep(long entries) {
        for (long i = 0; i < entries; i++) {
            BY_NUMBER.put(next++, new byte[1008]);
        }
    }

    static synchronized void forget() {
        BY_NUMBER.clear();
    }

    /** What all entries hold. */
    public static synchronized long keptBytes() {
        return (long) BY_NUMBER.size() * ENTRY_BYTES;
    }
}
