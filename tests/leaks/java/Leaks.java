import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.zip.Inflater;

/** Java programs that leak, one for each way; the argument says which. A marker stands on the line that is to blame. */
public final class Leaks {
    private static final int SIZE = 2000;
    /** An array with its header and a slot. */
    private static final int ITEM = SIZE + 16 + 4;

    private static final Map<Long, byte[]> SESSIONS = new HashMap<>();
    private static final List<Object> KEPT = new ArrayList<>();
    private static final List<Runnable> LISTENERS = new ArrayList<>();
    private static final ThreadLocal<List<byte[]>> LOCAL = ThreadLocal.withInitial(ArrayList::new);

    private Leaks() {}

    private static native void keep(Object object);

    private static void staticMap(long number) {
        SESSIONS.put(number, new byte[SIZE]); // leak: static-map
    }

    private static void threadLocal(long number) {
        LOCAL.get().add(new byte[SIZE]); // leak: thread-local
    }

    private static void listener(long number) {
        byte[] screen = new byte[SIZE]; // leak: listener
        LISTENERS.add(() -> System.out.println(screen.length));
    }

    private static void direct(long number) {
        KEPT.add(ByteBuffer.allocateDirect(65536)); // leak: direct
    }

    private static void global(long number) {
        byte[] kept = new byte[SIZE]; // leak: jni-global
        keep(kept);
    }

    private static void intern(long number) {
        KEPT.add((number + "x".repeat(SIZE)).intern()); // leak: intern
    }

    private static final byte[] PACKED = pack();

    private static byte[] pack() {
        java.util.zip.Deflater deflater = new java.util.zip.Deflater();
        deflater.setInput(new byte[10_000]);
        deflater.finish();
        byte[] packed = new byte[1000];
        int length = deflater.deflate(packed);
        deflater.end();
        return java.util.Arrays.copyOf(packed, length);
    }

    private static void inflater(long number) {
        Inflater inflater = new Inflater(); // leak: inflater
        inflater.setInput(PACKED);
        try {
            inflater.inflate(new byte[5000]); // leak: inflater
        } catch (java.util.zip.DataFormatException error) {
            throw new IllegalStateException(error);
        }
        // Its end() is forgotten; the cleaner would see to it, but somebody keeps it.
        KEPT.add(inflater);
    }

    private static void string(long number) {
        StringBuilder journal = new StringBuilder();
        for (int i = 0; i < SIZE / 10; i++) {
            journal.append("0123456789");
        }
        KEPT.add(journal.toString()); // leak: string
    }

    private static void inner(long number) {
        KEPT.add(new Screen().new Button());
    }

    private static final class Screen {
        final byte[] bitmap = new byte[SIZE]; // leak: inner

        /** Holds the screen that it is on. */
        final class Button {
            int size() {
                return bitmap.length;
            }
        }
    }

    /** A class loader of its own for each class, which is kept through the class. */
    private static final class Loader extends ClassLoader {
        Class<?> define(byte[] code) {
            return defineClass("Plugin", code, 0, code.length); // leak: loader
        }
    }

    private static byte[] code;

    private static void loader(long number) {
        Class<?> plugin = new Loader().define(code); // leak: loader
        KEPT.add(plugin.getDeclaredConstructors());
    }

    public static void main(String[] words) throws Exception {
        switch (words[0]) {
            case "static-map": Pace.run(Leaks::staticMap, ITEM + 32 + 24 + 4); break;
            case "thread-local": Pace.run(Leaks::threadLocal, ITEM); break;
            case "listener": Pace.run(Leaks::listener, ITEM + 16); break;
            case "direct": Pace.run(Leaks::direct, 65536); break;
            case "jni-global":
                System.load(words[1]);
                Pace.run(Leaks::global, SIZE + 16);
                break;
            case "intern": Pace.run(Leaks::intern, ITEM + 24); break;
            case "inflater": Pace.run(Leaks::inflater, 7200 + 32768); break;
            case "string": Pace.run(Leaks::string, ITEM + 24); break;
            case "inner": Pace.run(Leaks::inner, ITEM + 32); break;
            case "loader":
                code = Files.readAllBytes(Path.of(words[1], "Plugin.class"));
                Pace.run(Leaks::loader, 8192);
                break;
            default: throw new IllegalArgumentException(words[0]);
        }
    }
}

/** What each loader defines anew. */
class Plugin {
    public Plugin() {}
}
