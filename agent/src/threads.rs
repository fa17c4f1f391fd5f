//! Keeps the host's signals away from the agent's threads: a handler of the host never runs on a thread of ours.

use std::ffi::CStr;

/// Runs `start` with every asynchronous signal blocked, so that threads which it starts inherit that.
pub(crate) fn with_signals_blocked<T>(start: impl FnOnce() -> T) -> T {
    let blocked = asynchronous_signals();
    let mut before = empty_set();
    // SAFETY: both sets are initialised and outlive the call.
    let failed = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &blocked, &mut before) } != 0;
    let result = start();
    if !failed {
        // SAFETY: `before` was filled by the call above.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut()) };
    }
    result
}

/// Makes the calling thread, which the host has made for us, one of ours: by its name and by its signals.
pub(crate) fn become_ours(name: &CStr) {
    let blocked = asynchronous_signals();
    // SAFETY: the set is initialised and outlives the call.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &blocked, std::ptr::null_mut()) };
    // SAFETY: the name ends with a NUL; one that is too long is cut off by the kernel.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// The calling thread as the kernel knows it.
pub(crate) fn current() -> libc::pid_t {
    // SAFETY: takes nothing.
    unsafe { libc::gettid() }
}

/// All signals but those that a thread raises by its own instructions, which runtimes (a JVM's safepoints) need.
fn asynchronous_signals() -> libc::sigset_t {
    let mut set = empty_set();
    // SAFETY: the set is initialised.
    unsafe { libc::sigfillset(&mut set) };
    for signal in
        [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS, libc::SIGABRT]
    {
        // SAFETY: the set is initialised and the signal's number is valid.
        unsafe { libc::sigdelset(&mut set, signal) };
    }
    set
}

fn empty_set() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises what it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised by the call above.
    unsafe { set.assume_init() }
}
