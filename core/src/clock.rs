//! Where time comes from, so that tests can run days in milliseconds.
//! Reads no clock itself: the agent brings the machine's, tests bring one that they turn by hand.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// One instant on both clocks that leakline records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timestamp {
    /// Nanoseconds since the Unix epoch, by the wall clock. May jump when somebody sets the clock.
    pub unix_nanos: u64,
    /// Nanoseconds since boot, suspend included. Never jumps; comparable within one boot only.
    pub boot_nanos: u64,
}

/// The clocks of the machine, and a way to wait on them.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Both clocks, read next to each other. Called from any thread; must not block.
    fn now(&self) -> Timestamp;

    /// Sleeps until the wall clock shows `unix_nanos`, counting time spent suspended.
    ///
    /// Called on the scheduler's thread. May return early (a clock that was set, a spurious wake-up): the caller
    /// reads the clock again. Dropping the future cancels the sleep.
    async fn sleep_until(&self, unix_nanos: u64);

    /// CPU time that the calling thread has used so far; `None` where the system does not say.
    fn thread_cpu(&self) -> Option<Duration>;
}
