import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;

/** Keeps a class loader with a class of its own, many times a second, beside garbage: {@code Loaders SECONDS}. */
public final class Loaders {
    private static final int A_TURN = 4;

    private static final List<Object> KEPT = new ArrayList<>();
    private static volatile Object garbage;

    private Loaders() {}

    /** What each loader defines anew: far more of it is in metaspace than in the heap. */
    static final class Plugin {
        static int a0(int x) { return x + 0; } static int a1(int x) { return x + 1; } static int a2(int x) { return x + 2; } static int a3(int x) { return x + 3; } static int a4(int x) { return x + 4; } static int a5(int x) { return x + 5; } static int a6(int x) { return x + 6; } static int a7(int x) { return x + 7; } static int a8(int x) { return x + 8; } static int a9(int x) { return x + 9; }
        static int b0(int x) { return x + 0; } static int b1(int x) { return x + 1; } static int b2(int x) { return x + 2; } static int b3(int x) { return x + 3; } static int b4(int x) { return x + 4; } static int b5(int x) { return x + 5; } static int b6(int x) { return x + 6; } static int b7(int x) { return x + 7; } static int b8(int x) { return x + 8; } static int b9(int x) { return x + 9; }
        static int c0(int x) { return x + 0; } static int c1(int x) { return x + 1; } static int c2(int x) { return x + 2; } static int c3(int x) { return x + 3; } static int c4(int x) { return x + 4; } static int c5(int x) { return x + 5; } static int c6(int x) { return x + 6; } static int c7(int x) { return x + 7; } static int c8(int x) { return x + 8; } static int c9(int x) { return x + 9; }
        static int d0(int x) { return x + 0; } static int d1(int x) { return x + 1; } static int d2(int x) { return x + 2; } static int d3(int x) { return x + 3; } static int d4(int x) { return x + 4; } static int d5(int x) { return x + 5; } static int d6(int x) { return x + 6; } static int d7(int x) { return x + 7; } static int d8(int x) { return x + 8; } static int d9(int x) { return x + 9; }
    }

    private static final class Own extends ClassLoader {
        Class<?> define(byte[] code) {
            return defineClass(null, code, 0, code.length);
        }
    }

    public static void main(String[] words) throws Exception {
        byte[] code = code();
        long end = System.nanoTime() + (long) (Double.parseDouble(words[0]) * 1e9);
        while (System.nanoTime() < end) {
            for (int i = 0; i < A_TURN; i++) {
                Class<?> plugin = new Own().define(code);
                Class.forName(plugin.getName(), true, plugin.getClassLoader());
                KEPT.add(plugin);
            }
            for (int i = 0; i < 10; i++) {
                garbage = new byte[30_000];
            }
            Thread.sleep(20);
        }
    }

    private static byte[] code() throws IOException {
        try (InputStream file = Loaders.class.getResourceAsStream("Loaders$Plugin.class")) {
            return file.readAllBytes();
        }
    }
}
