package com.example;

import io.leakline.Leakline;

/** An app's code with call sites that a release build keeps in its source. */
public final class SmallApp {
    private SmallApp() {}

    public static void main(String[] arguments) {
        Leakline.mark("reconnect");
        if (Leakline.isPresent()) {
            System.out.println("only where leakline is");
        }
        Leakline.resetBaseline();
        System.out.println("the app's own work");
        Leakline.stop();
    }
}
