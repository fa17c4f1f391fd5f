//! The host's end, as the host sees it: before the first destructor and exit handler it has the last snapshot taken, and
//! waits for it at most `final_wait`.
//!
//! Called where `main` has returned, and in front of `exit`, `quick_exit` and `_exit`: the last also in signal handlers and
//! in children of `vfork`, so nothing here allocates, takes a lock, or believes that this is the process it began in.
//! A host that dies by a signal is not held up: its watcher sees it go.

use std::sync::atomic::Ordering;
use std::time::Duration;

use leakline_probing::shared::is_first_process;

use super::line::Want;
use super::{WATCHED, Watched, confined};
use crate::preload;

/// How the host is about to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// With its exit handlers.
    Exit,
    /// Without them; perhaps in a signal handler.
    AtOnce,
}

/// The host is about to end. Returns at once in a child, and where that is known already.
pub fn ends(way: Way) {
    if confined::is_confined() {
        return;
    }
    match WATCHED.get() {
        Some(watched) if !is_host(watched) => {}
        Some(watched) if !watched.line.is_stopped() => {
            if way == Way::Exit {
                // Of malloc's numbers the last snapshot is to have those of the end, which nobody else can ask for.
                leakline_native::answer_now();
            }
            if way == Way::AtOnce && leakline_python::soon::holds_gil() {
                // The lane would wait for it until the time is up.
                watched.line.holds_gil();
            }
            watched.line.ask(Want::End, watched.waits_for_end());
        }
        // An agent inside takes locks and allocates: not for a signal handler.
        _ if way == Way::Exit => preload::ends_inside(),
        _ => {}
    }
}

/// A runtime is about to end, with the host or before it. Called on the host's thread, which holds no lock of the
/// runtime's.
pub(crate) fn runtime_is_closing(host_ends_with_it: bool) {
    if confined::is_confined() {
        return;
    }
    let Some(watched) = WATCHED.get().filter(|watched| is_host(watched)) else { return };
    if host_ends_with_it {
        watched.line.ask(Want::Last, watched.waits_for_end());
    } else {
        // Whether it comes in time or not, the runtime goes.
        let _ = super::commands::snapshot(watched.final_wait);
    }
}

impl Watched {
    /// How long the host waits for its last snapshot.
    fn waits_for_end(&self) -> Duration {
        if self.is_child && !self.line.is_settled() { Duration::ZERO } else { self.final_wait }
    }
}

/// Whether this is the host itself: no forked child, and none of `vfork`, whose memory is the host's.
fn is_host(watched: &Watched) -> bool {
    is_first_process() && std::process::id() == watched.host.load(Ordering::Acquire)
}
