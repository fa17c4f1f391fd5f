//! The Python layer of a host: gauges, and live bytes per call path: sampled by leakline's own allocator hook, exact for
//! a while, or as tracemalloc knows them.
//!
//! The agent's half. It holds no symbol of libpython: it finds CPython in the process, then loads the Python part
//! (`libleakline_cpython.so`) and talks to it in bytes. Never waits for the GIL itself, and never holds a lock while the
//! Python part does.

pub mod arenas;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod asked;
mod budget;
pub mod census;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub mod early;
pub mod filter;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod find;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub mod forks;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod hooked;
pub mod kept;
pub mod layouts;
pub mod lines;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod numbers;
mod part;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod probe;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub mod soon;
mod tables;
pub mod wire;

use std::path::PathBuf;
use std::time::Duration;

#[cfg(any(target_os = "linux", target_os = "android"))]
pub use part::{held_bytes, set_on_closing};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub use probe::{PythonProbe, is_present};

/// What the probe does with an interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Samples allocations, and reads gauges and profiles: cheap enough to be left on.
    #[default]
    Sampling,
    /// Records every allocation.
    Exact,
    /// Has tracemalloc trace, and reads gauges and profiles.
    Tracemalloc,
    /// Reads gauges; starts nothing. Where the host traces by itself, profiles are read, too.
    Gauges,
    /// Leaves it alone.
    Off,
}

/// How the probe reads Python. Each bound has its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonOptions {
    /// What is read.
    pub mode: Mode,
    /// Mean bytes between two samples, from 1 KiB to 16 MiB. A site's estimate has a relative standard deviation of
    /// about √(mean / live bytes).
    pub mean_sample_bytes: u64,
    /// Frames kept for each allocation, at most 128; `None`: 32 when sampling, where they cost something at samples only,
    /// and 10 when every allocation is recorded or traced.
    pub max_frames: Option<u16>,
    /// The file with the Python part; `None`: `LEAKLINE_PYTHON_LIBRARY`, or beside the agent's own library.
    pub library: Option<PathBuf>,
    /// Call paths whose innermost file matches one of these are left out of profiles; `*` stands for any text.
    pub filters: Vec<String>,
    /// Time under the GIL that a profile may take per tick, on average: one that takes longer is paid for by leaving out
    /// the ones after it. 100 ms in five minutes are 0.03 %.
    pub gil_budget: Duration,
    /// No profile is taken when tracemalloc's own copy of its traces, which holds up all Python threads, is expected to
    /// take longer: a second is about 2.5 million traces, and 300 MB.
    pub max_stall: Duration,
    /// Longest stretch under the GIL for everything but that copy: less than the 5 ms for which Python's own threads
    /// hold it.
    pub max_stretch: Duration,
    /// Time without the GIL between two stretches, so that other threads get their turn.
    pub pause: Duration,
    /// Call paths that are remembered from one profile to the next; with more, the memory of them is begun anew.
    pub max_sites: u32,
    /// Live samples; with more, the mean between two doubles. As many are 2 GB at the default mean, and 1.25 MiB of memory
    /// where each takes most (43 bytes, right after the table has grown).
    pub max_samples: u32,
    /// Call paths that the sampler keeps; with more, those that hold nothing make room, and then further ones share one.
    pub max_sampled_paths: u32,
    /// What these paths and the code objects that they run through may take, bytes; another time as much while an exact
    /// window is open. A path of 20 frames takes about 270, a code object 300: room for some 3,000 of each.
    pub max_path_bytes: u64,
    /// What the names of all that the profiles tell of may take, bytes, on both sides of the Python part together. A path
    /// of 20 frames with a line of its own takes about 750: room for some 2,100 that hold something at one time.
    pub max_name_bytes: u64,
    /// What an exact window is bounded by, where who opens it does not say.
    pub window: WindowBounds,
    /// A census of objects by type at one of so many ticks; 0: on request only.
    pub census_every: u32,
}

/// Bounds of a window in which every allocation is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowBounds {
    /// Live allocations it may hold, at some 40 bytes each.
    pub max_traces: u64,
    /// Percent of a core that recording may take on average, so that a window closes before it hurts.
    pub max_percent: u32,
    /// Call paths.
    pub max_paths: u32,
}

impl Default for WindowBounds {
    fn default() -> Self {
        Self { max_traces: 1_000_000, max_percent: 50, max_paths: 100_000 }
    }
}

impl PythonOptions {
    /// Frames kept for each sample.
    pub fn sample_frames(&self) -> u16 {
        self.max_frames.unwrap_or(32)
    }

    /// Frames kept for each allocation where all are recorded or traced.
    pub fn exact_frames(&self) -> u16 {
        self.max_frames.unwrap_or(10)
    }
}

/// Live samples that fit into so many bytes: 43 each, right after the table has grown.
pub fn samples_within(bytes: u64) -> u32 {
    u32::try_from(bytes / 43).unwrap_or(u32::MAX).max(1000)
}

impl Default for PythonOptions {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            mean_sample_bytes: 64 << 10,
            max_frames: None,
            library: None,
            filters: default_filters(),
            gil_budget: Duration::from_millis(100),
            max_stall: Duration::from_secs(1),
            max_stretch: Duration::from_millis(2),
            pause: Duration::from_millis(1),
            max_sites: 200_000,
            max_samples: samples_within(5 << 18),
            max_sampled_paths: 30_000,
            max_path_bytes: (2 << 20) / 6 * 5,
            max_name_bytes: 3 << 19,
            window: WindowBounds::default(),
            census_every: 12,
        }
    }
}

/// The machinery of imports, what has no call path, and what looks at memory itself.
pub fn default_filters() -> Vec<String> {
    [
        "<frozen importlib._bootstrap>",
        "<frozen importlib._bootstrap_external>",
        "<unknown>",
        "*/tracemalloc.py",
        "*/site-packages/leakline/*",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Nanoseconds since boot, suspend included, by the machine's clock; 0 where it has none. For time spans that are
/// measured on both sides of the Python part: all that is reported goes by the probe's own clock.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn boot_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is ours to write; an unknown clock leaves it at zero.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}
