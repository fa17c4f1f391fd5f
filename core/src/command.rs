//! What somebody may ask of a running agent, whether from the host's code or from the collector.

use std::time::Duration;

/// A request to the scheduler. Requests are taken in order, between ticks; none blocks its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Take a snapshot now, besides the aligned ones.
    SnapshotNow,
    /// Make the next snapshot, which is taken at once, the baseline that growth is counted from.
    ResetBaseline,
    /// Tick at multiples of this from now on. Shorter than the configured minimum is raised to it.
    SetInterval(Duration),
}
