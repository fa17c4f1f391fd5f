//! The few words that a host and its watcher exchange about the host's end, in memory that both have.
//! Plain words: zeroes are a valid value, and nothing that is read here is trusted further than a comparison.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use leakline_probing::shared::{Sharing, futex, map};

/// A wait is cut into pieces of this, so that a watcher that was killed holds nobody up.
const PIECE: Duration = Duration::from_millis(25);

/// What the host wants before it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// The last snapshot, while a runtime that is about to end can still be asked.
    Last,
    /// The last snapshot, all of it written, and the watcher gone.
    End,
}

impl Want {
    const fn bit(self) -> u32 {
        match self {
            Self::Last => 1,
            Self::End => 2,
        }
    }
}

/// See the module.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Line {
    /// The watcher's process; 0: it has not come up yet.
    watcher: AtomicU32,
    /// Bits of [`Want`]: set by the host, a futex of the watcher.
    wanted: AtomicU32,
    /// Bits of [`Want`]: set by the watcher when it is done with them, a futex of the host.
    done: AtomicU32,
    /// 1: an agent's command has stopped the watcher.
    stopped: AtomicU32,
    /// 1: only threads of leakline are left in the host, and they are to end.
    left_alone: AtomicU32,
}

impl Line {
    /// Maps one, for good. To be called before the watcher is made.
    pub(super) fn map() -> Option<&'static Self> {
        let memory: NonNull<Self> = map(size_of::<Self>(), Sharing::WithWatcher)?.cast();
        // SAFETY: that many zeroes, aligned to a page, mapped for good; zeroes are a valid value of every field.
        Some(unsafe { memory.as_ref() })
    }

    /// The watcher is up.
    pub(super) fn come_up(&self) {
        self.watcher.store(std::process::id(), Ordering::Release);
        futex::wake(&self.watcher);
    }

    /// Waits until the watcher is up.
    pub(super) fn is_up_within(&self, timeout: Duration) -> bool {
        let begun = Instant::now();
        while self.watcher.load(Ordering::Acquire) == 0 {
            let left = timeout.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return false;
            }
            futex::wait(&self.watcher, 0, left);
        }
        true
    }

    /// The host wants `want`, and waits until it is done, at most for `timeout`, and no longer than the watcher lives.
    /// Allocates nothing and takes no lock: it may be called in a signal handler.
    pub(super) fn ask(&self, want: Want, watcher: u32, timeout: Duration) {
        self.wanted.fetch_or(want.bit(), Ordering::AcqRel);
        futex::wake(&self.wanted);
        let begun = Instant::now();
        loop {
            let done = self.done.load(Ordering::Acquire);
            let left = timeout.saturating_sub(begun.elapsed());
            if done & want.bit() != 0 || left.is_zero() || !is_there(watcher) {
                return;
            }
            futex::wait(&self.done, done, left.min(PIECE));
        }
    }

    /// The watcher's side: sleeps until something is wanted that is not done, or the time is over.
    pub(super) fn next_want(&self, timeout: Duration) -> Option<Want> {
        let open = || {
            let open = self.wanted.load(Ordering::Acquire) & !self.done.load(Ordering::Acquire);
            [Want::End, Want::Last].into_iter().find(|want| open & want.bit() != 0)
        };
        if open().is_none() {
            let wanted = self.wanted.load(Ordering::Acquire);
            futex::wait(&self.wanted, wanted, timeout);
        }
        open()
    }

    /// The watcher is done with `want`.
    pub(super) fn done(&self, want: Want) {
        self.done.fetch_or(want.bit(), Ordering::AcqRel);
        futex::wake(&self.done);
    }

    /// Whether the host has begun to end in an orderly way.
    pub(super) fn is_ending(&self) -> bool {
        self.wanted.load(Ordering::Acquire) & Want::End.bit() != 0
    }

    /// The agent was stopped; there is no more to be asked of it.
    pub(super) fn stop(&self) {
        self.stopped.store(1, Ordering::Release);
        // Nobody waits for one that has stopped.
        self.done(Want::Last);
        self.done(Want::End);
    }

    /// Whether [`stop`](Self::stop) was called.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire) != 0
    }

    /// Has leakline's threads in the host end.
    pub(super) fn leave(&self) {
        self.left_alone.store(1, Ordering::Release);
    }

    /// Whether leakline's threads in the host are to end.
    pub(super) fn is_left_alone(&self) -> bool {
        self.left_alone.load(Ordering::Acquire) != 0
    }
}

/// Whether there is such a process. One that has ended and that nobody has reaped counts, too.
pub(super) fn is_there(process: u32) -> bool {
    let Ok(process) = libc::pid_t::try_from(process) else { return false };
    // SAFETY: signal 0 is sent to nobody; the kernel only looks.
    let outcome = unsafe { libc::kill(process, 0) };
    outcome == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_goes_on_when_the_watcher_is_done() {
        let line = Line::map().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while line.next_want(Duration::from_secs(1)) != Some(Want::End) {}
                line.done(Want::End);
            });
            let begun = Instant::now();
            line.ask(Want::End, std::process::id(), Duration::from_secs(60));
            assert!(begun.elapsed() < Duration::from_secs(10));
        });
        assert!(line.is_ending());
        assert_eq!(line.next_want(Duration::ZERO), None);
    }

    #[test]
    fn the_host_waits_for_nobody_who_is_gone_and_not_for_ever() {
        let line = Line::map().unwrap();
        let begun = Instant::now();
        // Larger than any process id.
        line.ask(Want::End, 0x3fff_ffff, Duration::from_secs(60));
        assert!(begun.elapsed() < Duration::from_secs(5));
        line.ask(Want::Last, std::process::id(), Duration::from_millis(30));
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn the_end_is_served_before_a_snapshot_that_is_part_of_it() {
        let line = Line::map().unwrap();
        line.ask(Want::Last, std::process::id(), Duration::ZERO);
        assert_eq!(line.next_want(Duration::ZERO), Some(Want::Last));
        line.ask(Want::End, std::process::id(), Duration::ZERO);
        assert_eq!(line.next_want(Duration::ZERO), Some(Want::End));
        line.done(Want::End);
        assert_eq!(line.next_want(Duration::ZERO), Some(Want::Last));
    }
}
