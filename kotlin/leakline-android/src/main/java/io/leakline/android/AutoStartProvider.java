package io.leakline.android;

import android.content.ContentProvider;
import android.content.ContentValues;
import android.content.Context;
import android.content.res.Resources;
import android.database.Cursor;
import android.net.Uri;
import io.leakline.Config;
import io.leakline.Leakline;
import io.leakline.runtime.Log;

/**
 * Starts leakline before the app's first line of code. Provides nothing.
 *
 * <p>Android makes providers in the process that the manifest names for them, the main one unless it says otherwise. For a
 * process of its own, such as {@code android:process=":service"}, an app declares {@link ServiceProcess} with that process.
 */
public class AutoStartProvider extends ContentProvider {
    /** The same, to be declared a second time, for another process of the app. */
    public static final class ServiceProcess extends AutoStartProvider {}

    @Override
    public boolean onCreate() {
        try {
            start(getContext());
        } catch (RuntimeException | LinkageError error) {
            Log.warn("not started: " + error);
        }
        return true;
    }

    private static void start(Context context) {
        if (context == null || !flag(context, "leakline_auto_start", true)) {
            return;
        }
        String[] only = texts(context, "leakline_processes");
        if (only.length > 0 && !contains(only, Processes.name(context))) {
            return;
        }
        Config config = new Config();
        for (String setting : texts(context, "leakline_settings")) {
            int at = setting.indexOf('=');
            if (at > 0) {
                config.set(setting.substring(0, at).trim(), setting.substring(at + 1).trim());
            }
        }
        if (Leakline.start(context, config)) {
            LifeMarks.follow(context);
        }
    }

    private static boolean contains(String[] names, String process) {
        for (String name : names) {
            // As in a manifest: ":service" stands for the package and the colon.
            if (process.equals(name) || name.startsWith(":") && process.endsWith(name)) {
                return true;
            }
        }
        return false;
    }

    private static boolean flag(Context context, String name, boolean otherwise) {
        Resources resources = context.getResources();
        int id = resources.getIdentifier(name, "bool", context.getPackageName());
        return id == 0 ? otherwise : resources.getBoolean(id);
    }

    private static String[] texts(Context context, String name) {
        Resources resources = context.getResources();
        int id = resources.getIdentifier(name, "array", context.getPackageName());
        return id == 0 ? new String[0] : resources.getStringArray(id);
    }

    @Override
    public Cursor query(Uri uri, String[] projection, String selection, String[] arguments, String order) {
        return null;
    }

    @Override
    public String getType(Uri uri) {
        return null;
    }

    @Override
    public Uri insert(Uri uri, ContentValues values) {
        return null;
    }

    @Override
    public int delete(Uri uri, String selection, String[] arguments) {
        return 0;
    }

    @Override
    public int update(Uri uri, ContentValues values, String selection, String[] arguments) {
        return 0;
    }
}
