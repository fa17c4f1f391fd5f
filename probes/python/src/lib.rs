//! The Python layer of a host: gauges, and live bytes per call path as tracemalloc knows them.
//!
//! The agent's half. It holds no symbol of libpython: it finds CPython in the process, then loads the Python part
//! (`libleakline_cpython.so`) and talks to it in bytes. Never waits for the GIL itself, and never holds a lock while the
//! Python part does.

mod budget;
pub mod census;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub mod early;
pub mod filter;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod find;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod part;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod probe;
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
    /// Has tracemalloc trace, and reads gauges and profiles.
    #[default]
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
    /// Frames kept for each allocation. More cost more at each allocation: 10 slow allocation-heavy code down some
    /// twenty times, 1 frame six times.
    pub max_frames: u16,
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
}

impl Default for PythonOptions {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            max_frames: 10,
            library: None,
            filters: default_filters(),
            gil_budget: Duration::from_millis(100),
            max_stall: Duration::from_secs(1),
            max_stretch: Duration::from_millis(2),
            pause: Duration::from_millis(1),
            max_sites: 200_000,
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
