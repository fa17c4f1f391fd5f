//! Log lines, for logcat on Android and a terminal elsewhere: one tag, so that one filter shows everything.
//!
//! Never here: a write to stdout, a link against liblog (it is looked for when the sink opens), a line that waits.
//!
//! # The lines are an interface
//!
//! The tag is `Leakline`: `adb logcat -s Leakline`. Every line that belongs to a snapshot ends with its tick, in UTC, and
//! those of one snapshot have the same. MB are 1,048,576 bytes, as in Android's own tools. `-` stands for a layer that
//! was not read.
//!
//! | line | when |
//! |---|---|
//! | `Session 0123…: NAME pid PID, PLATFORM, every INTERVAL` | at the start |
//! | `Memory: JVM=45.1MB/512MB Native=120.3MB Python=30.2MB RSS=212.4MB tick=2026-01-29T09:05:00Z #4` | each snapshot: heap used and its maximum, malloc in use, traced by tracemalloc, resident size, the snapshot's number |
//! | `#1: +1.2 MiB (+340 blocks) at RNS/Destination.py:230 < reticulum_wrapper.py:450 tick=…` | each snapshot: the sites that grew most since the baseline, innermost frame first |
//! | `LEAK  python   +1.4 MiB/min (95 %: 1.3 MiB to 1.5 MiB) tick=…` | each snapshot in which a layer leaks; `ok` once when it no longer does |
//! | `Probe: jvm found: OpenJDK 17.0.15 tick=…` | when what a probe reads is found, gone, late or failing, and when that changes |
//! | `Mark: reconnect tick=…` | each mark |
//! | `Lost: 3 snapshots (12288 bytes)` | when this sink's queue was full |
//! | `Session 0123… ended` | at an orderly end |

mod lines;
mod output;
mod sink;

pub use output::LogcatTarget;
pub use sink::{LogcatOptions, LogcatSink};
