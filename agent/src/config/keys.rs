//! The one list of settings: name in the file, environment variable, default, meaning, parser.

use super::values::{address, at_least, count, duration, one_of, path, size, size_within, switch};
use super::{Children, Config, LogcatTarget, NativeMode, PythonMode};

/// Names the TOML file; no setting itself.
pub(super) const CONFIG: &str = "LEAKLINE_CONFIG";

/// Variables that begin like settings and are read elsewhere: by `leakline run`, by the preloaded library, by tests.
pub(super) const NOT_SETTINGS: &[&str] = &[
    CONFIG,
    "LEAKLINE_PID",
    "LEAKLINE_APPLICATION",
    "LEAKLINE_LIBRARY",
    "LEAKLINE_DIST",
    "LEAKLINE_LIB_DIR",
    "LEAKLINE_LOG",
    "LEAKLINE_WATCHED_BY",
];

/// One setting.
pub struct Key {
    /// Dotted name in the TOML file.
    pub name: &'static str,
    /// Environment variable.
    pub variable: &'static str,
    /// The default as one would write it; empty where there is none.
    pub default: &'static str,
    /// What it does, and why the default is what it is.
    pub meaning: &'static str,
    /// Parses and sets; the error says what would be right.
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
}

macro_rules! keys {
    ($($name:literal $variable:literal $default:literal $meaning:literal => |$config:ident, $text:ident| $set:expr;)*) => {
        /// Every setting that exists.
        pub const KEYS: &[Key] = &[$(Key {
            name: $name,
            variable: $variable,
            default: $default,
            meaning: $meaning,
            set: |$config, $text| { $set; Ok(()) },
        }),*];
    };
}

keys! {
    "interval" "LEAKLINE_INTERVAL" "5m"
        "time between snapshots; a leak of 1.4 MB/min shows as 7 MB in 5 minutes, and reading costs next to nothing"
        => |config, text| config.interval = duration(text, "100ms", "1day")?;
    "own.max_bytes" "LEAKLINE_OWN_MAX_BYTES" "16MiB"
        "what leakline itself may hold, in the host and beside it together, from 4MiB to 1GiB; where that is full, call paths that hold nothing make room, further ones are counted as one, and a note says so"
        => |config, text| config.max_own_bytes = size_within(text, "16MiB", ("4MiB", 4 << 20), ("1GiB", 1 << 30))?;
    "python.mode" "LEAKLINE_PYTHON_MODE" "sampling"
        "sampling: call paths of a few allocations, cheap enough to leave on; exact: of every one; tracemalloc: the same by the standard library's tracer; gauges: numbers only; off: no Python probe"
        => |config, text| config.python_mode = one_of(text, &[
            ("sampling", PythonMode::Sampling), ("exact", PythonMode::Exact),
            ("tracemalloc", PythonMode::Tracemalloc), ("gauges", PythonMode::Gauges), ("off", PythonMode::Off)])?;
    "python.sample_bytes" "LEAKLINE_PYTHON_SAMPLE_BYTES" "64KiB"
        "bytes between two samples on average, from 1KiB to 16MiB; less shows smaller leaks sooner and costs more"
        => |config, text| config.python_sample_bytes = size_within(text, "64KiB", ("1KiB", 1 << 10), ("16MiB", 16 << 20))?;
    "python.frames" "LEAKLINE_PYTHON_FRAMES" ""
        "frames kept of each call path, from 1 to 128; unless set 32 when sampling, 10 for exact and tracemalloc, where more cost more at every allocation"
        => |config, text| config.python_frames = Some(count(text, 1, 128)? as u16);
    "python.census" "LEAKLINE_PYTHON_CENSUS" "12"
        "objects are counted by type at every so many snapshots, an hour at 5 minutes; 0: only when somebody asks"
        => |config, text| config.python_census = count(text, 0, 1_000_000)? as u32;
    "python.window_when_leaking" "LEAKLINE_PYTHON_WINDOW_WHEN_LEAKING" "false"
        "record every allocation for a while when Python leaks and the samples do not say where; slows the program down meanwhile"
        => |config, text| config.python_window_when_leaking = switch(text)?;
    "python.window" "LEAKLINE_PYTHON_WINDOW" "60s"
        "how long that is"
        => |config, text| config.python_window = duration(text, "1s", "1day")?;
    "python.window_traces" "LEAKLINE_PYTHON_WINDOW_TRACES" "1000000"
        "any window closes when so many of its allocations are live: some 48 MiB of leakline's own"
        => |config, text| config.python_window_traces = count(text, 1000, 100_000_000)?;
    "python.library" "LEAKLINE_PYTHON_LIBRARY" ""
        "the library with the Python part, where it does not stand beside the agent's"
        => |config, text| config.python_library = path(text);
    "native.mode" "LEAKLINE_NATIVE_MODE" "sampling"
        "sampling: malloc's numbers and call paths of a few allocations, cheap enough to leave on; gauges: numbers only; off: neither malloc's nor the process's"
        => |config, text| config.native_mode = one_of(text, &[
            ("sampling", NativeMode::Sampling), ("gauges", NativeMode::Gauges), ("off", NativeMode::Off)])?;
    "native.sample_bytes" "LEAKLINE_NATIVE_SAMPLE_BYTES" "512KiB"
        "bytes between two samples on average, from 4KiB to 1GiB; less shows smaller leaks sooner and costs more"
        => |config, text| config.native_sample_bytes = size_within(text, "512KiB", ("4KiB", 4 << 10), ("1GiB", 1 << 30))?;
    "native.frames" "LEAKLINE_NATIVE_FRAMES" "48"
        "frames kept of each call path, from 1 to 64"
        => |config, text| config.native_frames = count(text, 1, 64)? as u16;
    "native.kept_free" "LEAKLINE_NATIVE_KEPT_FREE" "0"
        "below so much free memory the system begins to end programs, which is what the time that is left counts to; an Android app's library sets its device's threshold"
        => |config, text| config.native_kept_free_bytes = size(text)?;
    "jvm.enabled" "LEAKLINE_JVM" "true"
        "look for a JVM and read it"
        => |config, text| config.jvm = switch(text)?;
    "jvm.sample_bytes" "LEAKLINE_JVM_SAMPLE_BYTES" "64KiB"
        "Java: bytes between two sampled allocations on average, from 4KiB to 1GiB, and more by itself where very much is allocated; 0: no call paths of Java objects"
        => |config, text| config.jvm_sample_bytes = if text.trim() == "0" { 0 } else {
            size_within(text, "64KiB", ("4KiB", 4 << 10), ("1GiB", 1 << 30))? };
    "jvm.frames" "LEAKLINE_JVM_FRAMES" "48"
        "frames of each call path of Java objects"
        => |config, text| config.jvm_frames = count(text, 1, 64)? as u16;
    "jvm.histogram" "LEAKLINE_JVM_HISTOGRAM" "3"
        "objects are counted by class at every so many snapshots, a quarter of an hour at 5 minutes; 0: only when somebody asks"
        => |config, text| config.jvm_histogram = count(text, 0, 1_000_000)? as u32;
    "jvm.histogram_pause" "LEAKLINE_JVM_HISTOGRAM_PAUSE" "100ms"
        "counting stops the program; when it is reckoned to take longer than this, it is left out, and the reading says so"
        => |config, text| config.jvm_histogram_pause = duration(text, "1ms", "1m")?;
    "jvm.agent" "LEAKLINE_JVM_AGENT" "true"
        "in an Android app, from Android 9 on: attach leakline as an agent of the app's runtime, which gives its tool interface to agents only; without it no classes of Java's objects"
        => |config, text| config.jvm_agent = switch(text)?;
    "bridge.enabled" "LEAKLINE_BRIDGE" "true"
        "where Python and a JVM are joined by JPype, jep or Chaquopy, and both are read: count the Python objects that Java holds"
        => |config, text| config.bridge = switch(text)?;
    "logcat.target" "LEAKLINE_LOGCAT_TARGET" "auto"
        "where log lines go; auto: liblog where the system has it, stderr elsewhere"
        => |config, text| config.logcat_target = one_of(text, &[
            ("auto", LogcatTarget::Auto), ("liblog", LogcatTarget::Liblog),
            ("stderr", LogcatTarget::Stderr), ("off", LogcatTarget::Off)])?;
    "logcat.top_sites" "LEAKLINE_LOGCAT_TOP_SITES" "10"
        "growing sites in the log after each snapshot"
        => |config, text| config.logcat_top_sites = count(text, 0, 1000)? as usize;
    "file.path" "LEAKLINE_FILE" ""
        "the recording to write"
        => |config, text| config.file = path(text);
    "file.max_bytes" "LEAKLINE_FILE_MAX_BYTES" "64MiB"
        "a recording is rotated before it grows beyond this: days of one host, yet small enough to pull from a device"
        => |config, text| config.file_max_bytes = at_least(size(text)?, 64 << 10)?;
    "file.keep" "LEAKLINE_FILE_KEEP" "1"
        "rotated recordings kept beside the current one"
        => |config, text| config.file_keep = count(text, 0, 1000)? as u32;
    "collector.address" "LEAKLINE_COLLECTOR" ""
        "HOST:PORT of a collector to send to"
        => |config, text| config.collector = address(text)?;
    "collector.max_held_bytes" "LEAKLINE_COLLECTOR_MAX_HELD_BYTES" "8MiB"
        "kept for a collector that does not acknowledge, before the oldest is dropped and counted"
        => |config, text| config.collector_max_held_bytes = at_least(size(text)?, 64 << 10)?;
    "queue.snapshots" "LEAKLINE_QUEUE_SNAPSHOTS" "64"
        "snapshots that may wait in front of each sink: five hours of them at 5 minutes"
        => |config, text| config.queue_snapshots = count(text, 1, 100_000)? as usize;
    "queue.bytes" "LEAKLINE_QUEUE_BYTES" "16MiB"
        "estimated bytes that may wait in front of each sink"
        => |config, text| config.queue_bytes = at_least(size(text)?, 64 << 10)?;
    "final_wait" "LEAKLINE_FINAL_WAIT" "1s"
        "how long the host's end is held up at most for the last snapshot and for getting it out; Python's end, which has the snapshot of Python, as long once more"
        => |config, text| config.final_wait = duration(text, "0s", "1m")?;
    "settle" "LEAKLINE_SETTLE" "250ms"
        "a preloaded agent stays invisible for this long unless Python or a JVM shows up: shells that only exec are skipped"
        => |config, text| config.settle = duration(text, "0s", "1m")?;
    "watcher" "LEAKLINE_WATCHER" "on"
        "a preloaded agent works in a process beside the program, which has no thread and no descriptor of leakline's then; off: in the program itself"
        => |config, text| config.watcher = one_of(text, &[("on", true), ("off", false), ("true", true), ("false", false)])?;
    "children" "LEAKLINE_CHILDREN" "all"
        "which children of the program are watched, each in a session of its own; all: forked ones, and programs that it starts; exec: only those; none"
        => |config, text| config.children = one_of(text, &[
            ("all", Children::All), ("exec", Children::Exec), ("none", Children::None), ("1", Children::All)])?;
    "children.settle" "LEAKLINE_CHILDREN_SETTLE" "1s"
        "a child that ends before is left alone: what programs start for a moment is legion"
        => |config, text| config.children_settle = duration(text, "0s", "1h")?;
}

/// The name nearest to `written`, when it is near enough to be what was meant.
pub(super) fn nearest(written: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    names
        .map(|name| (strsim::damerau_levenshtein(&written.to_lowercase(), &name.to_lowercase()), name))
        .min()
        .filter(|(distance, name)| *distance <= name.len() / 3)
        .map(|(_, name)| name)
}
