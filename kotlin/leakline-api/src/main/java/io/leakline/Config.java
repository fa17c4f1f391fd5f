package io.leakline;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;

/** Settings, by the names that the settings file has for them: {@code new Config().set("interval", "1m")}. */
public final class Config {
    private final Map<String, String> settings = new LinkedHashMap<>();

    /** Sets one; the last one counts. A name or value that leakline does not know is refused at the start, in the log. */
    public Config set(String name, String value) {
        settings.put(name, value);
        return this;
    }

    /** Time between snapshots, such as {@code 1m} or {@code 30s}. */
    public Config interval(String time) {
        return set("interval", time);
    }

    /** {@code HOST:PORT} of {@code leakline collect}. */
    public Config collector(String address) {
        return set("collector.address", address);
    }

    /** Where the recording is written. */
    public Config file(String path) {
        return set("file.path", path);
    }

    /** The same settings, which later changes of this one do not reach. */
    public Config copy() {
        Config copy = new Config();
        copy.settings.putAll(settings);
        return copy;
    }

    /** What was set. */
    public Map<String, String> settings() {
        return Collections.unmodifiableMap(settings);
    }
}
