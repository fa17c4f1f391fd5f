//! Where leakline has mapped memory, so that whoever reads a process's memory map knows it for leakline's own.
//!
//! A watcher, which is a fork, has its host's list as it was then: each entry says whose it is. A table of fixed size without a
//! lock; what is more than it holds is not told apart.
//!
//! Never here: mapping or unmapping.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// Leakline maps about ten.
const MOST: usize = 64;

struct Place {
    /// 0: free.
    process: AtomicU32,
    start: AtomicUsize,
    bytes: AtomicUsize,
}

static PLACES: [Place; MOST] =
    [const { Place { process: AtomicU32::new(0), start: AtomicUsize::new(0), bytes: AtomicUsize::new(0) } };
        MOST];

/// Claims a place while its entry is written.
const TAKEN: u32 = u32::MAX;

pub(super) fn add(start: usize, bytes: usize) {
    let take = |place: &&Place| place.process.compare_exchange(0, TAKEN, Acquire, Relaxed).is_ok();
    if let Some(place) = PLACES.iter().find(take) {
        place.start.store(start, Relaxed);
        place.bytes.store(bytes, Relaxed);
        place.process.store(std::process::id(), Release);
    }
}

/// What was mapped at `start` is unmapped.
pub fn forget(start: usize) {
    let process = std::process::id();
    let is_it = |place: &&Place| place.process.load(Acquire) == process && place.start.load(Relaxed) == start;
    if let Some(place) = PLACES.iter().find(is_it) {
        place.process.store(0, Release);
    }
}

/// In a watcher that is to watch `other`, a child of `process`: what that one had mapped, the child has, too.
pub fn belongs_to(process: u32, other: u32) {
    for place in &PLACES {
        // Where it is somebody else's, it stays so.
        place.process.compare_exchange(process, other, Acquire, Relaxed).ok();
    }
}

/// Where the process `pid` has memory of leakline's, from and to.
pub fn of(pid: u32) -> impl Iterator<Item = (u64, u64)> {
    PLACES.iter().filter(move |place| place.process.load(Acquire) == pid).map(|place| {
        let start = place.start.load(Relaxed) as u64;
        (start, start.saturating_add(place.bytes.load(Relaxed) as u64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_mapped_is_known_until_it_is_forgotten() {
        let own = std::process::id();
        let is_known = || of(own).any(|range| range == (7 << 12, 9 << 12));
        add(7 << 12, 2 << 12);
        assert!(is_known());
        assert!(!of(own + 1).any(|range| range == (7 << 12, 9 << 12)));
        forget(8 << 12);
        assert!(is_known());
        belongs_to(own, own + 1);
        assert!(!is_known() && of(own + 1).any(|range| range == (7 << 12, 9 << 12)));
        belongs_to(own + 1, own);
        forget(7 << 12);
        assert!(!is_known());
    }
}
