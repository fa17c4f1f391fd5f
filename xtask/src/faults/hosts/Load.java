import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.List;

/**
 * A Java program under load that does to itself what its arguments say, one after the other, and tells what came of each.
 * The same arguments have the same output, unless somebody interferes. Arguments: THREADS WORD..., a word is KIND:A:B.
 */
final class Load {
    private static volatile boolean stop;

    private Load() {}

    public static void main(String[] words) throws Exception {
        for (int i = 0; i < Integer.parseInt(words[0]); i++) {
            Thread thread = new Thread(Load::churn);
            thread.setDaemon(true);
            thread.start();
        }
        Thread.sleep(300);
        int how = -1;
        StringBuilder lines = new StringBuilder();
        for (int i = 1; i < words.length; i++) {
            String[] parts = words[i].split(":");
            int number = parts.length > 1 ? Integer.parseInt(parts[1]) : 0;
            if (parts[0].equals("end")) {
                how = number;
                continue;
            }
            System.out.println(words[i] + ": " + once(parts[0], number));
            lines.append(i).append('\n');
            Files.write(Paths.get("own"), lines.toString().getBytes("UTF-8"));
            Thread.sleep(i * 131 % 9);
        }
        String found = new String(Files.readAllBytes(Paths.get("own")), "UTF-8");
        System.out.println(found.equals(lines.toString()) ? "done" : "the file was changed");
        end(how);
    }

    private static long once(String kind, int number) throws Exception {
        switch (kind) {
            case "spawn":
                long well = 0;
                for (int i = 0; i < number; i++) {
                    well += new ProcessBuilder("/bin/false").start().waitFor();
                }
                return well;
            case "threads":
                List<Thread> threads = new ArrayList<>();
                for (int i = 0; i < 12; i++) {
                    Thread thread = new Thread(() -> new byte[3000].clone());
                    thread.start();
                    threads.add(thread);
                }
                for (Thread thread : threads) {
                    thread.join();
                }
                return threads.size();
            case "collect":
                System.gc();
                return 0;
            case "memory":
                List<byte[]> all = new ArrayList<>();
                try {
                    while (true) {
                        all.add(new byte[1 << 20]);
                    }
                } catch (OutOfMemoryError error) {
                    all.clear();
                    return 1;
                }
            case "exceptions":
                int caught = 0;
                for (int i = 0; i < number * 50; i++) {
                    try {
                        throw new IOException("number " + i);
                    } catch (IOException expected) {
                        caught++;
                    }
                }
                return caught;
            case "deep":
                try {
                    return deep(0);
                } catch (StackOverflowError error) {
                    return 1;
                }
            default:
                throw new IllegalArgumentException(kind);
        }
    }

    private static long deep(long depth) {
        return deep(depth + 1) + 1;
    }

    private static void end(int how) {
        System.out.flush();
        switch (how) {
            case 0:
                System.exit(11);
                break;
            case 1:
                Runtime.getRuntime().halt(12);
                break;
            case 2:
                throw new IllegalStateException("nobody handles this");
            case 3:
                new Thread(() -> System.exit(13)).start();
                break;
            default:
                stop = true;
        }
    }

    private static void churn() {
        List<byte[]> kept = new ArrayList<>();
        while (!stop) {
            try {
                kept.add(new byte[2000]);
            } catch (OutOfMemoryError error) {
                kept.clear(); // one of the faults takes it all
            }
            if (kept.size() > 500) {
                kept.clear();
            }
        }
    }
}
