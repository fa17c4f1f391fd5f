package com.example;

import io.leakline.Config;
import io.leakline.Gauges;
import io.leakline.Layer;
import io.leakline.Leakline;
import io.leakline.Probe;
import io.leakline.Snapshot;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** An app: Java, a CPython that is loaded privately, and leakline by its Java interface. Says what it sees, a fact a line. */
public final class AppHost {
    static native boolean pythonStart(String library);

    static native int pythonRun(String code);

    static native int pythonEnd();

    private static final List<byte[]> CACHE = new ArrayList<>();

    /** A probe of the app's own. */
    private static final class CacheProbe implements Probe {
        @Override
        public String name() {
            return "cache";
        }

        @Override
        public Layer layer() {
            return Layer.JVM;
        }

        @Override
        public void read(Gauges into) {
            into.count("cache_entries", CACHE.size());
            into.bytes("cache_bytes", CACHE.stream().mapToLong(entry -> entry.length).sum());
        }
    }

    /** One that fails. */
    private static final class BrokenProbe implements Probe {
        @Override
        public String name() {
            return "broken";
        }

        @Override
        public Layer layer() {
            return Layer.NATIVE;
        }

        @Override
        public void read(Gauges into) {
            into.count("never_seen", 1);
            throw new IllegalStateException("no\tluck");
        }
    }

    private AppHost() {}

    /** Arguments: the steps, one after the other, as `step` or `step=value`. */
    public static void main(String[] arguments) throws Exception {
        for (String argument : arguments) {
            int at = argument.indexOf('=');
            step(at < 0 ? argument : argument.substring(0, at), at < 0 ? "" : argument.substring(at + 1));
        }
        System.out.println("end");
    }

    private static void step(String step, String value) throws Exception {
        switch (step) {
            case "load":
                System.load(value);
                break;
            case "python":
                System.out.println("python " + pythonStart(value));
                break;
            case "run":
                System.out.println("run " + pythonRun(value));
                break;
            case "python-end":
                System.out.println("python-end " + pythonEnd());
                break;
            case "probes":
                Leakline.addProbe(new CacheProbe());
                Leakline.addProbe(new BrokenProbe());
                break;
            case "cache":
                CACHE.add(new byte[Integer.parseInt(value)]);
                break;
            case "start":
                start(value);
                break;
            case "mark":
                Leakline.mark(value);
                break;
            case "until-python":
                untilPython();
                break;
            case "until":
                until(value);
                break;
            case "snapshot":
                show(Leakline.snapshotNow());
                break;
            case "stats":
                Snapshot stats = Leakline.stats();
                System.out.println("peaks " + (stats != null && !stats.peaks().isEmpty()));
                break;
            case "reset":
                Leakline.resetBaseline();
                break;
            case "agent":
                agent(value);
                break;
            case "refuse":
                refuse(value);
                break;
            case "sleep":
                Thread.sleep(Long.parseLong(value));
                break;
            case "stop":
                Leakline.stop();
                System.out.println("stopped " + (Leakline.snapshotNow() == null));
                break;
            case "exit":
                System.exit(Integer.parseInt(value));
                break;
            case "halt":
                Runtime.getRuntime().halt(Integer.parseInt(value));
                break;
            default:
                throw new IllegalArgumentException(step);
        }
    }

    /** The value: settings, as `name:value` with commas between. */
    private static void start(String value) {
        Config config = new Config();
        for (String setting : value.split(",")) {
            int at = setting.indexOf(':');
            config.set(setting.substring(0, at), setting.substring(at + 1));
        }
        long begun = System.nanoTime();
        boolean started = Leakline.start(config);
        long micros = (System.nanoTime() - begun) / 1000;
        System.out.println("start " + started);
        System.err.println("start took " + micros + " us");
    }

    /** Waits until a tick's snapshot has this gauge. */
    private static void until(String gauge) throws InterruptedException {
        for (int tries = 0; tries < 400; tries++) {
            Snapshot snapshot = Leakline.stats();
            if (snapshot != null && snapshot.gauges().containsKey(gauge)) {
                System.out.println("seen " + gauge + " " + snapshot.gauges().get(gauge));
                return;
            }
            Thread.sleep(50);
        }
        System.out.println("never " + gauge);
    }

    /** Has the JVM attach a library as an agent, as people do it: the value is jcmd and the library. */
    private static void agent(String value) throws Exception {
        String[] words = value.split(",");
        String pid = String.valueOf(ProcessHandle.current().pid());
        ProcessBuilder jcmd = new ProcessBuilder(words[0], pid, "JVMTI.agent_load", words[1]);
        Process process = jcmd.redirectErrorStream(true).start();
        String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        System.out.println("agent " + process.waitFor() + " " + said.replace('\n', ' '));
    }

    /** As the runtime does where Android refuses leakline as an agent. */
    private static void refuse(String reason) throws Exception {
        Class<?> library = Class.forName("io.leakline.runtime.Native");
        Method load = library.getDeclaredMethod("load");
        Method refused = library.getDeclaredMethod("agentRefused", String.class);
        load.setAccessible(true);
        refused.setAccessible(true);
        load.invoke(null);
        System.out.println("refused " + ((String) refused.invoke(null, reason)).trim());
    }

    private static void untilPython() throws InterruptedException {
        for (int tries = 0; tries < 100; tries++) {
            Snapshot snapshot = Leakline.snapshotNow();
            if (snapshot != null && "ok".equals(snapshot.probes().get("python"))) {
                return;
            }
            Thread.sleep(50);
        }
        System.out.println("no python");
    }

    private static void show(Snapshot snapshot) {
        if (snapshot == null) {
            System.out.println("no snapshot");
            return;
        }
        snapshot.probes().forEach((probe, state) -> System.out.println("probe " + probe + " " + state));
        snapshot.gauges().forEach((name, number) -> System.out.println("gauge " + name + " " + number));
    }
}
