import java.lang.management.*;
import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.*;
import java.util.*;

/** A host that leakline's tests look into. Each scenario prints what the tests compare. */
public final class Host {
    static final List<Object> KEPT = new ArrayList<>();
    static volatile Object sink;
    static Object lastKept;

    /** One reading of the probe, on a thread of its own: lines of `name value`, notes as `# text`. */
    static native String read();

    /** Bytes that malloc counts as live. */
    static native long mallocLive();

    /** Runs the suite that every probe must pass; what is wrong, or nothing. */
    static native String conformance();

    /** A reading that counts objects, on a thread of its own: lines of `count bytes class`, notes as `# text`. */
    static native String histogram();

    /** What readings cost, for people. */
    static native String cost();

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "gauges": gauges(); break;
            case "after-gc": afterGc(); break;
            case "leak": leak(Integer.parseInt(args[1])); break;
            case "conformance": System.gc(); System.out.print(conformance()); break;
            case "cost": System.gc(); System.out.print(cost()); break;
            case "histogram": besideJcmd(); break;
            case "count": for (int i = 0; i < 100_000; i++) KEPT.add(new byte[100]); System.out.print(histogram()); break;
            case "pending": pending(); break;
            case "churn": churn(); break;
            case "references": references(Integer.parseInt(args[1])); break;
            case "rounds": Sites.rounds(Integer.parseInt(args[1])); break;
            case "storm": Sites.storm(Long.parseLong(args[1])); break;
            case "loop": Sites.loop(Integer.parseInt(args[1])); break;
            case "often": Sites.often(Integer.parseInt(args[1])); break;
            case "uncollected": Sites.uncollected(); break;
            case "exceptions": Sites.exceptions(); break;
            case "unloaded": Sites.unloaded(); break;
            case "locals": Sites.read(); Sites.allocateWithManyLocals(20_000); System.out.print(Sites.read()); break;
            case "taken": Sites.takeSampling(); System.out.print(Sites.read()); break;
            case "read": System.out.print(read()); break;
            case "exit": Thread.sleep(Long.parseLong(args[1])); System.exit(7); break;
            case "timed-exit": read(); System.out.println(System.currentTimeMillis()); System.exit(7); break;
            case "return": Thread.sleep(Long.parseLong(args[1])); break;
            default: throw new IllegalArgumentException(args[0]);
        }
    }

    /** Prints `name low value high`: each value lies between what the beans say before and after the reading. */
    static void gauges() throws Exception {
        KEPT.add(ByteBuffer.allocateDirect(10_000_000));
        Path file = Files.createTempFile("leakline", null);
        Files.write(file, new byte[1_000_000]);
        try (FileChannel channel = FileChannel.open(file)) {
            KEPT.add(channel.map(FileChannel.MapMode.READ_ONLY, 0, 1_000_000));
        }
        for (int i = 0; i < 3; i++) {
            Thread thread = new Thread(() -> { synchronized (KEPT) { try { KEPT.wait(); } catch (InterruptedException e) { } } });
            thread.setDaemon(true);
            thread.start();
        }
        beans();
        read();
        System.gc();
        Thread.sleep(500);
        for (int attempt = 0; ; attempt++) {
            Map<String, Double> before = beans();
            String read = read();
            Map<String, Double> after = beans();
            StringBuilder text = new StringBuilder();
            boolean all = true;
            Set<String> missing = new TreeSet<>(before.keySet());
            for (String line : read.split("\n")) {
                // Leakline's own estimates, which no bean has.
                if (line.startsWith("jvm.sampled_bytes") || line.startsWith("jvm.live_samples")) continue;
                // Which no bean has either: see `references`.
                if (line.startsWith("jvm.jni_")) continue;
                if (line.startsWith("#")) { text.append(line).append("\n"); continue; }
                String[] words = line.split(" ");
                double value = Double.parseDouble(words[1]);
                Double low = before.get(words[0]), high = after.get(words[0]);
                missing.remove(words[0]);
                boolean within = low != null && value >= Math.min(low, high) && value <= Math.max(low, high);
                all &= within;
                text.append(within ? "ok " : "BAD ").append(words[0] + " " + low + " " + value + " " + high + "\n");
            }
            for (String name : missing) { all = false; text.append("MISSING " + name + "\n"); }
            // A collection or a compiled method in between moves the numbers: then once more.
            if (all || attempt == 20) { System.out.print(text); break; }
            Thread.sleep(100);
        }
        Files.delete(file);
    }

    static Map<String, Double> beans() {
        Map<String, Double> values = new TreeMap<>();
        MemoryUsage heap = ManagementFactory.getMemoryMXBean().getHeapMemoryUsage();
        MemoryUsage nonHeap = ManagementFactory.getMemoryMXBean().getNonHeapMemoryUsage();
        values.put("jvm.heap_used_bytes", (double) heap.getUsed());
        values.put("jvm.heap_committed_bytes", (double) heap.getCommitted());
        if (heap.getMax() >= 0) values.put("jvm.heap_max_bytes", (double) heap.getMax());
        values.put("jvm.non_heap_used_bytes", (double) nonHeap.getUsed());
        values.put("jvm.non_heap_committed_bytes", (double) nonHeap.getCommitted());
        for (BufferPoolMXBean pool : ManagementFactory.getPlatformMXBeans(BufferPoolMXBean.class)) {
            if (pool.getName().equals("direct")) {
                values.put("jvm.direct_buffer_bytes", (double) pool.getMemoryUsed());
                values.put("jvm.direct_buffers", (double) pool.getCount());
            }
            if (pool.getName().equals("mapped")) values.put("jvm.mapped_buffer_bytes", (double) pool.getMemoryUsed());
        }
        double count = 0, millis = 0, oldCount = 0, oldMillis = 0;
        for (GarbageCollectorMXBean collector : ManagementFactory.getGarbageCollectorMXBeans()) {
            count += collector.getCollectionCount();
            millis += collector.getCollectionTime();
            if (Arrays.asList("MarkSweepCompact", "PS MarkSweep", "G1 Old Generation", "G1 Concurrent GC", "ZGC Major Cycles",
                    "ZGC Cycles", "Shenandoah Cycles").contains(collector.getName())) {
                oldCount += collector.getCollectionCount();
                oldMillis += collector.getCollectionTime();
            }
        }
        values.put("jvm.gc_collections", count);
        values.put("jvm.gc_time_nanos", millis * 1e6);
        values.put("jvm.gc_old_collections", oldCount);
        values.put("jvm.gc_old_time_nanos", oldMillis * 1e6);
        values.put("jvm.classes", (double) ManagementFactory.getClassLoadingMXBean().getLoadedClassCount());
        values.put("jvm.threads", (double) ManagementFactory.getThreadMXBean().getThreadCount());
        lastGc(values);
        for (MemoryPoolMXBean pool : ManagementFactory.getMemoryPoolMXBeans()) {
            MemoryUsage usage = pool.getUsage();
            String name = pool.getName();
            if (name.equals("Metaspace")) {
                values.put("jvm.metaspace_used_bytes", (double) usage.getUsed());
                values.put("jvm.metaspace_committed_bytes", (double) usage.getCommitted());
            } else if (name.equals("Compressed Class Space")) {
                values.put("jvm.class_space_used_bytes", (double) usage.getUsed());
            } else if (name.startsWith("Code")) {
                values.merge("jvm.code_used_bytes", (double) usage.getUsed(), Double::sum);
                values.merge("jvm.code_committed_bytes", (double) usage.getCommitted(), Double::sum);
            }
        }
        return values;
    }

    /** The collector's own record, by the long way round. */
    static void lastGc(Map<String, Double> values) {
        Set<String> heap = new HashSet<>();
        List<String> oldPools = Arrays.asList("Tenured Gen", "PS Old Gen", "G1 Old Gen", "ZHeap", "ZGC Old Generation", "Shenandoah");
        for (MemoryPoolMXBean pool : ManagementFactory.getMemoryPoolMXBeans()) {
            if (pool.getType() != MemoryType.HEAP) continue;
            heap.add(pool.getName());
            long left = pool.getCollectionUsage().getUsed();
            if (oldPools.contains(pool.getName()) && left > 0) values.put("jvm.old_floor_bytes", (double) left);
        }
        long end = -1;
        double last = 0;
        com.sun.management.GcInfo lastInfo = null;
        boolean young = false;
        for (GarbageCollectorMXBean bean : ManagementFactory.getGarbageCollectorMXBeans()) {
            com.sun.management.GcInfo info = ((com.sun.management.GarbageCollectorMXBean) bean).getLastGcInfo();
            if (info == null || bean.getName().endsWith("Pauses") || info.getEndTime() < end) continue;
            double used = 0;
            for (Map.Entry<String, MemoryUsage> pool : info.getMemoryUsageAfterGc().entrySet())
                if (heap.contains(pool.getKey())) used += pool.getValue().getUsed();
            if (used > 0) {
                end = info.getEndTime();
                last = used;
                lastInfo = info;
                young = Arrays.asList("Copy", "PS Scavenge", "G1 Young Generation", "ZGC Minor Cycles").contains(bean.getName());
            }
        }
        values.put("jvm.heap_after_gc_bytes", last);
        if (lastInfo == null) return;
        values.put("jvm.gc_age_nanos", (ManagementFactory.getRuntimeMXBean().getUptime() - end) * 1e6);
        for (Map.Entry<String, MemoryUsage> pool : lastInfo.getMemoryUsageAfterGc().entrySet()) {
            if (!heap.contains(pool.getKey())) continue;
            double after = pool.getValue().getUsed(), before = lastInfo.getMemoryUsageBeforeGc().get(pool.getKey()).getUsed();
            values.put("jvm.heap_after_gc." + pool.getKey().toLowerCase().replace(' ', '_') + "_bytes", after);
            if (young && oldPools.contains(pool.getKey()) && after >= before) values.put("jvm.last_promoted_bytes", after - before);
        }
    }

    /** Keeps 40 MB, makes garbage until there were collections, and prints a reading. No full collection. */
    static void afterGc() throws Exception {
        System.out.print("first\n" + read());
        for (int i = 0; i < 40; i++) KEPT.add(new byte[1_000_000]);
        for (int i = 0; i < 60_000; i++) sink = new byte[10_000];
        Thread.sleep(500);
        System.out.print("then\n" + read());
    }

    /**
     * Reads so many times in each of three rounds, and prints the least that grew: heap, malloc, global references. What
     * readings leave grows in each round; what the JVM makes for itself does not.
     */
    static void leak(int times) throws Exception {
        for (int i = 0; i < 2000; i++) read();
        sizes();
        long[] least = { Long.MAX_VALUE, Long.MAX_VALUE, Long.MAX_VALUE };
        for (int round = 0; round < 3; round++) {
            long[] before = sizes();
            for (int i = 0; i < times; i++) read();
            long[] after = sizes();
            for (int i = 0; i < 3; i++) least[i] = Math.min(least[i], after[i] - before[i]);
        }
        for (long one : least) System.out.println(one);
    }

    static final class Kept { long number; Kept next; }

    /**
     * Prints histograms of a heap at rest. Between them is only what asking makes, so jcmd's counts lie between the others.
     */
    static void besideJcmd() throws Exception {
        Kept last = null;
        for (int i = 0; i < 123_456; i++) { Kept kept = new Kept(); kept.next = last; last = kept; }
        KEPT.add(last);
        for (int i = 0; i < 5_000; i++) KEPT.add(new int[i % 7][3]);
        Runnable captured = () -> KEPT.size();
        KEPT.add(captured);
        // The first time loads classes.
        histogramsBesideJcmd();
        System.gc();
        Thread.sleep(300);
        System.out.print(histogramsBesideJcmd());
    }

    /** Two histograms of leakline's with jcmd's between them: `=A`, `=J` and `=B` before the lines. Runs no Java. */
    static native String histogramsBesideJcmd();

    /** A thousand threads, of which some allocate, and classes that come and go, while others count all the time. */
    static void churn() throws Exception {
        byte[] kept;
        try (java.io.InputStream code = Host.class.getResourceAsStream("Host$Kept.class")) { kept = code.readAllBytes(); }
        java.util.concurrent.CountDownLatch done = new java.util.concurrent.CountDownLatch(1);
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < 1000; i++) {
            boolean busy = i < 2;
            Thread thread = new Thread(() -> {
                try {
                    if (busy) while (done.getCount() > 0) sink = new byte[1000]; else done.await();
                } catch (InterruptedException stop) { }
            }, "churn-" + i);
            thread.start();
            threads.add(thread);
        }
        int counted = 0;
        String last = "";
        for (int round = 0; round < 4; round++) {
            for (int i = 0; i < 20; i++) {
                Class<?> other = new ClassLoader(null) {
                    Class<?> define() { return defineClass("Host$Kept", kept, 0, kept.length); }
                }.define();
                java.lang.reflect.Constructor<?> make = other.getDeclaredConstructor();
                make.setAccessible(true);
                // Some collectors' heaps are counted by what can be reached.
                lastKept = make.newInstance();
            }
            last = histogram();
            if (last.contains(" Host$Kept\n")) counted++;
            if (round % 2 == 1) System.gc();
        }
        done.countDown();
        for (Thread thread : threads) thread.join();
        System.out.print(counted == 4 ? "ok" : "counted " + counted + ": " + last.substring(0, Math.min(last.length(), 500)));
    }

    /** An exception is on its way through native code of this thread while others are counted. */
    static void pending() {
        try { throwWhileCounting(); System.out.print("lost"); } catch (IllegalStateException kept) { System.out.print(kept.getMessage()); }
    }

    /** Throws `IllegalStateException("still mine")` in native code, and counts before it returns. */
    static native void throwWhileCounting();

    /** Native code makes so many global and weak global references, or lets go of them. */
    static native void hold(int globals, int weak);

    /** Native code makes a few references and lets go of them, so many times. */
    static native void disturb(int times);

    /**
     * Prints what leakline and the JVM's own dump of stacks say of JNI's references, after each of a few steps, as
     * `global weak`, leakline's first. So many threads make references meanwhile at first.
     */
    static void references(int disturbers) throws Exception {
        java.util.concurrent.atomic.AtomicBoolean stop = new java.util.concurrent.atomic.AtomicBoolean();
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < disturbers; i++) {
            Thread thread = new Thread(() -> { while (!stop.get()) disturb(1000); });
            thread.start();
            threads.add(thread);
        }
        for (int i = 0; i < 3; i++) { read(); dumped(); }
        stop.set(true);
        for (Thread thread : threads) thread.join();
        for (int[] step : new int[][] { { 0, 0 }, { 1000, 0 }, { 0, 300 }, { -400, -200 }, { 0, 5000 }, { -600, -5100 } }) {
            hold(step[0], step[1]);
            for (int attempt = 0; ; attempt++) {
                String before = referencesRead();
                long[] dumped = dumped();
                // A compiler's thread that comes or goes has one, too.
                if (attempt == 50 || before.equals(referencesRead())) {
                    System.out.println(before + " " + dumped[0] + " " + dumped[1]);
                    break;
                }
            }
        }
    }

    static String referencesRead() {
        StringBuilder found = new StringBuilder();
        for (String line : read().split("\n")) {
            if (line.startsWith("jvm.jni_global_refs ")) found.append(line.split(" ")[1]);
            if (line.startsWith("jvm.jni_weak_global_refs ")) found.append(" ").append(line.split(" ")[1]);
        }
        return found.toString();
    }

    /** Global and weak references, as the JVM counts them at the end of a dump of all stacks: what `jcmd Thread.print` prints. */
    static long[] dumped() throws Exception {
        Object dump = ManagementFactory.getPlatformMBeanServer().invoke(
            new javax.management.ObjectName("com.sun.management:type=DiagnosticCommand"), "threadPrint",
            new Object[] { new String[0] }, new String[] { "[Ljava.lang.String;" });
        java.util.regex.Matcher refs =
            java.util.regex.Pattern.compile("JNI global refs: (\\d+), weak refs: (\\d+)").matcher(dump.toString());
        return refs.find() ? new long[] { Long.parseLong(refs.group(1)), Long.parseLong(refs.group(2)) } : new long[] { -1000, -1000 };
    }

    static long[] sizes() throws Exception {
        for (int i = 0; i < 3; i++) { System.gc(); Thread.sleep(50); }
        MemoryUsage heap = ManagementFactory.getMemoryMXBean().getHeapMemoryUsage();
        return new long[] { heap.getUsed(), mallocLive(), dumped()[0] };
    }
}
