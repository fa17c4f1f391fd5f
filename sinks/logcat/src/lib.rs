//! The log sink: says at each tick, in lines that can be searched for, how much memory there is, what grew and what
//! leaks. Through Android's liblog where the system has it, otherwise to stderr.
//!
//! # The lines are an interface
//!
//! All lines have the tag `Leakline`, so one filter shows everything: `logcat -s Leakline`. On stderr a line begins as
//! `logcat -v tag` shows it: `I/Leakline: `. A line is one line whatever a path or a name contains (control characters
//! are escaped as in Rust), has at most [`MAX_LINE_BYTES`] bytes (what is cut is marked by `…`), and ends with the
//! instant and the number of the snapshot that it belongs to:
//!
//! ```text
//! … tick=2026-01-29T09:05:00Z #4
//! ```
//!
//! The instant is UTC, with milliseconds where it is not a whole second. Lines that belong to no snapshot have no number.
//!
//! | line | when | level |
//! |---|---|---|
//! | `Session: id=… host=NAME pid=… interval=5m limit=512.0MB (SOURCE) platform=… leakline=0.1.0` | at start; `limit=-` without one; of a child that is watched because its parent is, `application=` the id of the first process's session and `parent=` a process id at the end | I |
//! | `Memory: JVM=45.1MB/512MB Native=120.3MB Python=30.2MB RSS=212.4MB` | each snapshot | I |
//! | `Sites: python sampled every 64 KiB` | where a probe's sites come from, at first and when it changes | I |
//! | `#1: +1.2 MiB (+340 blocks) at RNS/Destination.py:230 < reticulum_wrapper.py:450` | each snapshot, for the sites that grew most since the baseline, of all layers together, innermost frame first; after the bytes ` ± 0.2 MiB`, half the width of the 95 % interval, where they are estimated from samples | I |
//! | `Type: +412 RNS.Packet (+98.2 KiB), held by list RNS.Transport.pending_inbound (+412 since the census before)` | each snapshot with a census, for the types that grew most since the first one | I |
//! | `Verdict: LEAK  python   +1.4 MiB/min …` | each snapshot for a layer that leaks, for what explains that ([`leakline_core::Explanation`]), and for the sites that the leak is at; for another layer when its verdict changes; the words are [`leakline_core::verdict_line`]'s | W when leaking, otherwise I |
//! | `Remark: grows: …`, `Remark: native: …` | each snapshot while a resource beside memory grows, or while free bytes inside malloc explain the growth | W |
//! | `Probe: python ok: CPython 3.11.7`, `Probe: jvm absent: REASON`, `Probe: jvm late: for 30s`, `Probe: jvm failed: ERROR, again in 10s` | when it changes; a runtime that never was there is not told | W when late or failed, otherwise I |
//! | `Note: python: TEXT` | when a probe's notes (degraded modes, limits that were hit) change | I |
//! | `Missed: 3 ticks, clock jumped by +2.5s` | when ticks passed without a snapshot, or the clock was set by a second or more | I |
//! | `Sink: grpc lost 3 snapshots so far: ERROR` | when it changes | W |
//! | `Mark: NAME` | when the host told of it; the tick is the instant of the mark | I |
//! | `Lost: 3 snapshots, 4096 bytes` | when this sink's queue had to drop snapshots | W |
//! | `End: 17 snapshots` | at the end of the session | I |
//!
//! In `Memory`, `MB` is 1,048,576 bytes as Android's tools count. JVM is the used heap, and after the slash the largest
//! size that it may have, in whole MB. Native is what malloc has handed out. Python is what tracemalloc has traced. RSS
//! is the resident size. What the host does not have, or what could not be read this time, is `-`.
//!
//! New kinds of lines and new words at the end of a line may come; what is here stays.
//!
//! # What it writes to
//!
//! liblog is opened at run time and never linked: `liblog.so` on Android; elsewhere `liblog.so.0` of Debian's package
//! `android-liblog`, which without a log daemon writes to stderr. A line to stderr is one `write`. A stderr that is
//! closed or that nobody reads any more is an error that is counted, and never a signal to the host.
//!
//! Never here: stdout, a queue, a thread.

mod lines;
mod output;
mod sink;

pub use lines::MAX_LINE_BYTES;
pub use sink::{LogcatOptions, LogcatSink, LogcatTarget};

/// The tag of every line.
pub const TAG: &str = "Leakline";
