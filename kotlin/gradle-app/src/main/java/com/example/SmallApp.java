package com.example;

import io.leakline.Leakline;

/** An app's code with call sites that stand in the release build, too. */
public final class SmallApp {
    private SmallApp() {}

    public static void reconnect() {
        Leakline.mark("reconnect");
    }
}
