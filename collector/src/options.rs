//! The collector's settings, each with its default and the reason for it.

use std::time::Duration;

/// Settings of a [`Collector`](crate::Collector).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorOptions {
    /// Hosts at the same time. 256: each may cost some MiB for what is under way and for decoding.
    pub max_sessions: usize,
    /// TCP connections at the same time, those that never become a session included. 1024: the usual limit of open
    /// files leaves room for the recordings.
    pub max_connections: usize,
    /// A client that has not said what it is by then is sent away. 10 s: slow mobile networks need a few.
    pub hello_timeout: Duration,
    /// Entries are gathered this long before they are synced to disk together. 20 ms: a disk that takes as long to
    /// sync is kept busy by half, and nobody waits for an acknowledgement.
    pub sync_delay: Duration,
    /// A recording that has grown past this is renamed to `FILE.1`, in place of an older one, and begun anew at the
    /// session's next epoch. 1 GiB: months of most hosts.
    pub max_recording_bytes: u64,
    /// Heap dumps above this are refused. 32 GiB: larger heaps are rarely dumped whole.
    pub max_dump_bytes: u64,
    /// Heap dumps that are received at the same time; further ones are refused. 2: each keeps a disk busy.
    pub max_dumps: usize,
    /// A heap dump of which nothing more comes for this long is given up. 60 s, since it is read from a disk.
    pub dump_patience: Duration,
    /// Events that wait for whoever shows them; further ones are missed. 1024: a screenful many times over.
    pub event_capacity: usize,
    /// An HTTP/2 ping after this long without traffic, so that a peer that vanished is noticed. 30 s, as the agent's.
    pub keepalive_interval: Duration,
    /// A ping that is not answered, and an acknowledgement that is not taken, for this long ends the stream. 20 s.
    pub keepalive_timeout: Duration,
}

impl Default for CollectorOptions {
    fn default() -> Self {
        Self {
            max_sessions: 256,
            max_connections: 1024,
            hello_timeout: Duration::from_secs(10),
            sync_delay: Duration::from_millis(20),
            max_recording_bytes: 1 << 30,
            max_dump_bytes: 32 << 30,
            max_dumps: 2,
            dump_patience: Duration::from_secs(60),
            event_capacity: 1024,
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(20),
        }
    }
}
