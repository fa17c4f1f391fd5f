//! A lock whose holder must call nothing that allocates or frees the host's memory: the hook would come by, and wait for
//! the lock that its own thread holds. In debug builds each entry of the hook checks that.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use leakline_probing::sampler::lock::Lock;
use leakline_probing::sampler::thread::Thread;

const NOBODY: usize = 0;

/// A value behind such a lock.
pub(crate) struct Guarded<T> {
    lock: Lock<T>,
    /// The thread that holds it; kept in debug builds only.
    holder: AtomicUsize,
}

impl<T> Guarded<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { lock: Lock::new(value), holder: AtomicUsize::new(NOBODY) }
    }

    /// As [`Lock::with`].
    #[inline(always)]
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        if !cfg!(debug_assertions) {
            return self.lock.with(work);
        }
        self.lock.with(|value| {
            self.holder.store(this_thread(), Relaxed);
            let _nobody_after = Cleared(&self.holder);
            work(value)
        })
    }

    /// See [`Lock::take_over`].
    pub(crate) fn take_over(&self, renew: impl FnOnce(&T) -> T) {
        self.lock.take_over(renew);
        self.holder.store(NOBODY, Relaxed);
    }

    /// See [`Lock::before_fork`].
    pub(crate) fn before_fork(&self) {
        self.lock.before_fork();
    }

    /// See [`Lock::after_fork`].
    pub(crate) fn after_fork(&self) {
        self.lock.after_fork();
    }

    /// In debug builds: ends the process where this thread holds it.
    #[inline(always)]
    pub(crate) fn assert_not_held(&self) {
        debug_assert!(
            self.holder.load(Relaxed) != this_thread(),
            "leakline called the host's allocator while it held its own tables"
        );
    }
}

/// Clears the holder after a panic, too.
struct Cleared<'a>(&'a AtomicUsize);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        self.0.store(NOBODY, Relaxed);
    }
}

/// A number that no other living thread has.
fn this_thread() -> usize {
    std::ptr::from_ref(Thread::current()) as usize
}
