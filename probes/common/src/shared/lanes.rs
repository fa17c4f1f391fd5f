//! The mailboxes of a host and its watcher: one for each probe that runs in the host, and one for the host's commands.
//! Plain words in shared memory; zeroes are a valid value.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Mailbox, Sharing, anew, map};

/// A probe that runs in the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The interpreter.
    Python,
    /// The JVM.
    Jvm,
    /// What lies between the two.
    Bridge,
    /// The host's own probes.
    Custom,
}

/// The lanes, by the names of their probes.
pub const LANE_NAMES: [(Lane, &str); 4] =
    [(Lane::Python, "python"), (Lane::Jvm, "jvm"), (Lane::Bridge, "bridge"), (Lane::Custom, "custom")];

/// All mailboxes of a host and its watcher.
#[derive(Debug)]
#[repr(C)]
pub struct Lanes {
    probes: [Mailbox; LANE_NAMES.len()],
    /// The host calls, the watcher serves.
    pub commands: Mailbox,
    /// 1 once the host is known to be gone.
    host_gone: AtomicU32,
}

impl Lanes {
    /// Maps them, for good. To be called before the watcher is made.
    pub fn map(sharing: Sharing) -> Option<&'static Self> {
        let memory: NonNull<Self> = map(size_of::<Self>(), sharing)?.cast();
        if sharing == Sharing::WithWatcher {
            anew::is_renewed(memory.as_ptr() as usize, size_of::<Self>());
        }
        // SAFETY: that many zeroes, aligned to a page, mapped for good; zeroes are a valid value of every field.
        Some(unsafe { memory.as_ref() })
    }

    /// The mailbox of `lane`: the watcher calls, the host serves.
    pub fn of(&self, lane: Lane) -> &Mailbox {
        let [python, jvm, bridge, custom] = &self.probes;
        match lane {
            Lane::Python => python,
            Lane::Jvm => jvm,
            Lane::Bridge => bridge,
            Lane::Custom => custom,
        }
    }

    /// The watcher knows that the host is gone: calls of its lanes end at once.
    pub fn host_is_gone(&self) {
        self.host_gone.store(1, Ordering::Release);
        for probe in &self.probes {
            probe.give_up();
        }
    }

    /// Whether [`host_is_gone`](Self::host_is_gone) was called.
    pub fn is_host_gone(&self) -> bool {
        self.host_gone.load(Ordering::Acquire) != 0
    }
}
