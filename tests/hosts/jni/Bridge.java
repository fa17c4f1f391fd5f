package com.example;

/** Java that allocates in C: at a constant rate, or as fast as it can in a way that is named. */
public final class Bridge {
    private static final int BLOCK = 4096;

    private static volatile Object garbage;

    private Bridge() {}

    private static native void open(int bytes, int count);

    private static native void churn(int bytes, int count);

    private static native void critical(byte[] array, int bytes, int count);

    private static native void fail(int bytes, int count);

    private static native void locked(int bytes, int count);

    /** {@code Bridge LIBRARY leak|churn|critical|fail|locked THREADS SECONDS end|exit}. */
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
                case "churn": churn(BLOCK, 100); break;
                case "critical": critical(array, BLOCK, 100); break;
                case "fail": failing(); break;
                case "locked": locked(BLOCK, 100); break;
                default: throw new IllegalArgumentException(how);
            }
            if (!how.equals("leak")) {
                garbage = new byte[100_000];
            }
        }
    }

    private static void leak() {
        open(BLOCK, 64);
        try {
            Thread.sleep(20);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
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
