package io.leakline.android;

import android.content.Context;
import android.content.ContextWrapper;
import android.content.pm.ApplicationInfo;
import android.content.pm.ProviderInfo;
import android.content.res.Resources;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.shadows.ShadowLog;

/** An app as Android lays it before the provider: may be debugged or not, with resources by name. */
@SuppressWarnings("deprecation")
final class App extends ContextWrapper {
    private final Map<String, Object> values = new HashMap<>();

    private App(Context context) {
        super(context);
    }

    static App debuggable(boolean debuggable) {
        App app = new App(RuntimeEnvironment.getApplication());
        ApplicationInfo info = app.getApplicationInfo();
        info.flags = debuggable
                ? info.flags | ApplicationInfo.FLAG_DEBUGGABLE
                : info.flags & ~ApplicationInfo.FLAG_DEBUGGABLE;
        return app;
    }

    /** Gives it a resource: a Boolean or a String[]. */
    App with(String name, Object value) {
        values.put(name, value);
        return this;
    }

    /** What Android does with a provider of the manifest. */
    App launch() {
        ProviderInfo info = new ProviderInfo();
        info.authority = getPackageName() + ".leakline";
        new AutoStartProvider().attachInfo(this, info);
        return this;
    }

    /** What stands in the log under leakline's tag so far. */
    static List<String> log() {
        List<String> lines = new ArrayList<>();
        for (ShadowLog.LogItem item : ShadowLog.getLogsForTag("Leakline")) {
            lines.add(item.msg);
        }
        return lines;
    }

    @Override
    public Resources getResources() {
        Resources own = super.getResources();
        List<String> names = new ArrayList<>(values.keySet());
        return new Resources(own.getAssets(), own.getDisplayMetrics(), own.getConfiguration()) {
            @Override
            public int getIdentifier(String name, String type, String from) {
                Object value = values.get(name);
                String kind = value instanceof Boolean ? "bool" : "array";
                return value != null && kind.equals(type) ? 1 + names.indexOf(name) : 0;
            }

            @Override
            public boolean getBoolean(int id) {
                return (Boolean) values.get(names.get(id - 1));
            }

            @Override
            public String[] getStringArray(int id) {
                return (String[]) values.get(names.get(id - 1));
            }
        };
    }
}
