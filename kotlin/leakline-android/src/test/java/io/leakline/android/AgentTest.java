package io.leakline.android;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;
import static org.junit.Assume.assumeTrue;

import com.sun.tools.attach.VirtualMachine;
import io.leakline.Config;
import io.leakline.Leakline;
import io.leakline.runtime.HostRules;
import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import org.junit.After;
import org.junit.Before;
import org.junit.Test;
import org.junit.runner.RunWith;
import org.robolectric.RobolectricTestRunner;
import org.robolectric.annotation.Implementation;
import org.robolectric.annotation.Implements;
import org.robolectric.util.ReflectionHelpers;

/** The runtime attaches leakline as an agent, where Android can; where it cannot or will not, leakline starts all the same. */
@RunWith(RobolectricTestRunner.class)
@org.robolectric.annotation.Config(
        sdk = 35,
        manifest = org.robolectric.annotation.Config.NONE,
        shadows = AgentTest.DebugThatAttaches.class)
public class AgentTest {
    private static final String NAME = "libleakline_jni.so";

    /** What was asked of {@code Debug}: thread, library, options, whether the loader is the app's. */
    private static final List<String> ASKED = Collections.synchronizedList(new ArrayList<>());

    private static volatile String refusal;

    /** Has this very JVM attach the library, as Android's runtime would: by its entry {@code Agent_OnAttach}. */
    @Implements(android.os.Debug.class)
    public static class DebugThatAttaches {
        @Implementation
        protected static void attachJvmtiAgent(String library, String options, ClassLoader loader) throws IOException {
            boolean isApps = loader == AppRules.class.getClassLoader();
            ASKED.add(Thread.currentThread().getName() + " " + library + " " + options + " " + isApps);
            if (refusal != null) {
                throw new IOException(refusal);
            }
            try {
                VirtualMachine self = VirtualMachine.attach(String.valueOf(ProcessHandle.current().pid()));
                self.loadAgentPath(System.getProperty("leakline.test.library"), options);
                self.detach();
            } catch (Exception refused) {
                throw new IOException(refused);
            }
        }
    }

    @Before
    public void anAppThatWasJustStarted() {
        String library = System.getProperty("leakline.test.library", "");
        assumeTrue("no native library for this machine", new File(library).isFile());
        System.setProperty("leakline.library", library);
        ReflectionHelpers.setStaticField(AppRules.class, "isAgent", false);
        ASKED.clear();
        refusal = null;
    }

    @After
    public void stop() {
        Leakline.stop();
        System.clearProperty("leakline.library");
    }

    private static void start(String... settings) {
        Config config = new Config().interval("1s").set("logcat.target", "off");
        for (String setting : settings) {
            config.set(setting.split("=")[0], setting.split("=")[1]);
        }
        assertTrue(Leakline.start(App.debuggable(true), config));
        boolean runs = Leakline.stats() != null;
        assertEquals(Collections.emptyList(), App.log());
        assertTrue(runs);
    }

    private static String reason(int sdk, Config config) throws Exception {
        Object rules = new AppRules(App.debuggable(true));
        ReflectionHelpers.setStaticField(android.os.Build.VERSION.class, "SDK_INT", sdk);
        try {
            return ((HostRules) rules).becomeAgent(config);
        } finally {
            ReflectionHelpers.setStaticField(android.os.Build.VERSION.class, "SDK_INT", 35);
        }
    }

    @Test
    public void itIsAttachedOnceOnItsOwnThreadAndByTheLibrarysOwnEntry() throws Exception {
        start();
        List<String> once = Collections.singletonList("leakline-start " + NAME + " null true");
        assertEquals(once, ASKED);
        Leakline.stop();
        start();
        assertEquals("Android keeps an agent", once, ASKED);
    }

    @Test
    public void aRefusalIsNoErrorAndIsTriedAgainAtTheNextStart() throws Exception {
        refusal = "Process must be debuggable";
        start();
        Leakline.stop();
        start();
        assertEquals(2, ASKED.size());
        String why = "Android refused leakline as an agent: java.io.IOException: Process must be debuggable";
        assertEquals(why, reason(35, new Config()));
    }

    @Test
    public void aSettingSwitchesItOff() {
        start("jvm.agent=false");
        assertEquals(Collections.emptyList(), ASKED);
    }

    @Test
    public void anAndroidBefore9IsNotAsked() throws Exception {
        assertEquals("Android takes agents from 9 on", reason(27, new Config()));
        assertEquals(null, reason(28, new Config()));
        assertEquals(1, ASKED.size());
    }
}
