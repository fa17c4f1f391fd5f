package io.leakline.android;

import android.content.Context;
import android.content.pm.ApplicationInfo;
import io.leakline.Config;
import io.leakline.runtime.AnyConfig;
import io.leakline.runtime.HostRules;
import java.io.File;
import java.util.LinkedHashMap;
import java.util.Map;

/** An Android app: only one that may be debugged is watched, and its recording goes to the app's own files. */
public final class AppRules implements HostRules {
    private final Context context;

    /** For the runtime, which finds it by its name. */
    public AppRules(Object context) {
        this.context = ((Context) context).getApplicationContext() == null
                ? (Context) context
                : ((Context) context).getApplicationContext();
    }

    @Override
    public String settings(Config config) throws Refused {
        ApplicationInfo app = context.getApplicationInfo();
        if ((app.flags & ApplicationInfo.FLAG_DEBUGGABLE) == 0) {
            throw new Refused("this app may not be debugged; leakline is for debug builds only");
        }
        Map<String, String> settings = new LinkedHashMap<>();
        // One file cannot hold two processes; each is named after its own.
        File folder = new File(context.getFilesDir(), "leakline");
        if (folder.isDirectory() || folder.mkdirs()) {
            settings.put("file.path", new File(folder, Processes.shortName(context) + ".leak").getPath());
        }
        File python = new File(app.nativeLibraryDir, "libleakline_cpython.so");
        if (python.isFile()) {
            settings.put("python.library", python.getPath());
        }
        settings.putAll(config.settings());
        return AnyConfig.lines(settings);
    }
}
