//! The agent: leakline inside the host. Composes probes and sinks from a [`Config`] and runs them on threads of its own.
//!
//! Never here: a symbol of libpython or libjvm, a signal handler, a write to the host's stdout, a panic that leaves.
//!
//! One agent per process. Every function may be called from any thread and at any time; a call that has nothing to do
//! (a second [`start`], a [`mark`] before it) says so in its result and changes nothing.
//!
//! ```no_run
//! let mut config = leakline::Config::load()?; // defaults, then the file LEAKLINE_CONFIG names, then LEAKLINE_*
//! config.interval = std::time::Duration::from_secs(60);
//! leakline::start(config)?;
//! leakline::mark("reconnect")?;
//! println!("{:?}", leakline::stats()?);
//! leakline::stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Coming from a tracemalloc profiler of one's own
//!
//! | there | here |
//! |---|---|
//! | `start_profiling(nframes=10)` | `config.python_mode = PythonMode::Tracemalloc; config.python_frames = Some(10);` [`start`]`(config)` |
//! | `take_snapshot()` | [`snapshot_now`] |
//! | `schedule_periodic_snapshots(300)` | `config.interval`, aligned; or [`set_interval`] while it runs |
//! | `get_memory_stats()` | [`stats()`] |
//! | the baseline that was taken at start | the first snapshot; [`reset_baseline`] takes a new one |
//! | `stop_profiling()` | [`stop`] |
//! | top 10 growing lines in logcat, one tag | `config.logcat_top_sites = 10`, tag `Leakline` |
//! | nothing | [`mark`]: a named event on the same clock; [`add_probe`]: a reading of the host's own |

mod clock;
mod compose;
mod config;
pub mod custom;
mod environment;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod fitting;
mod host;
mod own;
pub mod preload;
mod recordings;
mod running;
mod stats;
mod threads;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod watched;

pub use clock::SystemClock;
pub use compose::{java_agent, use_java_vm};
pub use config::{Children, Config, ConfigError, KEYS, Key, LogcatTarget, NativeMode, PythonMode};
pub use leakline_core::Clock;
pub use leakline_core::{
    Details, Gauge, GaugeKind, GaugeReading, Layer, OwnCost, Probe, ProbeError, ReadingStatus, Sink,
    Snapshot, Tick, Unit, Window, WindowSource,
};
pub use running::{
    AgentError, add_probe, close_window, is_running, look_for_cycles, mark, open_window, reset_baseline,
    set_interval, snapshot_now, start, start_with, stats, stop, take_census,
};
pub use stats::{LayerStats, Stats};
