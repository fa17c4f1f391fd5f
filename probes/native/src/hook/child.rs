//! A forked child, in which the hook rests: whoever wants to watch it is called at its allocations, and begins to sample
//! anew in memory that is the child's own by then. What was live at the fork belongs to the parent's past: its frees are
//! frees of nothing that is known.
//!
//! Never here: a decision about which child is worth it, or anything in a process that is no forked child.

use std::sync::atomic::{AtomicPtr, Ordering::Acquire, Ordering::Release, Ordering::SeqCst};

use leakline_probing::shared;

use super::table::State;
use super::table::write::{Tables, set_state};
use super::{BESIDE_WATCHER, FAILED, GATE, MEAN, TABLES, record};

/// A `fn()`, or null.
static ON_CALL: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// Has `call` called in forked children at allocations: those that would be looked at for a sample, and mappings. On a thread
/// of the host's, in the middle of its code and before its call is passed on; `errno` stays as it was. It must be short,
/// must not unwind, and may be called again from what it calls itself.
pub fn on_call_in_child(call: fn()) {
    ON_CALL.store(call as *mut (), Release);
}

/// The host allocates while the hook rests.
#[inline]
pub(super) fn looks() {
    if !shared::is_first_process() {
        call();
    }
}

#[cold]
#[inline(never)]
fn call() {
    let call = ON_CALL.load(Acquire);
    if call.is_null() || record::is_busy() {
        return;
    }
    // SAFETY: only `on_call_in_child` writes here, and it writes a `fn()`.
    let call = unsafe { std::mem::transmute::<*mut (), fn()>(call) };
    record::with_errno(call);
}

/// In a forked child that has a watcher of its own, whose memory was renewed: samples from now on, as the parent did. False:
/// the parent did not, or failed.
pub fn begin_in_child() -> bool {
    let Some(sampling) = BESIDE_WATCHER.get().filter(|_| !FAILED.load(SeqCst)) else { return false };
    // A thread that is lost may have held it; what it was in the middle of is begun anew.
    TABLES.after_fork();
    let mean = sampling.mean.max(1);
    record::with_tables(|tables: &mut Tables| tables.start(mean));
    MEAN.store(mean, SeqCst);
    set_state(State::Samples);
    GATE.simple_below.store(usize::MAX, SeqCst);
    true
}
