package io.leakline.android;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;

import android.content.ContentProvider;
import com.example.SmallApp;
import io.leakline.Leakline;
import io.leakline.runtime.HostRules;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.Enumeration;
import java.util.Set;
import java.util.TreeSet;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;
import proguard.Configuration;
import proguard.ConfigurationParser;
import proguard.ProGuard;

/** A small app goes through ProGuard with our rules. R8 reads the same rules; Maven Central does not have it. */
public class ShrinkTest {
    @Rule
    public final TemporaryFolder folder = new TemporaryFolder();

    private static String home(Class<?> of) throws Exception {
        return Paths.get(of.getProtectionDomain().getCodeSource().getLocation().toURI()).toString();
    }

    /** The shrunk JAR of the app with these classes and rules. */
    private JarFile shrunk(String classes, String... rules) throws Exception {
        Path jar = folder.getRoot().toPath().resolve("shrunk.jar");
        StringBuilder text = new StringBuilder("-dontnote **\n-ignorewarnings\n");
        text.append("-injars '").append(home(SmallApp.class)).append("'(com/example/**.class)\n");
        for (String path : classes.split(File.pathSeparator)) {
            text.append("-injars '").append(path).append("'(!META-INF/**,**.class)\n");
        }
        text.append("-outjars '").append(jar).append("'\n");
        text.append("-libraryjars '").append(System.getProperty("java.home"));
        text.append("/jmods/java.base.jmod'(!**.jar;!module-info.class)\n");
        text.append("-libraryjars '").append(home(ContentProvider.class)).append("'(android/**.class)\n");
        text.append("-keep class com.example.SmallApp { public static void main(java.lang.String[]); }\n");
        for (String rule : rules) {
            text.append(rule).append('\n');
        }
        Configuration configuration = new Configuration();
        try (ConfigurationParser parser =
                new ConfigurationParser(text.toString(), "the test", new File("."), System.getProperties())) {
            parser.parse(configuration);
        }
        new ProGuard(configuration).execute();
        return new JarFile(jar.toFile());
    }

    private static Set<String> entries(JarFile jar) {
        Set<String> names = new TreeSet<>();
        for (Enumeration<JarEntry> entries = jar.entries(); entries.hasMoreElements(); ) {
            names.add(entries.nextElement().getName());
        }
        return names;
    }

    private static String app(JarFile jar) throws IOException {
        try (InputStream code = jar.getInputStream(jar.getEntry("com/example/SmallApp.class"))) {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            code.transferTo(bytes);
            return bytes.toString("ISO-8859-1");
        }
    }

    private static Set<String> natives(Class<?> of) {
        Set<String> names = new TreeSet<>();
        for (Method method : of.getDeclaredMethods()) {
            if (Modifier.isNative(method.getModifiers())) {
                names.add(method.toString());
            }
        }
        return names;
    }

    @Test
    public void aDebugBuildKeepsWhatIsFoundByName() throws Exception {
        // The provider's own rule is what Android's build makes of the manifest.
        String classes = home(Leakline.class) + File.pathSeparator + home(HostRules.class);
        try (JarFile jar = shrunk(
                        classes,
                        "-include consumer-rules.pro",
                        "-keep class io.leakline.android.AutoStartProvider { public <init>(); }");
                URLClassLoader loader =
                        new URLClassLoader(new URL[] {new File(jar.getName()).toURI().toURL()}, getClass().getClassLoader().getParent())) {
            assertTrue(app(jar).contains("reconnect"));
            for (String name : new String[] {"runtime/AgentRuntime", "runtime/Native", "android/AppRules"}) {
                assertTrue(name, entries(jar).contains("io/leakline/" + name + ".class"));
            }
            String name = "io.leakline.runtime.Native";
            Set<String> wanted = natives(Class.forName(name));
            assertEquals(7, wanted.size());
            Class<?> kept = Class.forName(name, false, loader);
            assertEquals(wanted, natives(kept));
            // Called by the library.
            assertEquals(String.class, kept.getDeclaredMethod("readProbes").getReturnType());
        }
    }

    @Test
    public void aReleaseBuildLosesTheCallsWithTheReleaseRules() throws Exception {
        try (JarFile jar = shrunk(home(Leakline.class), "-include ../leakline-api/release-rules.pro")) {
            assertEquals("[com/example/SmallApp.class]", entries(jar).toString());
            assertTrue(app(jar).contains("the app's own work"));
            for (String gone : new String[] {"leakline", "reconnect", "only where leakline is"}) {
                assertFalse(gone, app(jar).contains(gone));
            }
        }
    }

    @Test
    public void aReleaseBuildWithoutThemHoldsTheFacadeOnly() throws Exception {
        try (JarFile jar = shrunk(home(Leakline.class))) {
            assertTrue(app(jar).contains("reconnect"));
            assertFalse(entries(jar).toString(), entries(jar).toString().contains("runtime"));
        }
    }
}
