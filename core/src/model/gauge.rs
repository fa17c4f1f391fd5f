//! A gauge: a named number with a unit. The names that leakline itself reads are listed here, once.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// What a gauge's value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Things: blocks, threads, classes, descriptors.
    Count,
    /// Nanoseconds.
    Nanoseconds,
    /// A share, from 0 to 1.
    Ratio,
}

/// How the values of one gauge at two ticks relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GaugeKind {
    /// A level: it may rise and fall. Memory that is held is a level.
    Level,
    /// A total since the host's start: it only rises. Collections so far are a total.
    Total,
}

/// A named number with a unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gauge {
    /// `layer.what_unit`, such as `python.traced_bytes`; the unit ends the name where it is not a count.
    pub name: Cow<'static, str>,
    /// What `value` counts.
    pub unit: Unit,
    /// Level or total.
    pub kind: GaugeKind,
    /// Exact up to 2^53, which is 8 PiB.
    pub value: f64,
}

impl Gauge {
    /// A level in bytes.
    pub fn bytes(name: impl Into<Cow<'static, str>>, value: u64) -> Self {
        Self { name: name.into(), unit: Unit::Bytes, kind: GaugeKind::Level, value: value as f64 }
    }

    /// A level that counts things.
    pub fn count(name: impl Into<Cow<'static, str>>, value: u64) -> Self {
        Self { name: name.into(), unit: Unit::Count, kind: GaugeKind::Level, value: value as f64 }
    }

    /// A count that only rises.
    pub fn total(name: impl Into<Cow<'static, str>>, value: u64) -> Self {
        Self { name: name.into(), unit: Unit::Count, kind: GaugeKind::Total, value: value as f64 }
    }

    /// A level that is a time, in nanoseconds.
    pub fn nanos(name: impl Into<Cow<'static, str>>, value: u64) -> Self {
        Self { name: name.into(), unit: Unit::Nanoseconds, kind: GaugeKind::Level, value: value as f64 }
    }

    /// A time that only rises, in nanoseconds.
    pub fn total_nanos(name: impl Into<Cow<'static, str>>, value: u64) -> Self {
        Self { name: name.into(), unit: Unit::Nanoseconds, kind: GaugeKind::Total, value: value as f64 }
    }
}

/// The names of the gauges that leakline's own probes read.
pub mod names {
    /// Resident size of the process (`statm`), bytes.
    pub const RESIDENT: &str = "process.resident_bytes";
    /// Resident anonymous memory, bytes.
    pub const ANONYMOUS: &str = "process.anonymous_bytes";
    /// Resident file-backed memory, bytes.
    pub const FILE_BACKED: &str = "process.file_backed_bytes";
    /// Resident shared memory (tmpfs, SysV, ashmem), bytes.
    pub const SHARED: &str = "process.shared_bytes";
    /// Swapped out, bytes.
    pub const SWAPPED: &str = "process.swapped_bytes";
    /// Proportional set size: shared pages divided by their users, bytes. Read at a slower cadence when slow.
    pub const PROPORTIONAL: &str = "process.proportional_bytes";
    /// Highest resident size so far, bytes.
    pub const RESIDENT_PEAK: &str = "process.resident_peak_bytes";
    /// What the machine has left to give to programs before it ends some, bytes.
    pub const MACHINE_LEFT: &str = "process.machine_left_bytes";
    /// Threads of the process. Followed by a dot and a name, numbers as `n`: those of that name.
    pub const THREADS: &str = "process.threads";
    /// Open file descriptors. Followed by a dot and a kind: those of that kind (`process.descriptors.socket_tcp`).
    pub const DESCRIPTORS: &str = "process.descriptors";

    /// Mappings, when the memory map was read last.
    pub const MAPPINGS: &str = "process.mappings";
    /// What the map's figures begin with.
    pub const MAP_PREFIX: &str = "process.map.";
    /// The same parts, swapped out: `process.map.swapped.malloc_bytes` and so on, where anything is.
    pub const MAP_SWAPPED_PREFIX: &str = "process.map.swapped.";
    /// How old the figures `process.map.*` are, nanoseconds; 0 where they are of this tick. A map is read again when the
    /// memory moved, or after some ticks. What of these a process does not have is absent.
    pub const MAP_AGE: &str = "process.map.age_nanos";
    /// All that the map counts as resident and no file's nor shared, bytes.
    pub const MAP_ANONYMOUS: &str = "process.map.anonymous_bytes";
    /// Data of the program and its libraries that was written to, so that it is no longer their files', resident bytes.
    pub const MAP_LIBRARIES: &str = "process.map.library_data_bytes";
    /// Threads' stacks, resident bytes.
    pub const MAP_STACKS: &str = "process.map.stack_bytes";
    /// Malloc's heaps, resident bytes.
    pub const MAP_MALLOC: &str = "process.map.malloc_bytes";
    /// glibc's arenas, where there is more than one.
    pub const MAP_MALLOC_ARENAS: &str = "process.map.malloc_arenas";
    /// Blocks that malloc mapped one by one, resident bytes.
    pub const MAP_MALLOC_MAPPED: &str = "process.map.malloc_mapped_bytes";
    /// The sizes of the blocks that `MAP_MALLOC_MAPPED` is of, touched or not, bytes.
    pub const MAP_MALLOC_FOUND: &str = "process.map.malloc_mapped_found_bytes";
    /// The Java heap, resident bytes that are not shared.
    pub const MAP_JAVA_HEAP: &str = "process.map.java_heap_bytes";
    /// The Java heap where it is shared memory (ZGC's may be), resident bytes, once for each time it is mapped.
    pub const MAP_JAVA_HEAP_SHARED: &str = "process.map.java_heap_shared_bytes";
    /// Compiled code of a JVM, resident bytes.
    pub const MAP_JAVA_CODE: &str = "process.map.java_code_bytes";
    /// What else a JVM mapped, resident bytes: metaspace, class archives, tables of its collector.
    pub const MAP_JAVA_OTHER: &str = "process.map.java_other_bytes";
    /// The parts of `MAP_JAVA_CODE` and `MAP_JAVA_OTHER` that are shared memory (ART's), resident bytes beside those.
    pub const MAP_JAVA_CODE_SHARED: &str = "process.map.java_code_shared_bytes";
    /// See `MAP_JAVA_CODE_SHARED`.
    pub const MAP_JAVA_OTHER_SHARED: &str = "process.map.java_other_shared_bytes";
    /// What Python mapped, where it is known, resident bytes.
    pub const MAP_PYTHON: &str = "process.map.python_bytes";
    /// Buffers of graphics, resident bytes; the kernel counts them as shared memory.
    pub const MAP_GRAPHICS: &str = "process.map.graphics_bytes";
    /// Buffers of a graphics device that the kernel counts with files, resident bytes.
    pub const MAP_GRAPHICS_DEVICE: &str = "process.map.graphics_device_bytes";
    /// Files of Java's code that are mapped (.dex, .oat, .art, class archives), resident bytes.
    pub const MAP_FILES_JAVA: &str = "process.map.java_files_bytes";
    /// Mapped .apk and .jar files, resident bytes.
    pub const MAP_FILES_PACKAGES: &str = "process.map.package_files_bytes";
    /// Mapped fonts, resident bytes.
    pub const MAP_FILES_FONTS: &str = "process.map.font_files_bytes";
    /// Leakline's own in the process, where it is known, resident bytes. There at every reading of a process that is watched
    /// from outside, and 0 where it has none.
    pub const MAP_LEAKLINE: &str = "process.map.leakline_bytes";
    /// Leakline's own that is shared memory, which the process and its watcher have in common, resident bytes beside those.
    pub const MAP_LEAKLINE_SHARED: &str = "process.map.leakline_shared_bytes";
    /// What has a name, or was seen to be mapped, and is none of the others, resident bytes.
    pub const MAP_OTHER: &str = "process.map.other_bytes";
    /// Anonymous memory without a name, resident bytes: others may claim it, and what nobody claims is unexplained.
    pub const MAP_UNNAMED: &str = "process.map.unnamed_bytes";

    /// In use inside malloc, mapped blocks included, bytes.
    pub const MALLOC_LIVE: &str = "native.malloc_live_bytes";
    /// Free inside malloc, bytes: fragmentation, or a spike that passed.
    pub const MALLOC_FREE: &str = "native.malloc_free_bytes";
    /// In blocks that malloc mapped one by one, bytes; part of `MALLOC_LIVE`.
    pub const MALLOC_MAPPED: &str = "native.malloc_mapped_bytes";
    /// The most that malloc could give back to the kernel, bytes: an upper bound.
    pub const MALLOC_TRIMMABLE: &str = "native.malloc_trimmable_bytes";

    /// Estimated live bytes of what malloc served since sampling began.
    pub const NATIVE_SAMPLED: &str = "native.sampled_bytes";
    /// Samples that are live: the estimates rest on them.
    pub const NATIVE_SAMPLES: &str = "native.live_samples";
    /// In mappings that the process made itself since sampling began, resident or not, bytes.
    pub const NATIVE_MAPPED: &str = "native.mapped_bytes";
    /// How many mappings these are.
    pub const NATIVE_MAPPED_COUNT: &str = "native.own_mappings";

    /// Live bytes that tracemalloc has traced since it was started.
    pub const PYTHON_TRACED: &str = "python.traced_bytes";
    /// Peak of `PYTHON_TRACED`, bytes.
    pub const PYTHON_TRACED_PEAK: &str = "python.traced_peak_bytes";
    /// The part of `PYTHON_TRACED` in requests of up to 512 bytes, which live in pymalloc's arenas and not in malloc.
    pub const PYTHON_TRACED_SMALL: &str = "python.traced_small_bytes";
    /// What tracemalloc itself holds, bytes.
    pub const PYTHON_TRACER: &str = "python.tracer_bytes";
    /// Estimated live bytes of what was allocated since sampling began.
    pub const PYTHON_SAMPLED: &str = "python.sampled_bytes";
    /// The part of `PYTHON_SAMPLED` that malloc serves: requests of more than 512 bytes, and what goes past pymalloc.
    pub const PYTHON_LARGE: &str = "python.large_bytes";
    /// Samples that are live: the estimates rest on them.
    pub const PYTHON_SAMPLES: &str = "python.live_samples";
    /// Pymalloc's arenas as they are mapped, used or free, bytes. Counted at a slower cadence when there are many; of the
    /// interpreter that is read and of those that share its allocator.
    pub const PYTHON_ARENAS: &str = "python.arena_bytes";
    /// The part of `PYTHON_ARENAS` in blocks that are handed out, rounded up to their size class.
    pub const PYTHON_ARENAS_USED: &str = "python.arena_used_bytes";
    /// The part of `PYTHON_ARENAS` in pools that hold nothing: never touched, or left behind by what was freed.
    pub const PYTHON_ARENAS_UNUSED: &str = "python.arena_unused_pool_bytes";
    /// Interned strings; absent before CPython 3.12.
    pub const PYTHON_INTERNED: &str = "python.interned_strings";
    /// Blocks that pymalloc has handed out.
    pub const PYTHON_BLOCKS: &str = "python.allocated_blocks";
    /// Objects that the garbage collector tracks in its young generation.
    pub const PYTHON_GC_YOUNG: &str = "python.gc_young_objects";
    /// Collections so far, all generations.
    pub const PYTHON_GC_COLLECTIONS: &str = "python.gc_collections";
    /// Collections of the young generation since the last one of the middle generation.
    pub const PYTHON_GC_MIDDLE_COUNT: &str = "python.gc_middle_count";
    /// Collections of the middle generation since the last one of the old generation.
    pub const PYTHON_GC_OLD_COUNT: &str = "python.gc_old_count";
    /// Collections of the young generation so far.
    pub const PYTHON_GC_YOUNG_COLLECTIONS: &str = "python.gc_young_collections";
    /// Collections of the middle generation so far.
    pub const PYTHON_GC_MIDDLE_COLLECTIONS: &str = "python.gc_middle_collections";
    /// Collections of the old generation so far: they look at everything.
    pub const PYTHON_GC_OLD_COLLECTIONS: &str = "python.gc_old_collections";
    /// Objects in `gc.garbage` now: uncollectable ones, and whatever debugging kept.
    pub const PYTHON_GC_GARBAGE: &str = "python.gc_garbage_objects";
    /// Whether the garbage collector runs by itself: 1 or 0. While it is off, growth may be garbage.
    pub const PYTHON_GC_ENABLED: &str = "python.gc_enabled";
    /// Objects that `gc.freeze` took out of the garbage collector's view. Counted at a slower cadence when there are many.
    pub const PYTHON_GC_FROZEN: &str = "python.gc_frozen_objects";
    /// Objects found uncollectable so far.
    pub const PYTHON_GC_UNCOLLECTABLE: &str = "python.gc_uncollectable";

    /// Used Java heap, garbage included, bytes.
    pub const JVM_HEAP_USED: &str = "jvm.heap_used_bytes";
    /// Java heap that is backed by memory, bytes.
    pub const JVM_HEAP_COMMITTED: &str = "jvm.heap_committed_bytes";
    /// What the Java heap may grow to, bytes.
    pub const JVM_HEAP_MAX: &str = "jvm.heap_max_bytes";
    /// Used Java heap right after its last collection, bytes; absent before the first.
    pub const JVM_HEAP_AFTER_GC: &str = "jvm.heap_after_gc_bytes";
    /// What the heap's pools had in use right after the last collection begin with: `jvm.heap_after_gc.g1_old_gen_bytes`.
    pub const JVM_POOL_AFTER_GC_PREFIX: &str = "jvm.heap_after_gc.";
    /// The old generation right after the last collection of it, bytes: what it keeps; absent before the first.
    pub const JVM_OLD_FLOOR: &str = "jvm.old_floor_bytes";
    /// What the last young collection moved to the old generation, bytes.
    pub const JVM_LAST_PROMOTED: &str = "jvm.last_promoted_bytes";
    /// How long ago the last collection ended, nanoseconds; absent before the first.
    pub const JVM_GC_AGE: &str = "jvm.gc_age_nanos";
    /// Estimated bytes of Java objects that were allocated since sampling began and not collected yet.
    pub const JVM_SAMPLED: &str = "jvm.sampled_bytes";
    /// Samples that these estimates rest on.
    pub const JVM_SAMPLES: &str = "jvm.live_samples";
    /// All Java objects that something leads to, bytes: what a collection of the whole heap would leave. Absent where one has
    /// looked at the old generation since the baseline, and where counting would stop the program for too long.
    pub const JVM_HEAP_LIVE: &str = "jvm.heap_live_bytes";
    /// Metaspace, code cache and the like, used bytes.
    pub const JVM_NON_HEAP_USED: &str = "jvm.non_heap_used_bytes";
    /// Metaspace, code cache and the like, committed bytes.
    pub const JVM_NON_HEAP_COMMITTED: &str = "jvm.non_heap_committed_bytes";
    /// Metaspace, classes' own space included, committed bytes.
    pub const JVM_METASPACE_COMMITTED: &str = "jvm.metaspace_committed_bytes";
    /// Metaspace, classes' own space included, used bytes.
    pub const JVM_METASPACE_USED: &str = "jvm.metaspace_used_bytes";
    /// The part of `JVM_METASPACE_USED` in the space for compressed pointers to classes.
    pub const JVM_CLASS_SPACE_USED: &str = "jvm.class_space_used_bytes";
    /// Compiled code, used bytes.
    pub const JVM_CODE_USED: &str = "jvm.code_used_bytes";
    /// Compiled code, committed bytes.
    pub const JVM_CODE_COMMITTED: &str = "jvm.code_committed_bytes";
    /// Direct buffers, bytes (they come from malloc).
    pub const JVM_DIRECT: &str = "jvm.direct_buffer_bytes";
    /// Direct buffers, how many.
    pub const JVM_DIRECT_COUNT: &str = "jvm.direct_buffers";
    /// Mapped buffers, bytes.
    pub const JVM_MAPPED: &str = "jvm.mapped_buffer_bytes";
    /// Collections so far.
    pub const JVM_GC_COUNT: &str = "jvm.gc_collections";
    /// Time spent in collections so far, nanoseconds.
    pub const JVM_GC_TIME: &str = "jvm.gc_time_nanos";
    /// The part of `JVM_GC_COUNT` that collected the old generation, or all of the heap.
    pub const JVM_OLD_GC_COUNT: &str = "jvm.gc_old_collections";
    /// The part of `JVM_GC_TIME` spent in those, nanoseconds.
    pub const JVM_OLD_GC_TIME: &str = "jvm.gc_old_time_nanos";
    /// Classes loaded now.
    pub const JVM_CLASSES: &str = "jvm.classes";
    /// Java threads now.
    pub const JVM_THREADS: &str = "jvm.threads";

    /// Objects that native code holds in Java's heap by global references; a JVM has some hundred of its own. With `.` and the
    /// name of a class after it: those to objects of a class of which there are more and more.
    pub const JVM_GLOBAL_REFS: &str = "jvm.jni_global_refs";
    /// Weak global references of native code's, those whose object was collected among them until they are deleted; leakline's
    /// own are not.
    pub const JVM_WEAK_GLOBAL_REFS: &str = "jvm.jni_weak_global_refs";

    /// Class loaders that have a class, besides the JVM's own first one.
    pub const JVM_CLASS_LOADERS: &str = "jvm.class_loaders";

    /// References to Python objects that Java holds through JPype, jep or Chaquopy, by the bridge's own table: until the Java
    /// objects that stand for them were collected. Absent where there is no such bridge.
    pub const BRIDGE_JAVA_HOLDS_PYTHON: &str = "bridge.java_holds_python";
    /// Wrappers of Java objects, of JPype's or jep's, among the Python objects that a census counted; classes are not among
    /// them. Absent without a census, and where there is no such bridge.
    pub const BRIDGE_PYTHON_HOLDS_JAVA: &str = "bridge.python_holds_java";
}
