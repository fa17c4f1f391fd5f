//! From CPython 3.12 on, `os.fork` warns where the process has threads: a host without any of its own would be warned of ours,
//! and one that takes warnings for errors would fail. So there the thread of Python's lane goes away before a fork, and
//! another takes its place when the interpreter runs on. The watcher notices nothing but a call that takes longer.
//!
//! Only while the host has no thread of its own. `os.fork` gives up the GIL meanwhile, so that the lane can end a reading
//! that it is in: the host waits for some tens of microseconds, or for that reading, and at most [`ENDS_WITHIN`]. A lane that
//! takes longer stays, and the host is warned. A fork from C waits for a lane that has nothing to do only, at most
//! [`GOES_WITHIN`]: it may hold the GIL.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use leakline_probing::shared::{Mailbox, is_first_process};
use leakline_python::forks;

use super::confined::is_confined;
use super::lane::Worker;
use super::lanes;
use crate::threads;

/// A thread that has nothing to do ends within this.
const GOES_WITHIN: Duration = Duration::from_millis(3);
/// What a reading takes, at most times: a census takes longer.
const ENDS_WITHIN: Duration = Duration::from_millis(50);
/// A lane that has something to do is looked at so often.
const BETWEEN_LOOKS: Duration = Duration::from_micros(200);

/// The host has started a thread of its own.
static HOST_HAS_THREADS: AtomicBool = AtomicBool::new(false);

/// The lane's thread, or what it left when it went away.
#[derive(Default)]
pub(super) struct Away(Mutex<State>);

#[derive(Default)]
struct State {
    thread: Option<libc::pthread_t>,
    /// As the kernel knows it; 0: it has not begun.
    number: libc::pid_t,
    left: Option<Worker>,
    /// It is to stay after all: it was too busy to go.
    stays: bool,
}

/// The host's own thread has been started: from now on it would be warned in any case.
pub(super) fn host_has_threads() {
    HOST_HAS_THREADS.store(true, Ordering::Relaxed);
}

/// In a forked child, which has one.
pub(super) fn host_has_no_threads() {
    HOST_HAS_THREADS.store(false, Ordering::Relaxed);
}

impl Away {
    /// Starts the lane's thread.
    pub(super) fn start(&'static self, mailbox: &'static Mailbox, worker: Worker) -> std::io::Result<()> {
        let thread = lanes::start_thread(Box::new(move || self.serve(mailbox, worker)))?;
        self.lock().thread = Some(thread);
        Ok(())
    }

    fn serve(&self, mailbox: &Mailbox, mut worker: Worker) {
        threads::become_ours(c"leakline-python");
        self.lock().number = threads::current();
        while worker.run(mailbox) {
            let mut state = self.lock();
            if mailbox.is_stopped() {
                return;
            }
            if !std::mem::take(&mut state.stays) && mailbox.is_paused() {
                state.left = Some(worker);
                return;
            }
        }
    }

    /// Before a fork, on the thread that forks: if it has nothing to do.
    fn go(&self, mailbox: &Mailbox) {
        let Some(thread) = self.thread_to_go().filter(|_| mailbox.pause()) else { return };
        self.join(thread, Instant::now() + GOES_WITHIN);
    }

    /// As [`go`](Self::go), when it is done with what it does. On a thread without the GIL.
    fn end_and_go(&self, mailbox: &Mailbox) {
        let Some(thread) = self.thread_to_go() else { return };
        let until = Instant::now() + ENDS_WITHIN;
        // It has not begun to serve yet, or somebody calls.
        while !mailbox.pause() {
            if Instant::now() >= until {
                return;
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
        self.join(thread, until);
    }

    fn thread_to_go(&self) -> Option<libc::pthread_t> {
        let mut state = self.lock();
        state.stays = false;
        state.thread
    }

    fn join(&self, thread: libc::pthread_t, ends: Instant) {
        let within = ends.saturating_duration_since(Instant::now());
        let mut until = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the place is ours to write.
        unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut until) };
        let nanos = until.tv_nsec as u64 + within.as_nanos() as u64;
        until.tv_sec += (nanos / 1_000_000_000) as libc::time_t;
        until.tv_nsec = (nanos % 1_000_000_000) as _;
        // SAFETY: it is the lane's thread, which was not waited for.
        if unsafe { pthread_timedjoin_np(thread, std::ptr::null_mut(), &raw const until) } == 0 {
            let number = {
                let mut state = self.lock();
                state.thread = None;
                std::mem::take(&mut state.number)
            };
            // Joined is what has left its stack; the kernel counts it for some more microseconds.
            while exists(number) && Instant::now() < ends {
                std::thread::sleep(BETWEEN_LOOKS);
            }
        }
    }

    /// After the fork, when the interpreter runs on.
    fn come_back(&'static self, mailbox: &'static Mailbox) {
        let mut state = self.lock();
        let Some(worker) = state.left.take() else {
            // Until it serves again callers wait for it.
            state.stays = true;
            return;
        };
        if let Some(thread) = state.thread.take() {
            // SAFETY: it ends by itself, and was not waited for.
            unsafe { libc::pthread_detach(thread) };
        }
        drop(state);
        if self.start(mailbox, worker).is_err() {
            // No thread to be had: nobody is to be waited for.
            mailbox.forget_pause();
        }
    }

    /// Held for an instant; a poisoned one holds whole values.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this process has such a thread.
fn exists(thread: libc::pid_t) -> bool {
    let process = std::process::id();
    // SAFETY: no signal is sent; a number of no thread is refused.
    thread > 0 && unsafe { libc::syscall(libc::SYS_tgkill, process, thread, 0) } == 0
}

/// Has the thread go away around forks. Called on a thread of the host's or of ours, once.
pub(super) fn survive_forks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handlers stay callable: the library is never unloaded.
        unsafe { libc::pthread_atfork(Some(before_fork), Some(in_parent), None) };
        forks::before_forks(forks::Before { is_wanted: is_alone, call: before_fork_of_python });
    });
}

/// Whether the host has no thread but one, and ours.
fn is_alone() -> bool {
    !HOST_HAS_THREADS.load(Ordering::Relaxed) && is_first_process() && !is_confined()
}

/// Without the GIL.
fn before_fork_of_python() {
    // A panic must not reach the host.
    let gone = std::panic::catch_unwind(|| {
        if let Some((mailbox, away)) = lanes::python() {
            away.end_and_go(mailbox);
        }
    });
    drop(gone);
}

extern "C" fn before_fork() {
    if !is_alone() {
        return;
    }
    // A panic must not reach the host.
    let gone = std::panic::catch_unwind(|| {
        if let Some((mailbox, away)) = lanes::python() {
            away.go(mailbox);
        }
    });
    drop(gone);
}

extern "C" fn in_parent() {
    if let Some((mailbox, _)) = lanes::python()
        && mailbox.is_paused()
        && !leakline_python::soon::call(come_back)
    {
        // SAFETY: takes nothing that it looks at.
        unsafe { come_back(std::ptr::null_mut()) };
    }
}

unsafe extern "C" fn come_back(_: *mut c_void) -> c_int {
    // A child that was forked meanwhile has the call, and no lane.
    if is_first_process() && !is_confined() {
        let come = std::panic::catch_unwind(|| {
            if let Some((mailbox, away)) = lanes::python()
                && mailbox.is_paused()
            {
                away.come_back(mailbox);
            }
        });
        drop(come);
    }
    0
}

/// Bionic has none, and an app has no watcher for whom a thread would have to go.
#[cfg(not(target_env = "gnu"))]
unsafe fn pthread_timedjoin_np(_: libc::pthread_t, _: *mut *mut c_void, _: *const libc::timespec) -> c_int {
    libc::ETIMEDOUT
}

#[cfg(target_env = "gnu")]
unsafe extern "C" {
    /// glibc's.
    fn pthread_timedjoin_np(
        thread: libc::pthread_t,
        result: *mut *mut c_void,
        until: *const libc::timespec,
    ) -> c_int;
}
