package io.leakline.spi;

import io.leakline.Config;
import io.leakline.Probe;
import io.leakline.Snapshot;

/** What the facade calls when the runtime is there. Implementations throw nothing. */
public interface LeaklineRuntime {
    /** See {@link io.leakline.Leakline#start(Object, Config)}. */
    boolean start(Object context, Config config);

    /** See {@link io.leakline.Leakline#mark}. */
    void mark(String name);

    /** See {@link io.leakline.Leakline#snapshotNow}. */
    Snapshot snapshotNow();

    /** See {@link io.leakline.Leakline#stats}. */
    Snapshot stats();

    /** See {@link io.leakline.Leakline#resetBaseline}. */
    void resetBaseline();

    /** See {@link io.leakline.Leakline#stop}. */
    void stop();

    /** See {@link io.leakline.Leakline#addProbe}. */
    void addProbe(Probe probe);

    /** See {@link io.leakline.Leakline#removeProbe}. */
    void removeProbe(Probe probe);
}
