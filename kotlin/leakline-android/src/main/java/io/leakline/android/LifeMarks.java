package io.leakline.android;

import android.app.Activity;
import android.app.Application;
import android.content.ComponentCallbacks2;
import android.content.Context;
import android.content.res.Configuration;
import android.os.Bundle;
import io.leakline.Leakline;

/** Marks of what happens to the process by itself: foreground, background, and the system's wish for memory. */
final class LifeMarks implements Application.ActivityLifecycleCallbacks, ComponentCallbacks2 {
    /** Only the app's main thread comes here. */
    private int visible;

    private LifeMarks() {}

    static void follow(Context context) {
        LifeMarks marks = new LifeMarks();
        Context application = context.getApplicationContext();
        if (application == null) {
            application = context;
        }
        application.registerComponentCallbacks(marks);
        if (application instanceof Application) {
            ((Application) application).registerActivityLifecycleCallbacks(marks);
        }
    }

    @Override
    public void onActivityStarted(Activity activity) {
        if (visible++ == 0) {
            Leakline.mark("foreground");
        }
    }

    @Override
    public void onActivityStopped(Activity activity) {
        if (visible > 0 && --visible == 0 && !activity.isChangingConfigurations()) {
            Leakline.mark("background");
        }
    }

    @Override
    public void onTrimMemory(int level) {
        Leakline.mark("trim_memory_" + level);
    }

    @Override
    public void onLowMemory() {
        Leakline.mark("low_memory");
    }

    @Override
    public void onActivityCreated(Activity activity, Bundle state) {}

    @Override
    public void onActivityResumed(Activity activity) {}

    @Override
    public void onActivityPaused(Activity activity) {}

    @Override
    public void onActivitySaveInstanceState(Activity activity, Bundle state) {}

    @Override
    public void onActivityDestroyed(Activity activity) {}

    @Override
    public void onConfigurationChanged(Configuration configuration) {}
}
