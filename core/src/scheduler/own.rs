//! When leakline has to end by itself, and what it gives up before: it must not take the host's memory, and must not keep
//! a process alive that has nothing else left to run.
//! Never decides for the host, and never waits.

use std::fmt;
use std::time::Duration;

use super::engine::Engine;
use crate::model::{Cause, Mark};
use crate::request::ProbeRequest;
use crate::sink::Record;

/// How often the scheduler asks whether it has to end. One second: a host without a thread of its own left ends that soon,
/// and waking up costs some microseconds.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long leakline may be far beyond its bound: a large snapshot on its way to a slow sink passes.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the last snapshot of a process may take that waits for leakline to end.
const LAST_SNAPSHOT: Duration = Duration::from_millis(500);

/// What the scheduler asks of the process that it runs in. Both are called on the scheduler's thread, must not wait, and
/// should not allocate.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    /// Bytes that the agent holds; `None` where nobody counts them.
    pub held_bytes: fn() -> Option<u64>,
    /// Why the agent has to end by itself, if it has to.
    pub must_end: fn() -> Option<Ending>,
}

/// Why the agent ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// The system gave no more memory.
    OutOfMemory,
    /// The agent holds far more than it may.
    TooMuchHeld {
        /// What it holds, bytes.
        held: u64,
        /// What it may hold, bytes.
        bound: u64,
    },
    /// All threads that are left in the process are leakline's: it is to end as it would have without them.
    HostOver,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory => f.write_str("out of memory"),
            Self::TooMuchHeld { held, bound } => {
                write!(
                    f,
                    "leakline's own memory grew to {held} bytes, of {bound} that it may hold (own.max_bytes)"
                )
            }
            Self::HostOver => f.write_str("the program has no thread left"),
        }
    }
}

/// Since when leakline holds too much.
#[derive(Debug, Default)]
pub(super) struct Bound {
    /// Boot time.
    far_beyond_since: Option<u64>,
    shed: bool,
}

impl Engine {
    /// Gives up what can be given up when leakline holds too much, and says why it has to end, if it has to.
    pub(super) fn must_end(&mut self) -> Option<Ending> {
        (self.own.must_end)().or_else(|| self.holds_too_much())
    }

    fn holds_too_much(&mut self) -> Option<Ending> {
        let held = (self.own.held_bytes)()?;
        // Whoever opens a window has asked for what it holds, which has a bound of its own.
        let window = if self.window_end.is_some() { self.options.max_window_bytes } else { 0 };
        let bound = self.options.max_own_bytes.saturating_add(window);
        if held <= bound {
            self.bound = Bound::default();
            return None;
        }
        if !std::mem::replace(&mut self.bound.shed, true) {
            tracing::warn!(
                "leakline holds {held} bytes, of {bound} that it may hold (own.max_bytes): snapshots that wait for sinks are dropped"
            );
            self.fanout.shed();
            if self.window_end.is_some() {
                self.note_request(ProbeRequest::CloseWindow);
            }
        }
        if held <= bound.saturating_add(bound / 2) {
            self.bound.far_beyond_since = None;
            return None;
        }
        let now = self.clock.now().boot_nanos;
        let since = *self.bound.far_beyond_since.get_or_insert(now);
        (u128::from(now.saturating_sub(since)) >= PATIENCE.as_nanos())
            .then_some(Ending::TooMuchHeld { held, bound })
    }

    /// Says why leakline ends, once on the log and once in what the sinks keep.
    pub(super) async fn end_by_itself(&mut self, ending: Ending) {
        match ending {
            Ending::HostOver => {
                if self.shared.last().is_none() {
                    let begun = self.clock.now();
                    self.take(Cause::Final, begun, begun, LAST_SNAPSHOT).await;
                }
            }
            Ending::OutOfMemory | Ending::TooMuchHeld { .. } => {
                tracing::error!("leakline ends: {ending}; the program runs on unwatched");
                let name = format!("leakline ended: {ending}");
                self.fanout.push(&Record::Mark(Mark { name, at: self.clock.now() }));
            }
        }
        self.shared.end_by_itself(ending);
    }
}
