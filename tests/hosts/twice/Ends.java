import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.List;

/** Every way in which a Java program ends, one by its name on the command line. */
final class Ends {
    private static final List<byte[]> KEPT = new ArrayList<>();

    private Ends() {}

    public static void main(String[] words) throws Exception {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("shutdown hook")));
        for (int i = 0; i < 200; i++) {
            KEPT.add(new byte[3000]);
        }
        Thread.sleep(400);
        System.out.println("begins");
        switch (words[0]) {
            case "return":
                break;
            case "exit":
                System.exit(3);
                break;
            case "halt":
                Runtime.getRuntime().halt(4);
                break;
            case "exception":
                throw new IllegalStateException("nobody handles this");
            case "thread_after_main":
                new Thread(Ends::later).start();
                break;
            case "waits":
                Thread.sleep(20_000);
                break;
            case "exit_while_churning":
                for (int i = 0; i < 4; i++) {
                    Thread thread = new Thread(Ends::churn);
                    thread.setDaemon(true);
                    thread.start();
                }
                Thread.sleep(600);
                System.exit(5);
                break;
            case "children":
                for (int i = 0; i < 20; i++) {
                    Process child = new ProcessBuilder("sh", "-c", "echo child " + i + "; exit " + i).start();
                    try (BufferedReader out = new BufferedReader(new InputStreamReader(child.getInputStream()))) {
                        System.out.println(out.readLine() + " " + child.waitFor());
                    }
                }
                break;
            case "out_of_memory":
                try {
                    while (true) {
                        KEPT.add(new byte[1 << 20]);
                    }
                } catch (OutOfMemoryError error) {
                    KEPT.clear();
                    System.out.println("copes");
                }
                break;
            default:
                throw new IllegalArgumentException(words[0]);
        }
    }

    private static void later() {
        try {
            Thread.sleep(600);
        } catch (InterruptedException stopped) {
            return;
        }
        System.out.println("the thread ends");
    }

    private static void churn() {
        while (true) {
            byte[] garbage = new byte[5000];
            garbage[0] = 1;
        }
    }
}
