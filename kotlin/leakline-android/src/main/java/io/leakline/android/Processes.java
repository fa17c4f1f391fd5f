package io.leakline.android;

import android.content.Context;
import java.io.BufferedReader;
import java.io.FileReader;
import java.io.IOException;

/** Which process of the app this is. */
final class Processes {
    private Processes() {}

    /** As the manifest has it, such as {@code com.example.app:service}. */
    static String name(Context context) {
        try (BufferedReader reader = new BufferedReader(new FileReader("/proc/self/cmdline"))) {
            String line = reader.readLine();
            int end = line == null ? 0 : line.indexOf('\0');
            String name = line == null ? "" : (end < 0 ? line : line.substring(0, end)).trim();
            return name.isEmpty() ? context.getPackageName() : name;
        } catch (IOException unreadable) {
            return context.getPackageName();
        }
    }

    /** What is behind the colon, or {@code main}; fit for a file's name. */
    static String shortName(Context context) {
        String name = name(context);
        int colon = name.indexOf(':');
        return colon < 0 ? "main" : name.substring(colon + 1).replaceAll("[^A-Za-z0-9_.-]", "_");
    }
}
