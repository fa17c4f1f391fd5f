//! What a sink is: where snapshots go.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::model::{Loss, Mark, Session, Snapshot};
use crate::verdict::Verdict;

/// What a sink is given, in the order in which it happened.
#[derive(Debug, Clone)]
pub enum Record {
    /// All readings of one tick, and what follows from them and all that came before.
    Snapshot {
        /// The readings.
        snapshot: Arc<Snapshot>,
        /// The verdict after it, the worst first.
        verdicts: Arc<[Verdict]>,
    },
    /// A named event of the host.
    Mark(Mark),
    /// What this sink's queue had to drop, told as soon as there is room again.
    Lost(Loss),
}

/// Takes records to where somebody can read them.
///
/// Every method is called on the sink's own lane: a thread of its own with a current-thread tokio runtime, which keeps
/// running the sink's spawned tasks between calls. A sink may take its time: its queue fills, its own oldest snapshots
/// are dropped and counted, and nobody else waits. A panic is caught and the sink is not called again.
#[async_trait]
pub trait Sink: Send + 'static {
    /// A name that is unique in the session, such as `file`. The lane's thread is called `leakline-NAME`.
    fn name(&self) -> Cow<'static, str>;

    /// Called once, before the first record. After an error it is called again before the next record.
    async fn open(&mut self, session: &Session) -> Result<(), SinkError>;

    /// Takes one record. When it answers `Ok`, the record has reached what the sink writes to, or a bounded buffer of
    /// the sink's own whose losses `stats` tells. After an error the record counts as lost and the sink stays usable.
    async fn deliver(&mut self, record: &Record) -> Result<(), SinkError>;

    /// The session ends: get out what is still held back. Called once, at the end; the host waits no longer than its
    /// configured patience for it, and then leaves without.
    async fn close(&mut self) -> Result<(), SinkError>;

    /// What the sink itself took and lost behind `deliver`. The queue's losses are counted by the fan-out.
    fn stats(&self) -> SinkStats;
}

/// What one sink took and lost since the start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SinkStats {
    /// The sink's name.
    pub sink: Cow<'static, str>,
    /// Snapshots that reached where the sink writes to (for a collector: acknowledged as being on its disk).
    pub delivered_snapshots: u64,
    /// Bytes written or sent.
    pub delivered_bytes: u64,
    /// Held back in a buffer of the sink, bytes.
    pub held_bytes: u64,
    /// What was lost.
    pub lost: Loss,
    /// The last error, in words for a user; empty when the last call went well.
    pub last_error: String,
}

/// Why a sink could not take a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// What the sink writes to refuses; trying again later may help.
    #[error("{what}: {reason}")]
    Unavailable {
        /// What was tried.
        what: Cow<'static, str>,
        /// What came of it, the path or address last.
        reason: String,
    },
    /// The sink's settings can never work.
    #[error("{what}: {reason}")]
    Misconfigured {
        /// What is wrong.
        what: Cow<'static, str>,
        /// What to do instead.
        reason: String,
    },
    /// A panic was caught on the lane.
    #[error("the sink panicked: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
}
