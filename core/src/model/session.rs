//! A session: one run of one host. And a mark: a named event in it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// Identity of a session: 128 random bits, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId(pub [u8; 16]);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The process that is watched.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Host {
    /// What a user would call it: the Android process name, or the program's command line, shortened.
    pub name: String,
    /// Process id, in the host's own namespace.
    pub pid: u32,
    /// When the process started, in boot-time nanoseconds: with the pid it tells one process from the next.
    pub started_boot_nanos: u64,
    /// Operating system and machine, such as `Debian GNU/Linux 12, x86_64`.
    pub platform: String,
    /// Bytes of memory the process may use before it is killed, and who says so; `None` where nothing limits it.
    pub limit: Option<(u64, String)>,
}

/// A runtime that a probe found in the host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RuntimeInfo {
    /// Name and version, such as `CPython 3.11.7`.
    pub name: String,
    /// Prefixes of source paths, longest first, that are left out where a path is shown to people.
    pub source_roots: Vec<String>,
}

/// Where a process comes from that is watched because its parent was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The session of the process that the application began with.
    pub application: SessionId,
    /// Process id of the parent, as it was when the session began.
    pub parent: u32,
}

/// One run of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Identity.
    pub id: SessionId,
    /// When the agent started.
    pub started: Timestamp,
    /// The interval of ticks at the start.
    pub interval: Duration,
    /// The process that is watched.
    pub host: Host,
    /// leakline's version in the host.
    pub agent_version: String,
    /// `None`: the application began with this process.
    #[serde(default)]
    pub origin: Option<Origin>,
}

/// A named event of the host (a reconnect, the app going to the background).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The name; the same event has the same name each time.
    pub name: String,
    /// When it was told.
    pub at: Timestamp,
}
