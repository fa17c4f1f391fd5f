import io.leakline.Config;
import io.leakline.Leakline;
import io.leakline.Snapshot;
import jep.Interpreter;
import jep.JepConfig;
import jep.MainInterpreter;
import jep.SharedInterpreter;

/** An app: a JVM that has loaded leakline's library, with a CPython in it (through jep) whose code uses leakline, too. */
public final class JepApp {
    private JepApp() {}

    /**
     * {@code JepApp RECORDING MODULE}: starts leakline, has Python import the module, and waits until the gauge
     * {@code python.queue_length} is read. The system properties are those of {@code JepHost}.
     */
    public static void main(String[] words) throws Exception {
        Config config = new Config();
        config.set("interval", "200ms").set("logcat.target", "off").set("file.path", words[0]).set("final_wait", "5s");
        if (!Leakline.start(config)) {
            throw new IllegalStateException("not started");
        }
        MainInterpreter.setJepLibraryPath(System.getProperty("jep.library"));
        SharedInterpreter.setConfig(new JepConfig().addIncludePaths(System.getProperty("jep.path").split(":")));
        try (Interpreter python = new SharedInterpreter()) {
            python.exec("import " + words[1]);
            System.out.println("present " + python.getValue(words[1] + ".present()"));
            long end = System.nanoTime() + 60_000_000_000L;
            Double length = null;
            while (length == null && System.nanoTime() < end) {
                Snapshot snapshot = Leakline.snapshotNow();
                length = snapshot == null ? null : snapshot.gauges().get("python.queue_length");
            }
            System.out.println("queue " + length);
            python.exec(words[1] + ".leave()");
        }
        Leakline.mark("python-left");
        Leakline.stop();
        System.out.println("end");
    }
}
