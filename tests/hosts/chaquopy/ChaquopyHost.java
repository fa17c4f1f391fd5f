import com.chaquo.python.PyObject;
import java.util.ArrayList;
import java.util.List;

/**
 * A JVM with Chaquopy's own Java classes in it, and a library of its library's name, but no Python: what Java holds of
 * Python is a table of numbers, which are made up here. {@code ChaquopyHost LIBRARY}: 500 of them, then 1000, then none.
 */
public final class ChaquopyHost {
    private ChaquopyHost() {}

    // Chaquopy keeps `getInstance` for its own native code.
    @SuppressWarnings("deprecation")
    public static void main(String[] words) throws Exception {
        System.load(words[0]);
        List<PyObject> held = new ArrayList<>();
        for (int step = 1; step <= 2; step++) {
            while (held.size() < step * 500) {
                // What Chaquopy's native code calls with the address of an object.
                held.add(PyObject.getInstance(4096L + 16 * held.size()));
            }
            System.out.println("Java holds " + held.size() + " Python objects");
            Thread.sleep(2500);
        }
        System.out.println("ends with " + held.size());
    }
}
