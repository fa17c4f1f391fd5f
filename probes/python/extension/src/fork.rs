//! Keeps this thread out of CPython's way while the host forks.
//!
//! Up to 3.10 a child waits for ever if any thread of the parent was just making a thread state when it was forked: the
//! child takes the lock around these before it makes it new (and pages that are being copied hold that thread up in
//! there, for as long as the fork takes). So before a fork no stretch begins, and the one that has begun is waited for,
//! with the GIL released. From 3.11 on nothing is done. Waits are bounded: a host that forks is never held up for long.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

/// A stretch is 2 ms, and the GIL takes 5 ms to come by.
const FORK_WAITS: Duration = Duration::from_millis(50);
const STRETCH_WAITS: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_micros(50);

static FORKING: AtomicBool = AtomicBool::new(false);
static ATTACHED: AtomicU32 = AtomicU32::new(0);

/// While it lives, this thread may make, use and drop a thread state.
pub(crate) struct Attaching(());

impl Attaching {
    /// Waits until no fork is under way.
    pub(crate) fn begin() -> Self {
        let begun = Instant::now();
        loop {
            ATTACHED.fetch_add(1, SeqCst);
            let attaching = Self(());
            if !FORKING.load(SeqCst) || begun.elapsed() > STRETCH_WAITS {
                return attaching;
            }
            drop(attaching);
            std::thread::sleep(STEP);
        }
    }
}

impl Drop for Attaching {
    fn drop(&mut self) {
        ATTACHED.fetch_sub(1, SeqCst);
    }
}

/// Whether this CPython needs to be told of forks before they happen.
pub(crate) fn is_needed(py: Python<'_>) -> bool {
    py.version_info() < (3, 11)
}

/// The host is about to fork, on this thread.
pub(crate) fn before(py: Python<'_>) {
    FORKING.store(true, SeqCst);
    py.detach(|| {
        let begun = Instant::now();
        while ATTACHED.load(SeqCst) != 0 && begun.elapsed() < FORK_WAITS {
            std::thread::sleep(STEP);
        }
    });
}

/// The host has forked, or failed to.
pub(crate) fn after() {
    FORKING.store(false, SeqCst);
}

/// In the child, which has no thread of ours.
pub(crate) fn abandon() {
    FORKING.store(false, SeqCst);
    ATTACHED.store(0, SeqCst);
}
