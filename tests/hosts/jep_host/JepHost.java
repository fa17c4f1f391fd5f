import java.util.ArrayList;
import java.util.List;
import jep.Interpreter;
import jep.JepConfig;
import jep.MainInterpreter;
import jep.SharedInterpreter;

/** A JVM that embeds CPython through jep, as an Android app does through Chaquopy. One leak can be planted. */
public final class JepHost {
    private static final List<byte[]> HELD = new ArrayList<>();
    /** Python objects that Java holds, when the leak is between the two: so many more after each of the first two seconds. */
    private static final List<Object> LISTENERS = new ArrayList<>();
    private static int listeners = 500;

    private JepHost() {}

    /**
     * {@code JepHost [--leak none|python|jvm|bridge|cycle|chain|ending] [--rate BYTES_PER_SECOND] [--seconds N] [--python-after N] [--listeners N]}; the system
     * properties {@code jep.library} and {@code jep.path} name jep's library and the folders of Python modules.
     */
    public static void main(String[] words) throws Exception {
        String leak = "none";
        long rate = 1 << 20;
        double seconds = 5;
        double pythonAfter = 0;
        for (int i = 0; i + 1 < words.length; i += 2) {
            switch (words[i]) {
                case "--leak": leak = words[i + 1]; break;
                case "--rate": rate = Long.parseLong(words[i + 1]); break;
                case "--seconds": seconds = Double.parseDouble(words[i + 1]); break;
                case "--listeners": listeners = Integer.parseInt(words[i + 1]); break;
                case "--python-after": pythonAfter = Double.parseDouble(words[i + 1]); break;
                default: throw new IllegalArgumentException(words[i]);
            }
        }
        Thread.sleep((long) (pythonAfter * 1000));
        MainInterpreter.setJepLibraryPath(System.getProperty("jep.library"));
        SharedInterpreter.setConfig(new JepConfig().addIncludePaths(System.getProperty("jep.path").split(":")));
        try (Interpreter python = new SharedInterpreter()) {
            python.exec("import embedded");
            if (leak.equals("ending")) {
                Runtime.getRuntime().addShutdownHook(new Thread(JepHost::askAtTheEnd));
            }
            run(python, leak, rate, seconds);
            // With all that it holds: what it let go of before would be missed in the last snapshot.
            if (leak.equals("ending") || leak.equals("bridge")) {
                System.exit(0);
            }
        }
    }

    /** When Java's end has begun: asks for cycles, and gives time for it. */
    private static void askAtTheEnd() {
        try (Interpreter python = new SharedInterpreter()) {
            python.exec("import embedded");
            System.out.println("JepHost: asked " + python.invoke("embedded.look_for_cycles"));
            Thread.sleep(4000);
            System.out.println("JepHost: ends");
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    private static void run(Interpreter python, String leak, long rate, double seconds) throws InterruptedException {
        long begun = System.nanoTime();
        long arrays = 0;
        double passed;
        int asked = 0;
        while ((passed = (System.nanoTime() - begun) / 1e9) < seconds) {
            long due = (long) (passed * rate);
            python.invoke("embedded.work");
            if (leak.equals("python")) {
                python.invoke("embedded.keep_up_to", due);
            }
            if (leak.equals("bridge")) {
                // A third of the time none, then some, then twice as many.
                while (LISTENERS.size() < Math.min(2, (int) (3 * passed / seconds)) * listeners) {
                    LISTENERS.add(python.invoke("embedded.listener"));
                }
            }
            if ((leak.equals("cycle") || leak.equals("chain")) && LISTENERS.isEmpty() && passed > 1) {
                for (int i = 0; i < 20; i++) {
                    // What holds the list that it holds, or holds another.
                    List<Object> list = new ArrayList<>();
                    Object holder = python.invoke("embedded.holder", list);
                    (leak.equals("cycle") ? list : LISTENERS).add(holder);
                }
                LISTENERS.add("the lists that nobody else holds");
            }
            // The probe may not have found the bridge yet at the first time.
            if (!LISTENERS.isEmpty() && passed > 1.5 + asked && !leak.equals("bridge")) {
                python.invoke("embedded.look_for_cycles");
                asked++;
            }
            for (; (arrays + 1) * 1024 <= due; arrays++) {
                byte[] array = new byte[1008];
                if (leak.equals("jvm")) {
                    HELD.add(array);
                }
            }
            Thread.sleep(10);
        }
        System.out.println("JepHost: Java holds " + LISTENERS.size() + " Python objects");
        Object records = python.invoke("embedded.count");
        System.out.println("JepHost: " + records + " Python records, " + HELD.size() + " Java arrays kept");
    }
}
