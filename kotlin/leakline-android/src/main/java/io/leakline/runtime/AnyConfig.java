package io.leakline.runtime;

import java.util.Map;

/** Settings as the library takes them: a line each, name and value between a tab. */
public final class AnyConfig {
    private AnyConfig() {}

    /** A name or value with a line break in it would be two: it ends there. */
    public static String lines(Map<String, String> settings) {
        StringBuilder lines = new StringBuilder();
        for (Map.Entry<String, String> setting : settings.entrySet()) {
            lines.append(setting.getKey()).append('\t').append(setting.getValue()).append('\n');
        }
        return lines.toString();
    }
}
