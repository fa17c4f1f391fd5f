package io.leakline.android;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;
import static org.junit.Assume.assumeTrue;

import android.content.ContentProvider;
import com.example.SmallApp;
import io.leakline.Leakline;
import io.leakline.runtime.HostRules;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Enumeration;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;
import java.util.jar.JarOutputStream;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;
import org.junit.runner.RunWith;
import org.junit.runners.Parameterized;
import org.junit.runners.Parameterized.Parameter;
import org.junit.runners.Parameterized.Parameters;
import proguard.Configuration;
import proguard.ConfigurationParser;
import proguard.ProGuard;

/** A small app goes through ProGuard and through R8, whose full mode is that of Android's builds, with our rules. */
@RunWith(Parameterized.class)
public class ShrinkTest {
    @Parameters(name = "{0}")
    public static Object[] shrinkers() {
        return new Object[] {"ProGuard", "R8"};
    }

    @Parameter
    public String shrinker;

    private static final String KEPT =
            "-keep class com.example.SmallApp { public static void main(java.lang.String[]); }";

    @Rule
    public final TemporaryFolder folder = new TemporaryFolder();

    private static String home(Class<?> of) throws Exception {
        return Paths.get(of.getProtectionDomain().getCodeSource().getLocation().toURI()).toString();
    }

    /** The shrunk JAR of the app with these classes and rules. */
    private JarFile shrunk(String classes, String... rules) throws Exception {
        List<String> all = new ArrayList<>(Arrays.asList(rules));
        all.add(KEPT);
        Path jar = folder.getRoot().toPath().resolve("shrunk.jar");
        if (shrinker.equals("R8")) {
            r8(classes, all, jar, "--classfile");
        } else {
            proguard(classes, all, jar);
        }
        return new JarFile(jar.toFile());
    }

    private static void proguard(String classes, List<String> rules, Path jar) throws Exception {
        StringBuilder text = new StringBuilder("-dontnote **\n-ignorewarnings\n");
        text.append("-injars '").append(home(SmallApp.class)).append("'(com/example/SmallApp.class)\n");
        for (String path : classes.split(File.pathSeparator)) {
            text.append("-injars '").append(path).append("'(!META-INF/**,**.class)\n");
        }
        text.append("-outjars '").append(jar).append("'\n");
        text.append("-libraryjars '").append(System.getProperty("java.home"));
        text.append("/jmods/java.base.jmod'(!**.jar;!module-info.class)\n");
        text.append("-libraryjars '").append(home(ContentProvider.class)).append("'(android/**.class)\n");
        text.append(String.join("\n", rules));
        Configuration configuration = new Configuration();
        try (ConfigurationParser parser =
                new ConfigurationParser(text.toString(), "the test", new File("."), System.getProperties())) {
            parser.parse(configuration);
        }
        new ProGuard(configuration).execute();
    }

    /** In a JVM of its own: the JAR that has R8 in it has much else. */
    private void r8(String classes, List<String> rules, Path out, String... how) throws Exception {
        File jar = new File(System.getProperty("leakline.test.r8", ""));
        assumeTrue("no R8 on this machine", jar.isFile());
        Path config = folder.newFile().toPath();
        // Paths of rules are those of the file that includes them, and not of the process.
        String text = String.join("\n", rules).replace("-include ", "-include " + System.getProperty("user.dir") + "/");
        Files.write(config, text.getBytes(StandardCharsets.UTF_8));
        List<String> command = new ArrayList<>();
        // It runs for seconds: no time to compile it well.
        command.addAll(Arrays.asList(System.getProperty("java.home") + "/bin/java", "-XX:TieredStopAtLevel=1"));
        command.addAll(Arrays.asList("-XX:+UseSerialGC", "-cp", jar.getPath()));
        command.addAll(Arrays.asList("com.android.tools.r8.R8", "--release", "--lib", java8().toString()));
        if (classes.contains(home(HostRules.class))) {
            // Large, and the facade needs none of it.
            command.addAll(Arrays.asList("--lib", home(ContentProvider.class)));
        }
        command.addAll(Arrays.asList(how));
        command.addAll(Arrays.asList("--output", out.toString(), "--pg-conf", config.toString()));
        for (String path : classes.split(File.pathSeparator)) {
            command.addAll(classFiles(path));
        }
        command.add(home(SmallApp.class) + "/com/example/SmallApp.class");
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertEquals(said, 0, process.waitFor());
    }

    /** Java 8's classes as javac has them for {@code --release 8}: R8 does not read those of just any JDK. */
    private Path java8() throws IOException {
        Path jar = folder.getRoot().toPath().resolve("java8.jar");
        File signatures = new File(System.getProperty("java.home"), "lib/ct.sym");
        assumeTrue("this JDK has no classes of older ones", signatures.isFile());
        try (JarFile all = new JarFile(signatures);
                JarOutputStream classes = new JarOutputStream(Files.newOutputStream(jar))) {
            Set<String> seen = new TreeSet<>();
            for (Enumeration<JarEntry> entries = all.entries(); entries.hasMoreElements(); ) {
                JarEntry entry = entries.nextElement();
                // Such as 879A/java.base/java/lang/Object.sig: of Java 8, 7, 9 and 10.
                String[] parts = entry.getName().split("/", 3);
                boolean isOurs = parts.length == 3 && parts[0].contains("8") && parts[1].equals("java.base");
                if (isOurs && parts[2].endsWith(".sig") && seen.add(parts[2])) {
                    classes.putNextEntry(new JarEntry(parts[2].replace(".sig", ".class")));
                    try (InputStream code = all.getInputStream(entry)) {
                        code.transferTo(classes);
                    }
                }
            }
        }
        return jar;
    }

    /** R8 takes archives, and single classes, but no folders. */
    private static List<String> classFiles(String path) throws IOException {
        if (!new File(path).isDirectory()) {
            return Collections.singletonList(path);
        }
        try (Stream<Path> files = Files.walk(Paths.get(path))) {
            return files.map(Path::toString).filter(file -> file.endsWith(".class")).collect(Collectors.toList());
        }
    }

    private static Set<String> entries(JarFile jar) {
        Set<String> names = new TreeSet<>();
        for (Enumeration<JarEntry> entries = jar.entries(); entries.hasMoreElements(); ) {
            names.add(entries.nextElement().getName());
        }
        names.remove("META-INF/MANIFEST.MF");
        return names;
    }

    private static String app(JarFile jar) throws IOException {
        return text(jar, "com/example/SmallApp.class");
    }

    private static String text(JarFile jar, String entry) throws IOException {
        try (InputStream code = jar.getInputStream(jar.getEntry(entry))) {
            return new String(code.readAllBytes(), StandardCharsets.ISO_8859_1);
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

    /** By R8 as the code that Android runs: all of its texts stand in it as they are, names of classes among them. */
    @Test
    public void aReleaseBuildLosesTheCallsWithTheReleaseRules() throws Exception {
        String code;
        if (shrinker.equals("R8")) {
            Path out = folder.getRoot().toPath().resolve("dex.zip");
            List<String> rules = Arrays.asList(KEPT, "-include ../leakline-api/release-rules.pro");
            r8(home(Leakline.class), rules, out, "--min-api", "24");
            try (JarFile jar = new JarFile(out.toFile())) {
                code = text(jar, "classes.dex");
            }
        } else {
            try (JarFile jar = shrunk(home(Leakline.class), "-include ../leakline-api/release-rules.pro")) {
                assertEquals("[com/example/SmallApp.class]", entries(jar).toString());
                code = app(jar);
            }
        }
        assertTrue(code.contains("the app's own work"));
        for (String gone : new String[] {"leakline", "reconnect", "only where leakline is"}) {
            assertFalse(gone, code.contains(gone));
        }
    }

    @Test
    public void aReleaseBuildWithoutThemHoldsTheFacadeOnly() throws Exception {
        try (JarFile jar = shrunk(home(Leakline.class))) {
            // R8 sees that nobody implements what the facade would call, and drops the calls even so.
            assertEquals(shrinker.equals("ProGuard"), app(jar).contains("reconnect"));
            assertTrue(app(jar).contains("the app's own work"));
            assertFalse(entries(jar).toString(), entries(jar).toString().contains("runtime"));
        }
    }
}
