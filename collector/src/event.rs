//! What happens in a collector, for whoever shows it live.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use leakline_core::{Loss, Mark, Session, SessionId, Snapshot, Verdict};
use leakline_proto::Event;
use tokio::sync::mpsc;

/// What happened. Everything that is told of a session's content is on disk already.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum CollectorEvent {
    /// A host opened its stream.
    SessionStarted {
        /// The session.
        session: Session,
        /// Where it comes from.
        peer: Option<SocketAddr>,
        /// Its recording.
        path: PathBuf,
        /// Number of the first entry that is wanted: 0 for a new session, more for one that came back.
        next_entry: u64,
    },
    /// A snapshot arrived.
    Snapshot {
        /// Whose.
        session: SessionId,
        /// The readings.
        snapshot: Arc<Snapshot>,
        /// What the agent said after it, the worst first.
        verdicts: Vec<Verdict>,
    },
    /// A named event of a host.
    Mark {
        /// Whose.
        session: SessionId,
        /// The event.
        mark: Mark,
    },
    /// An agent lost snapshots before they got here.
    Lost {
        /// Whose.
        session: SessionId,
        /// How much.
        loss: Loss,
    },
    /// Entries are missing, because the agent had to drop them or a recording was deleted.
    Gap {
        /// Whose.
        session: SessionId,
        /// How many.
        missing_entries: u64,
    },
    /// A heap dump is on disk.
    Dump {
        /// Whose it is, if that session is connected.
        session: Option<SessionId>,
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A host's stream ended.
    SessionEnded {
        /// The session.
        session: SessionId,
        /// Why.
        reason: EndReason,
    },
    /// A client was sent away.
    Refused {
        /// Where it comes from.
        peer: Option<SocketAddr>,
        /// What it was told.
        why: String,
    },
}

/// Why a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// The session is over.
    Finished,
    /// The connection broke, or the host died: it may come back.
    Disconnected {
        /// What showed it.
        reason: String,
    },
    /// The same session opened a newer stream.
    Superseded,
    /// The collector is ending.
    CollectorEnds,
    /// The host was sent away; `Refused` says why.
    Refused,
}

/// Where events go. A slow listener misses some: recordings matter more than live lines.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    sender: mpsc::Sender<CollectorEvent>,
}

impl Events {
    pub(crate) fn new(capacity: usize) -> (Self, mpsc::Receiver<CollectorEvent>) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        (Self { sender }, receiver)
    }

    pub(crate) fn tell(&self, event: CollectorEvent) {
        // Full: missed. Closed: nobody listens.
        let _ = self.sender.try_send(event);
    }

    pub(crate) fn refused(&self, peer: Option<SocketAddr>, why: impl Into<String>) {
        let why = why.into();
        match peer {
            Some(peer) => tracing::warn!("refused {peer}: {why}"),
            None => tracing::warn!("refused a client: {why}"),
        }
        self.tell(CollectorEvent::Refused { peer, why });
    }

    /// Tells what an entry said.
    pub(crate) fn decoded(&self, session: SessionId, event: Event) {
        self.tell(match event {
            Event::Snapshot { snapshot, verdicts } => {
                CollectorEvent::Snapshot { session, snapshot, verdicts }
            }
            Event::Mark(mark) => CollectorEvent::Mark { session, mark },
            Event::Lost(loss) => CollectorEvent::Lost { session, loss },
            Event::Gap { missing_entries } => CollectorEvent::Gap { session, missing_entries },
            _ => return,
        });
    }
}
