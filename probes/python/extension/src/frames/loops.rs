//! Where the machine code of the interpreter's loop is: compilers split it in parts, of which only one has its name.
//!
//! From 3.11 on the loop keeps a mark of each of its runs on the native stack, to which the thread state leads. In the
//! self-test, whose frames are known to run, the native stack is walked once for each call: the native frame in which such
//! a mark lies is the loop's, and unwinding tables say from where to where that part of its code goes.
//!
//! Called at attach only, never from a hook; calls nothing of Python's.

use std::sync::Mutex;

use leakline_python::layouts::InterpreterFrames;

/// Most parts that are kept.
#[cfg(all(target_env = "gnu", target_pointer_width = "64"))]
const MOST: usize = 3;

/// First address, and the one after the last. Locked for a copy only, never around a call.
static FOUND: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// The parts that were found so far.
pub(crate) fn found() -> Vec<(usize, usize)> {
    FOUND.lock().map(|found| found.clone()).unwrap_or_default()
}

/// Looks for the parts that run now, below this call; not with a C library whose unwinder may be another.
///
/// # Safety
///
/// `thread_state` is the current thread's, which holds the GIL, and the layout is this interpreter's.
#[cfg(all(target_env = "gnu", target_pointer_width = "64"))]
pub(super) unsafe fn learn(shape: &InterpreterFrames, thread_state: usize) {
    // SAFETY: the caller's promise.
    for part in unsafe { super::native_stack::parts(shape, thread_state) } {
        if let Ok(mut found) = FOUND.lock()
            && found.len() < MOST
            && !found.contains(&part)
        {
            found.push(part);
        }
    }
}

/// As above, where it is not done.
///
/// # Safety
///
/// None is needed.
#[cfg(not(all(target_env = "gnu", target_pointer_width = "64")))]
pub(super) unsafe fn learn(_shape: &InterpreterFrames, _thread_state: usize) {}
