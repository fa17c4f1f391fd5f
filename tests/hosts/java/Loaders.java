import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.List;

/** Keeps a class loader with a class of its own, many times a second, beside garbage: {@code Loaders SECONDS}. */
public final class Loaders {
    private static final int A_TURN = 10;

    private static final List<Object> KEPT = new ArrayList<>();
    private static volatile Object garbage;

    private Loaders() {}

    /** Makes a loader that sees the interface and defines nothing but the proxy's class. */
    private static final class Own extends ClassLoader {
        Own() {
            super(Loaders.class.getClassLoader());
        }
    }

    public static void main(String[] words) throws InterruptedException {
        InvocationHandler none = (proxy, method, arguments) -> null;
        long end = System.nanoTime() + (long) (Double.parseDouble(words[0]) * 1e9);
        while (System.nanoTime() < end) {
            for (int i = 0; i < A_TURN; i++) {
                KEPT.add(Proxy.newProxyInstance(new Own(), new Class<?>[] {Runnable.class}, none));
            }
            garbage = new byte[300_000];
            Thread.sleep(20);
        }
    }
}
