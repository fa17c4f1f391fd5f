package com.example;

import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** Java that allocates in C: at a constant rate, or as fast as it can in a way that is named. */
public final class Bridge {
    private static final int BLOCK = 4096;

    private static volatile Object garbage;
    private static final List<Object> KEPT = Collections.synchronizedList(new ArrayList<>());

    private Bridge() {}

    private static native void open(int bytes, int count);

    private static native void churn(int bytes, int count);

    private static native void critical(byte[] array, int bytes, int count);

    private static native void fail(int bytes, int count);

    private static native void locked(int bytes, int count);

    /** {@code Bridge LIBRARY leak|direct|churn|critical|fail|locked|define THREADS SECONDS end|exit}. */
    public static void main(String[] words) throws InterruptedException {
        System.load(words[0]);
        String how = words[1];
        int threads = Integer.parseInt(words[2]);
        long end = System.nanoTime() + (long) (Double.parseDouble(words[3]) * 1e9);
        Thread[] all = new Thread[threads];
        for (int i = 0; i < threads; i++) {
            all[i] = new Thread(() -> work(how, end), "worker-" + i);
            all[i].setDaemon(words[4].equals("exit"));
            all[i].start();
        }
        if (words[4].equals("exit")) {
            Thread.sleep(Math.max(0, (end - System.nanoTime()) / 2_000_000));
            System.out.println("Bridge: exits");
            System.exit(0);
        }
        for (Thread thread : all) {
            thread.join();
        }
        System.out.println("Bridge: done");
    }

    private static void work(String how, long end) {
        byte[] array = new byte[1024];
        while (System.nanoTime() < end) {
            switch (how) {
                case "leak": leak(); break;
                case "direct": direct(); break;
                case "define": define(); break;
                case "churn": churn(BLOCK, 100); break;
                case "critical": critical(array, BLOCK, 100); break;
                case "fail": failing(); break;
                case "locked": locked(BLOCK, 100); break;
                default: throw new IllegalArgumentException(how);
            }
            if (!how.equals("leak") && !how.equals("direct")) {
                garbage = new byte[100_000];
            }
        }
    }

    private static void leak() {
        open(BLOCK, 64);
        rest();
    }

    private static void rest() {
        try {
            Thread.sleep(20);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }

    private static void direct() {
        KEPT.add(ByteBuffer.allocateDirect(16 * BLOCK));
        rest();
    }

    /** A class in a loader of its own, and garbage at once: the JVM allocates for it, and unloads it, in code of its own. */
    private static void define() {
        ClassLoader loader = new ClassLoader(Bridge.class.getClassLoader()) {};
        garbage = Proxy.newProxyInstance(loader, new Class<?>[] {Runnable.class}, (proxy, method, words) -> null);
    }

    private static void failing() {
        try {
            fail(BLOCK, 100);
        } catch (IllegalStateException error) {
            if (error.getMessage().equals("meant")) {
                return;
            }
        }
        throw new AssertionError("the exception got lost");
    }
}
