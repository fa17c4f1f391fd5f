//! A program that forbids itself system calls (`prctl` with `PR_SET_SECCOMP`): from then on nothing of leakline's makes one
//! in it, since a filter kills a program for a call that it does not expect. No lane starts, and nothing is done at the end:
//! the watcher sees that from outside. In the kernel's strict mode malloc's hooks rest, too: it forbids to read the
//! processor's clock.
//!
//! A program that makes the system call `seccomp` itself is not seen to do so; libseccomp is one that may. It has to allow
//! what the end needs: `getpid` and `futex`.

use std::ffi::{c_int, c_ulong};
use std::sync::atomic::{AtomicBool, Ordering};

use leakline_probing::shared::is_first_process;

use crate::preload;

static CONFINED: AtomicBool = AtomicBool::new(false);

/// Whether this process has forbidden itself system calls.
#[inline]
pub(crate) fn is_confined() -> bool {
    CONFINED.load(Ordering::Acquire)
}

/// A call that confines this process is on its way.
#[derive(Debug)]
pub struct Confining {
    was_confined: bool,
    hook: Option<leakline_native::Paused>,
}

impl Confining {
    /// Before `prctl`: whether it is such a call. Of a child of `vfork`, whose memory this is, it is not.
    pub fn begins(option: c_int, mode: c_ulong) -> Option<Self> {
        // One that is confined already may be killed for asking who it is.
        let is_own = || !is_first_process() || is_confined() || preload::is_loaded_here();
        if option != libc::PR_SET_SECCOMP || !is_own() {
            return None;
        }
        let is_strict = mode == c_ulong::from(libc::SECCOMP_MODE_STRICT);
        let hook = is_strict.then(leakline_native::pause);
        Some(Self { was_confined: CONFINED.swap(true, Ordering::AcqRel), hook })
    }

    /// The call has failed: everything is as before.
    pub fn failed(self) {
        if let Some(hook) = self.hook {
            leakline_native::go_on(hook);
        }
        CONFINED.store(self.was_confined, Ordering::Release);
    }
}
