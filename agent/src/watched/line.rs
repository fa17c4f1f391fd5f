//! The few words that a host and its watcher exchange about the host's end, in memory that both have.
//! Plain words: zeroes are a valid value, and nothing that is read here is trusted further than a comparison.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use leakline_probing::shared::{Sharing, anew, futex, map};

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
#[repr(C)]
pub(super) struct Line {
    /// Held by the watcher's first thread as long as it lives: see [`Life`].
    life: Life,
    /// The watcher's process; 0: it has not come up yet.
    watcher: AtomicU32,
    /// Bits of [`Want`]: set by the host, a futex of the watcher.
    wanted: AtomicU32,
    /// Bits of [`Want`]: set by the watcher when it is done with them, a futex of the host.
    done: AtomicU32,
    /// 1: an agent's command has stopped the watcher.
    stopped: AtomicU32,
    /// 1: the thread that ends the host holds Python's lock meanwhile.
    holds_gil: AtomicU32,
    /// 1: the host has lived for long enough to be worth a session.
    is_settled: AtomicU32,
}

/// A robust mutex that a watcher locks and never unlocks. When its owner ends, however that comes, the kernel says so in the
/// mutex's first word: so the host knows without a system call, and before anybody has reaped the watcher.
#[repr(C)]
struct Life(UnsafeCell<MaybeUninit<libc::pthread_mutex_t>>);

// SAFETY: only the watcher's first thread uses it as a mutex; everybody else reads its first word, atomically.
unsafe impl Sync for Life {}

/// As in linux/futex.h.
const OWNER_DIED: u32 = 0x4000_0000;
const OWNER: u32 = 0x3fff_ffff;

impl Life {
    /// Elsewhere there are no watchers.
    #[cfg(not(target_env = "gnu"))]
    fn begin(&self) {}

    /// Called once, on the watcher's first thread.
    #[cfg(target_env = "gnu")]
    fn begin(&self) {
        let mut kind = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
        let mutex = self.0.get().cast::<libc::pthread_mutex_t>();
        // SAFETY: it initialises what it is given.
        unsafe { libc::pthread_mutexattr_init(kind.as_mut_ptr()) };
        // SAFETY: initialised above.
        unsafe { libc::pthread_mutexattr_setpshared(kind.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED) };
        // SAFETY: as above.
        unsafe { libc::pthread_mutexattr_setrobust(kind.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST) };
        // SAFETY: zeroed shared memory that nobody else uses as a mutex.
        unsafe { libc::pthread_mutex_init(mutex, kind.as_ptr()) };
        // SAFETY: initialised above, and never moved: it is mapped for good.
        unsafe { libc::pthread_mutex_lock(mutex) };
    }

    fn has_ended(&self) -> bool {
        // SAFETY: glibc's mutex begins with the futex's word, and it is mapped for good.
        let word = unsafe { AtomicU32::from_ptr(self.0.get().cast()) }.load(Ordering::Acquire);
        word & OWNER_DIED != 0 || word & OWNER == 0
    }
}

impl Line {
    /// Maps one, for good. To be called before the watcher is made.
    pub(super) fn map() -> Option<&'static Self> {
        let memory: NonNull<Self> = map(size_of::<Self>(), Sharing::WithWatcher)?.cast();
        anew::is_renewed(memory.as_ptr() as usize, size_of::<Self>());
        // SAFETY: that many zeroes, aligned to a page, mapped for good; zeroes are a valid value of every field.
        Some(unsafe { memory.as_ref() })
    }

    /// The watcher is up. Called on its first thread.
    pub(super) fn come_up(&self) {
        self.life.begin();
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
    pub(super) fn ask(&self, want: Want, timeout: Duration) {
        self.wanted.fetch_or(want.bit(), Ordering::AcqRel);
        futex::wake(&self.wanted);
        let begun = Instant::now();
        loop {
            let done = self.done.load(Ordering::Acquire);
            let left = timeout.saturating_sub(begun.elapsed());
            if done & want.bit() != 0 || left.is_zero() || self.has_lost_the_watcher() {
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

    /// The watcher's side: there is a session to be ended from now on.
    pub(super) fn settles(&self) {
        self.is_settled.store(1, Ordering::Release);
    }

    /// Whether there is anything that would be lost if the host ended now.
    pub(super) fn is_settled(&self) -> bool {
        self.is_settled.load(Ordering::Acquire) != 0
    }

    /// The host is about to ask for its end on a thread that holds the GIL, and keeps it.
    pub(super) fn holds_gil(&self) {
        self.holds_gil.store(1, Ordering::Release);
    }

    /// Whether the interpreter cannot be asked any more.
    pub(super) fn is_gil_held(&self) -> bool {
        self.holds_gil.load(Ordering::Acquire) != 0
    }

    /// Whether the watcher was up and has ended.
    pub(super) fn has_lost_the_watcher(&self) -> bool {
        self.watcher.load(Ordering::Acquire) != 0 && self.life.has_ended()
    }

    /// Whether [`stop`](Self::stop) was called.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire) != 0
    }
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
            line.ask(Want::End, Duration::from_secs(60));
            assert!(begun.elapsed() < Duration::from_secs(10));
        });
        assert!(line.is_ending());
        assert_eq!(line.next_want(Duration::ZERO), None);
    }

    #[test]
    fn the_host_waits_for_nobody_who_is_gone_and_not_for_ever() {
        let line = Line::map().unwrap();
        let begun = Instant::now();
        line.ask(Want::Last, Duration::from_millis(30));
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::scope(|scope| {
            let (up, ends) = std::sync::mpsc::sync_channel(0);
            scope.spawn(move || {
                line.come_up();
                up.send(()).unwrap();
                std::thread::sleep(Duration::from_millis(50));
            });
            ends.recv().unwrap();
            assert!(!line.has_lost_the_watcher());
            // It ends without a word.
            line.ask(Want::End, Duration::from_secs(60));
            assert!(line.has_lost_the_watcher());
        });
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn the_end_is_served_before_a_snapshot_that_is_part_of_it() {
        let line = Line::map().unwrap();
        line.ask(Want::Last, Duration::ZERO);
        assert_eq!(line.next_want(Duration::ZERO), Some(Want::Last));
        line.ask(Want::End, Duration::ZERO);
        assert_eq!(line.next_want(Duration::ZERO), Some(Want::End));
        line.done(Want::End);
        assert_eq!(line.next_want(Duration::ZERO), Some(Want::Last));
    }
}
