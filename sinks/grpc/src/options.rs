//! The sink's settings, each with its default and the reason for it.

use std::time::Duration;

/// Settings of a [`GrpcSink`](crate::GrpcSink).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcOptions {
    /// `HOST:PORT`, `[IPV6]:PORT`, or the same after `http://`.
    pub collector: String,
    /// What is not acknowledged is kept up to this many encoded bytes, then the oldest snapshots are dropped and
    /// counted. 8 MiB: hours of most hosts' changes, and small beside what is being looked for.
    pub max_held_bytes: u64,
    /// What the encoder may hold of what it told, bytes; the smallest sites of larger profiles are left out.
    pub max_encoder_bytes: u64,
    /// The same bound in snapshots. 4096: two weeks of five-minute ticks.
    pub max_held_snapshots: u64,
    /// Ceiling of the first pause after a failure. 500 ms: a collector that was restarted is found quickly.
    pub backoff_min: Duration,
    /// Ceiling of every pause. 60 s: a collector that is away all day costs a phone next to nothing.
    pub backoff_max: Duration,
    /// For resolving the name and connecting, and again for the collector's first answer. 5 s.
    pub connect_timeout: Duration,
    /// An HTTP/2 ping after this long without traffic, so that a peer that vanished behind a NAT is noticed, and the
    /// NAT keeps the path. 30 s: below the usual minute of mobile networks.
    pub keepalive_interval: Duration,
    /// A ping that is not answered for this long ends the connection. 20 s.
    pub keepalive_timeout: Duration,
}

impl Default for GrpcOptions {
    fn default() -> Self {
        Self {
            collector: String::new(),
            max_held_bytes: 8 << 20,
            max_encoder_bytes: 1 << 20,
            max_held_snapshots: 4096,
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(5),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(20),
        }
    }
}
