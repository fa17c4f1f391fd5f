package io.leakline.android;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;
import static org.junit.Assume.assumeTrue;

import android.app.Activity;
import android.app.ActivityManager;
import android.content.Context;
import io.leakline.Config;
import io.leakline.Gauges;
import io.leakline.Layer;
import io.leakline.Leakline;
import io.leakline.Probe;
import io.leakline.Snapshot;
import java.io.File;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import org.junit.After;
import org.junit.Before;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.robolectric.Robolectric;
import org.robolectric.RobolectricTestRunner;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.shadow.api.Shadow;
import org.robolectric.shadows.ShadowActivityManager;

/** The provider and the rules on Android's own classes, with the real native library where there is one. */
@RunWith(RobolectricTestRunner.class)
@org.robolectric.annotation.Config(sdk = 35, manifest = org.robolectric.annotation.Config.NONE)
public class AutoStartTest {
    private static final String[] QUICK = {"interval = 1s", "logcat.target=off"};

    @Before
    public void noLibrary() {
        System.clearProperty("leakline.library");
    }

    @After
    public void stop() {
        Leakline.stop();
    }

    private static void library() {
        String library = System.getProperty("leakline.test.library", "");
        assumeTrue("no native library for this machine", new File(library).isFile());
        System.setProperty("leakline.library", library);
    }

    private static void says(String... lines) {
        assertEquals(Arrays.asList(lines), App.log());
    }

    /** Waits for the start's thread, and gives what was said. */
    private static List<String> settled() {
        Leakline.stats();
        return App.log();
    }

    /** A busy machine makes a probe late, which is told and left out; the next reading has it. */
    private static Snapshot snapshotWith(String gauge) {
        Snapshot snapshot = null;
        for (int round = 0; round < 50; round++) {
            snapshot = Leakline.snapshotNow();
            if (snapshot != null && snapshot.gauges().containsKey(gauge)) {
                return snapshot;
            }
        }
        throw new AssertionError(gauge + ": " + App.log() + (snapshot == null ? "" : snapshot.probes().toString()));
    }

    @Test
    public void anAppThatMayNotBeDebuggedIsRefusedWithOneLine() {
        App.debuggable(false).launch();
        says("not started: this app may not be debugged; leakline is for debug builds only");
        assertNull(Leakline.stats());
    }

    @Test
    public void aStartByHandIsRefusedTheSame() {
        assertFalse(Leakline.start(App.debuggable(false), new Config()));
        says("not started: this app may not be debugged; leakline is for debug builds only");
    }

    @Test
    public void aResourceSwitchesTheStartOffWithoutAWord() {
        App.debuggable(true).with("leakline_auto_start", false).launch();
        assertEquals(Collections.emptyList(), settled());
        assertNull(Leakline.stats());
    }

    @Test
    public void aProcessThatIsNotNamedIsLeftAlone() {
        App.debuggable(true).with("leakline_processes", new String[] {":service"}).launch();
        assertEquals(Collections.emptyList(), settled());
    }

    @Test
    public void aMissingLibraryIsOneLine() {
        App.debuggable(true).launch();
        List<String> lines = settled();
        assertEquals(lines.toString(), 1, lines.size());
        assertTrue(lines.toString(), lines.get(0).startsWith("not started: java.lang.UnsatisfiedLinkError"));
        Leakline.mark("goes nowhere");
        assertNull(Leakline.snapshotNow());
    }

    @Test
    public void aDebuggableAppStartsAndRecordsIntoItsOwnFiles() {
        library();
        App app = App.debuggable(true).with("leakline_settings", QUICK).launch();
        for (String gauge : new String[] {"jvm.heap_used_bytes", "process.resident_bytes"}) {
            snapshotWith(gauge);
        }
        Leakline.stop();
        assertFalse(App.log().toString(), App.log().toString().contains("not started"));
        assertTrue(new File(app.getFilesDir(), "leakline/main.leak").length() > 0);
    }

    @Test
    public void aSecondStartIsRefusedAndTheFirstGoesOn() {
        library();
        App app = App.debuggable(true).with("leakline_settings", QUICK).launch();
        assertFalse(Leakline.start(app, new Config()));
        says("not started: leakline runs in this process already");
        snapshotWith("native.malloc_live_bytes");
    }

    @Test
    public void itStartsAgainAfterAStop() {
        library();
        App app = App.debuggable(true).with("leakline_settings", QUICK).launch();
        snapshotWith("native.malloc_live_bytes");
        Leakline.stop();
        assertNull(Leakline.stats());
        app.launch();
        snapshotWith("native.malloc_live_bytes");
    }

    @Test
    public void theTimeThatIsLeftCountsToTheDevicesThreshold() {
        library();
        ActivityManager.MemoryInfo memory = new ActivityManager.MemoryInfo();
        memory.threshold = Long.MAX_VALUE;
        Object manager = RuntimeEnvironment.getApplication().getSystemService(Context.ACTIVITY_SERVICE);
        ((ShadowActivityManager) Shadow.extract(manager)).setMemoryInfo(memory);
        App.debuggable(true).with("leakline_settings", QUICK).launch();
        String left = "process.machine_left_bytes";
        assertEquals(Double.valueOf(0), snapshotWith(left).gauges().get(left));
    }

    @Test
    public void anAppsProbeIsRead() {
        library();
        Probe queue = new Probe() {
            @Override
            public String name() {
                return "queue";
            }

            @Override
            public Layer layer() {
                return Layer.JVM;
            }

            @Override
            public void read(Gauges into) {
                into.count("queue_length", 7);
            }
        };
        Leakline.addProbe(queue);
        App.debuggable(true).with("leakline_settings", QUICK).launch();
        Snapshot snapshot = snapshotWith("jvm.queue_length");
        Leakline.removeProbe(queue);
        assertEquals(snapshot.gauges().toString(), Double.valueOf(7), snapshot.gauges().get("jvm.queue_length"));
    }

    @Test
    public void whatHappensToTheAppIsMarked() throws Exception {
        library();
        App app = App.debuggable(true).with("leakline_settings", QUICK).launch();
        snapshotWith("native.malloc_live_bytes");
        Robolectric.buildActivity(Activity.class).setup().pause().stop();
        RuntimeEnvironment.getApplication().onTrimMemory(15);
        Leakline.stop();
        byte[] bytes = java.nio.file.Files.readAllBytes(new File(app.getFilesDir(), "leakline/main.leak").toPath());
        String recorded = new String(bytes, "ISO-8859-1");
        for (String mark : new String[] {"foreground", "background", "trim_memory_15"}) {
            assertTrue(mark, recorded.contains(mark));
        }
    }
}
