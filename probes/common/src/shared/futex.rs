//! Waiting on a word that another process may change.
//! Never with `FUTEX_PRIVATE_FLAG`, never without a time-out. The caller's errno stays as it was.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// No wait is longer: nobody has to tell the two ends apart by arithmetic that may overflow.
const LONGEST: Duration = Duration::from_secs(3600);

/// Sleeps while `word` is `value`, for at most `timeout`. May return early: the caller looks again.
pub fn wait(word: &AtomicU32, value: u32, timeout: Duration) {
    let timeout = timeout.min(LONGEST);
    let until =
        libc::timespec { tv_sec: timeout.as_secs() as libc::time_t, tv_nsec: timeout.subsec_nanos() as _ };
    keeping_errno(|| {
        // SAFETY: the word and the time outlive the call, which changes neither.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, &raw const until) };
    });
}

/// Wakes everybody who sleeps on `word`.
pub fn wake(word: &AtomicU32) {
    keeping_errno(|| {
        // SAFETY: the word is only an address to the kernel.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, libc::c_int::MAX) };
    });
}

fn keeping_errno(call: impl FnOnce()) {
    let errno = errno();
    // SAFETY: this thread's own.
    let before = unsafe { *errno };
    call();
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
