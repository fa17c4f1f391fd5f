package io.leakline.android;

import android.app.ActivityManager;
import android.content.Context;
import android.content.pm.ApplicationInfo;
import android.os.Build;
import android.os.Debug;
import io.leakline.Config;
import io.leakline.runtime.AnyConfig;
import io.leakline.runtime.HostRules;
import java.io.File;
import java.lang.reflect.InvocationTargetException;
import java.util.LinkedHashMap;
import java.util.Map;

/** An Android app: only one that may be debugged is watched, and its recording goes to the app's own files. */
public final class AppRules implements HostRules {
    /** The first Android whose apps may attach an agent to themselves. */
    private static final int AGENTS_SINCE = 28;

    /** Android keeps an agent to the process's end, and would take it a second time. */
    private static boolean isAgent;

    private final Context context;

    /** For the runtime, which finds it by its name. */
    public AppRules(Object context) {
        this.context = ((Context) context).getApplicationContext() == null
                ? (Context) context
                : ((Context) context).getApplicationContext();
    }

    @Override
    public String refusal() {
        boolean isDebuggable = (context.getApplicationInfo().flags & ApplicationInfo.FLAG_DEBUGGABLE) != 0;
        return isDebuggable ? null : "this app may not be debugged; leakline is for debug builds only";
    }

    @Override
    public String settings(Config config) {
        Map<String, String> settings = new LinkedHashMap<>();
        // One file cannot hold two processes; each is named after its own.
        File folder = new File(context.getFilesDir(), "leakline");
        if (folder.isDirectory() || folder.mkdirs()) {
            settings.put("file.path", new File(folder, Processes.shortName(context) + ".leak").getPath());
        }
        File python = new File(context.getApplicationInfo().nativeLibraryDir, "libleakline_cpython.so");
        if (python.isFile()) {
            settings.put("python.library", python.getPath());
        }
        Object service = context.getSystemService(Context.ACTIVITY_SERVICE);
        if (service instanceof ActivityManager) {
            ActivityManager.MemoryInfo memory = new ActivityManager.MemoryInfo();
            ((ActivityManager) service).getMemoryInfo(memory);
            settings.put("native.kept_free", String.valueOf(Math.max(0, memory.threshold)));
        }
        settings.putAll(config.settings());
        return AnyConfig.lines(settings);
    }

    @Override
    public String becomeAgent(Config config) {
        String wanted = config.settings().get("jvm.agent");
        if (wanted != null && (wanted.trim().equals("0") || wanted.trim().equalsIgnoreCase("false"))) {
            // The library reads the setting too, and tells of it.
            return null;
        }
        if (Build.VERSION.SDK_INT < AGENTS_SINCE) {
            return "Android takes agents from 9 on";
        }
        synchronized (AppRules.class) {
            String refused = isAgent ? null : attach();
            isAgent = refused == null;
            return refused;
        }
    }

    /** By reflection: Android 7 does not have it. The library is found where the class loader finds it, as it was before. */
    private static String attach() {
        try {
            Debug.class
                    .getMethod("attachJvmtiAgent", String.class, String.class, ClassLoader.class)
                    .invoke(null, "libleakline_jni.so", null, AppRules.class.getClassLoader());
            return null;
        } catch (InvocationTargetException thrown) {
            return "Android refused leakline as an agent: " + thrown.getCause();
        } catch (ReflectiveOperationException | RuntimeException | LinkageError absent) {
            return "Android takes no agent: " + absent;
        }
    }
}
