//! A lock for allocator hooks: a word and a futex, taken around forks.
//! Never allocates, never is held while the watched allocator or the host's code runs.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

const FREE: u32 = 0;
const HELD: u32 = 1;
const WAITED_FOR: u32 = 2;
/// Looks before a thread goes to sleep: it is held for well under a microsecond.
const SPINS: u32 = 100;

/// A value behind a lock. Unlike std's it can be taken and given back by the two halves of a fork.
#[derive(Debug)]
pub struct Lock<T> {
    word: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one thread at a time: the one that set the word.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    /// A value that nobody holds.
    pub const fn new(value: T) -> Self {
        Self { word: AtomicU32::new(FREE), value: UnsafeCell::new(value) }
    }

    /// Waits for it, and runs `work` with the value. `work` must not panic while the value is in between two states, and
    /// must neither take this lock again nor call what is watched.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let _held = Held::take(&self.word);
        // SAFETY: the word is ours, so nobody else has the value.
        work(unsafe { &mut *self.value.get() })
    }

    /// As [`Lock::with`], but `None` when somebody has it.
    pub fn try_with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.word.compare_exchange(FREE, HELD, Acquire, Relaxed).ok()?;
        let _held = Held(&self.word);
        // SAFETY: the word is ours, so nobody else has the value.
        Some(work(unsafe { &mut *self.value.get() }))
    }

    /// In a forked child, on its only thread: gives it back where a thread held it that stayed behind in the parent. What
    /// that thread was changing is not dropped; `renew` says what stands in its place.
    pub fn take_over(&self, renew: impl FnOnce(&T) -> T) {
        if self.word.swap(FREE, Acquire) == FREE {
            return;
        }
        // SAFETY: there is no other thread.
        let renewed = renew(unsafe { &*self.value.get() });
        // SAFETY: as above; the old value may be in between two states, so it is left as it is.
        unsafe { self.value.get().write(renewed) };
    }

    /// Takes it before a fork. To be followed by [`Lock::after_fork`] in the parent and in the child.
    pub fn before_fork(&self) {
        std::mem::forget(Held::take(&self.word));
    }

    /// Gives it back after a fork.
    pub fn after_fork(&self) {
        drop(Held(&self.word));
    }
}

struct Held<'a>(&'a AtomicU32);

impl<'a> Held<'a> {
    #[inline]
    fn take(word: &'a AtomicU32) -> Self {
        if word.compare_exchange(FREE, HELD, Acquire, Relaxed).is_err() {
            wait(word);
        }
        Self(word)
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.0.swap(FREE, Release) == WAITED_FOR {
            futex(self.0, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1);
        }
    }
}

#[cold]
fn wait(word: &AtomicU32) {
    for _ in 0..SPINS {
        if word.load(Relaxed) == FREE && word.compare_exchange(FREE, HELD, Acquire, Relaxed).is_ok() {
            return;
        }
        std::hint::spin_loop();
    }
    while word.swap(WAITED_FOR, Acquire) != FREE {
        futex(word, libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, WAITED_FOR);
    }
}

/// Waits while the word is `value`, or wakes `value` threads. What it answers does not matter: every caller looks at the
/// word again. The host's errno is left as it was, because a hook runs between the host's calls.
fn futex(word: &AtomicU32, operation: libc::c_int, value: u32) {
    let errno = errno();
    // SAFETY: it is this thread's own number.
    let before = unsafe { *errno };
    let no_timeout = std::ptr::null::<libc::timespec>();
    // SAFETY: the word outlives the call, and neither operation reads anything else.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, no_timeout) };
    // SAFETY: as above.
    unsafe { *errno = before };
}

fn errno() -> *mut libc::c_int {
    #[cfg(target_os = "android")]
    // SAFETY: it has no preconditions.
    return unsafe { libc::__errno() };
    #[cfg(not(target_os = "android"))]
    // SAFETY: it has no preconditions.
    return unsafe { libc::__errno_location() };
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn eight_threads_count_to_a_million_together() {
        let count = Arc::new(Lock::new(0_u64));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let count = Arc::clone(&count);
                let work = move || (0..125_000).for_each(|_| count.with(|count| *count += 1));
                std::thread::Builder::new().spawn(work).unwrap()
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(count.with(|count| *count), 1_000_000);
    }

    #[test]
    fn a_child_takes_over_what_a_lost_thread_held_and_nothing_else() {
        let lock = Lock::new(7);
        lock.take_over(|_| unreachable!("nobody holds it"));
        // As if the thread that took it were not there any more.
        lock.before_fork();
        lock.take_over(|old| old + 1);
        assert_eq!(lock.with(|value| *value), 8);
    }

    #[test]
    fn it_is_free_again_on_both_sides_of_a_fork() {
        let lock = Lock::new(());
        lock.before_fork();
        lock.after_fork();
        lock.with(|()| ());
    }
}
