import java.util.*;

/** Keeps known amounts at known methods, so that what leakline estimates can be compared. */
final class Sites {
    /** Bytes of each array with its header, and how many are kept at a time. */
    static final int[][] PLANTS = {{48, 4000}, {528, 2000}, {4112, 600}, {65_552, 40}, {1_048_592, 3}};

    static volatile Object sink;

    private Sites() {}

    /** A reading, on a thread of its own: lines of `bytes error survived allocated function`, notes as `# text`. */
    static native String read();

    /** As another agent would, has the JVM sample allocations. */
    static native void takeSampling();

    /** Native code with some forty local references makes so many arrays. */
    static native void allocateWithManyLocals(int times);

    static void plant0(List<Object> kept) { for (int i = 0; i < PLANTS[0][1]; i++) kept.add(new byte[PLANTS[0][0] - 16]); }
    static void plant1(List<Object> kept) { for (int i = 0; i < PLANTS[1][1]; i++) kept.add(new byte[PLANTS[1][0] - 16]); }
    static void plant2(List<Object> kept) { for (int i = 0; i < PLANTS[2][1]; i++) kept.add(new byte[PLANTS[2][0] - 16]); }
    static void plant3(List<Object> kept) { for (int i = 0; i < PLANTS[3][1]; i++) kept.add(new byte[PLANTS[3][0] - 16]); }
    static void plant4(List<Object> kept) { for (int i = 0; i < PLANTS[4][1]; i++) kept.add(new byte[PLANTS[4][0] - 16]); }

    static void garbage() { for (int i = 0; i < 50_000; i++) sink = new byte[200]; }

    /** Several rounds: keeps, has everything collected twice with a reading each, prints the last, and lets go. */
    static void rounds(int rounds) {
        read();
        for (int round = 0; round < rounds; round++) {
            List<Object> kept = new ArrayList<>(20_000);
            plant0(kept); garbage(); plant1(kept); plant2(kept); garbage(); plant3(kept); plant4(kept);
            sink = null;
            String last = "";
            for (int i = 0; i < 3; i++) { System.gc(); last = read(); }
            System.out.print("=ROUND\n" + last);
            if (kept.isEmpty()) throw new AssertionError();
        }
        System.gc();
        read();
        System.gc();
        System.out.print("=END\n" + read());
    }

    static Object small() { return new byte[48 - 16]; }
    static Object large() { return new byte[1040 - 16]; }

    /** A loop that allocates the same again and again, while threads are started in between. */
    static void loop(int turns) throws Exception {
        read();
        List<Object> kept = new ArrayList<>(2 * turns);
        for (int turn = 0; turn < turns; turn++) {
            kept.add(small());
            kept.add(large());
            if (turn % 100 == 0) {
                Thread thread = new Thread(() -> {});
                thread.start();
                thread.join();
            }
        }
        String last = "";
        for (int i = 0; i < 3; i++) { System.gc(); last = read(); }
        System.out.print(last);
        if (kept.size() != 2 * turns) throw new AssertionError();
    }

    /** Four threads allocate as fast as they can while a known amount is kept. */
    static void storm(long seconds) throws Exception {
        read();
        long end = System.nanoTime() + seconds * 1_000_000_000L;
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            Thread thread = new Thread(() -> { while (System.nanoTime() < end) for (int k = 0; k < 1000; k++) sink = new byte[1000]; });
            thread.start();
            threads.add(thread);
        }
        List<Object> kept = new ArrayList<>(20_000);
        while (System.nanoTime() < end - 500_000_000L && kept.size() < 16_000) {
            for (int i = 0; i < 100; i++) kept.add(new byte[4096 - 16]);
            Thread.sleep(10);
        }
        for (Thread thread : threads) thread.join();
        sink = null;
        String last = "";
        for (int i = 0; i < 3; i++) { System.gc(); last = read(); }
        System.out.print("=KEPT " + kept.size() * 4096L + "\n" + last);
    }

    /** Keeps known amounts beside garbage, and nothing is collected; prints the last reading, and what was collected. */
    static void uncollected() throws Exception {
        // What commands themselves need is there from the beginning.
        command("vmVersion", new Object[0]);
        Map<String, List<Object>> kept = new HashMap<>();
        Sites.kept = kept;
        String last = read();
        for (int round = 0; round < 4; round++) {
            List<Object> held = kept.computeIfAbsent("plants", any -> new ArrayList<>());
            garbage(); plant1(held); plant3(held);
            sink = null;
            last = read();
        }
        long collections = 0;
        for (var bean : java.lang.management.ManagementFactory.getGarbageCollectorMXBeans()) collections += bean.getCollectionCount();
        System.out.print(last + "=COLLECTIONS " + collections + "\n=LIVE " + live() + "\n");
    }

    /** A diagnostic command of HotSpot's. */
    static String command(String command, Object[] arguments, String... types) throws Exception {
        var name = new javax.management.ObjectName("com.sun.management:type=DiagnosticCommand");
        var server = java.lang.management.ManagementFactory.getPlatformMBeanServer();
        return server.invoke(name, command, arguments, types).toString();
    }

    /** What HotSpot counts after a collection of its own, bytes; classes apart. */
    static long live() throws Exception {
        String counted = command("gcClassHistogram", new Object[] {new String[0]}, String[].class.getName());
        long live = 0;
        for (String line : counted.split("\n")) {
            String[] words = line.trim().split(" +");
            boolean isClass = words.length > 3 && words[0].endsWith(":") && words[0].length() < 12 && Character.isDigit(words[0].charAt(0));
            if (isClass && !words[3].equals("java.lang.Class")) live += Long.parseLong(words[2]);
        }
        return live;
    }

    static volatile Object kept;

    /** Keeps so many objects of 1 KiB beside garbage of eight times as much, with a young generation that is soon full. */
    static void often(int objects) {
        List<Object> kept = new ArrayList<>(objects);
        Sites.kept = kept;
        read();
        String last = "";
        for (int i = 0; i < objects; i++) {
            kept.add(small1024());
            if (i % 20 == 19) for (int k = 0; k < 20; k++) sink = new byte[8000];
            if (i % 1000 == 999) last = read();
        }
        System.out.print(last + "=KEPT " + objects * 1040L + "\n");
    }

    static Object small1024() { return new byte[1024]; }

    /** Throws and catches everything that an allocation can be in the middle of. */
    static void exceptions() {
        read();
        int caught = 0;
        for (int i = 0; i < 2000; i++) {
            try { throw new IllegalStateException("number " + i); } catch (IllegalStateException e) { sink = e; caught++; }
            if (i % 200 == 0) {
                try { deeper(0); } catch (StackOverflowError e) { sink = null; caught++; }
                try { sink = new long[Integer.MAX_VALUE - 8]; } catch (OutOfMemoryError e) { caught++; }
            }
        }
        System.gc();
        System.out.print(caught + "\n" + read());
    }

    private static int deeper(int depth) {
        byte[] local = new byte[100];
        local[0] = (byte) depth;
        return deeper(depth + 1) + local[0];
    }

    /** Makes arrays; is loaded by loaders that are let go of. */
    public static final class Maker implements java.util.function.Supplier<Object> {
        @Override public Object get() { return new byte[1024 - 16]; }
    }

    /** Keeps what was made by methods of classes that are unloaded before anybody asks for their names. */
    static void unloaded() throws Exception {
        read();
        byte[] code;
        try (java.io.InputStream file = Sites.class.getResourceAsStream("Sites$Maker.class")) { code = file.readAllBytes(); }
        List<Object> kept = new ArrayList<>();
        for (int round = 0; round < 20; round++) {
            Class<?> maker = new ClassLoader(null) {
                Class<?> define() { return defineClass("Sites$Maker", code, 0, code.length); }
            }.define();
            java.util.function.Supplier<?> made = (java.util.function.Supplier<?>) maker.getDeclaredConstructor().newInstance();
            for (int i = 0; i < 1000; i++) kept.add(made.get());
        }
        String last = "";
        for (int i = 0; i < 4; i++) { System.gc(); System.gc(); last = read(); }
        System.out.print(last + "=KEPT " + kept.size() * 1024L);
    }
}
