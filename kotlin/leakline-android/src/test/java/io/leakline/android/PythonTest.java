package io.leakline.android;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;
import static org.junit.Assume.assumeTrue;

import com.example.AppHost;
import io.leakline.Gauges;
import io.leakline.Layer;
import io.leakline.Leakline;
import io.leakline.Probe;
import io.leakline.Snapshot;
import java.io.File;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.robolectric.RobolectricTestRunner;

/** An app with Python in its process: Android's classes, the runtime, the native library, and a CPython that comes later. */
@RunWith(RobolectricTestRunner.class)
@org.robolectric.annotation.Config(sdk = 35, manifest = org.robolectric.annotation.Config.NONE)
public class PythonTest {
    private static final String[] QUICK = {"interval=1s", "logcat.target=off"};

    private static File given(String property) {
        File file = new File(System.getProperty(property, ""));
        assumeTrue("no " + property + " on this machine", file.isFile());
        return file;
    }

    /** Java's side of an app, counting what it holds for Python. */
    private static final class Held implements Probe {
        @Override
        public String name() {
            return "held";
        }

        @Override
        public Layer layer() {
            return Layer.PYTHON;
        }

        @Override
        public void read(Gauges into) {
            into.count("held_by_java", 3);
        }
    }

    /** A busy machine makes a probe late, and Python is looked for once a second. */
    private static Snapshot snapshotWith(String gauge) throws InterruptedException {
        for (int round = 0; round < 200; round++) {
            Snapshot snapshot = Leakline.snapshotNow();
            if (snapshot != null && snapshot.gauges().containsKey(gauge)) {
                return snapshot;
            }
            Thread.sleep(50);
        }
        throw new AssertionError(gauge + ": " + App.log());
    }

    @Test
    public void anAppWithPythonIsReadFromItsStartToItsStopAndOnceMore() throws Exception {
        File library = given("leakline.test.library");
        File python = given("leakline.test.python");
        System.load(given("leakline.test.python_host").getPath());
        System.setProperty("leakline.library", library.getPath());
        Probe held = new Held();
        Leakline.addProbe(held);
        App app = App.debuggable(true).with("leakline_settings", QUICK).launch();
        assertNull("before Python comes", snapshotWith("native.malloc_live_bytes").gauges().get("python.allocated_blocks"));

        assertTrue(AppHost.pythonStart(python.getPath()));
        double before = snapshotWith("python.allocated_blocks").gauges().get("python.allocated_blocks");
        Leakline.mark("python is there");
        assertEquals(0, AppHost.pythonRun("kept = [bytes(100) for _ in range(50000)]"));
        Snapshot snapshot = snapshotWith("python.allocated_blocks");
        assertTrue(snapshot.gauges().get("python.allocated_blocks") - before > 40_000);
        assertNotNull(snapshotWith("python.held_by_java"));
        // Ticks come by themselves.
        long number = snapshot.number();
        while (Leakline.stats().number() < number + 3) {
            Thread.sleep(100);
        }
        Leakline.stop();
        assertNull(Leakline.snapshotNow());
        File recording = new File(app.getFilesDir(), "leakline/main.leak");
        String recorded = new String(Files.readAllBytes(recording.toPath()), StandardCharsets.ISO_8859_1);
        assertTrue(recorded.contains("python is there"));

        app.launch();
        assertNotNull(snapshotWith("python.allocated_blocks"));
        assertEquals("Python ends while it is read", 0, AppHost.pythonEnd());
        assertNotNull(snapshotWith("native.malloc_live_bytes"));
        Leakline.stop();
        Leakline.removeProbe(held);
        System.clearProperty("leakline.library");
    }
}
