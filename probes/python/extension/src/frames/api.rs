//! What is asked of the interpreter by name, because it is outside the stable ABI: the current thread state, and the
//! functions of the fallback.
//! The fallback makes frame objects, and so allocates, inside the hook; the garbage collector is off meanwhile, since it
//! would run the host's finalisers in the middle of an allocation. It never runs on 3.12 and newer, nor under a lock.

use std::ffi::{CStr, c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use leakline_python::lines::IS_LINE;
use pyo3::ffi;
use pyo3::prelude::*;

use super::RawFrame;
use crate::host;

type GetThreadState = unsafe extern "C" fn() -> *const c_void;
type OfThread = unsafe extern "C" fn(*const c_void) -> *mut ffi::PyObject;
type OfFrame = unsafe extern "C" fn(*mut ffi::PyObject) -> *mut ffi::PyObject;
type LineOf = unsafe extern "C" fn(*mut ffi::PyObject) -> c_int;
type Switch = unsafe extern "C" fn() -> c_int;

/// The function that gives the current thread state without checking it; 0 while it was not looked for.
static CURRENT: AtomicUsize = AtomicUsize::new(0);
/// Up to 3.11, where the current thread state is the process's: the function that gives this thread's.
static OF_THIS_THREAD: AtomicUsize = AtomicUsize::new(0);

/// The thread state of this thread if it holds the GIL, else null. Never takes a lock. `exact_domain`: the caller is sure
/// that the GIL is held, as it is in the memory and object domains.
#[inline]
pub(crate) fn this_thread_state(exact_domain: bool) -> *const c_void {
    let current = CURRENT.load(Relaxed);
    if current == 0 {
        return std::ptr::null();
    }
    // SAFETY: `find_thread_state` stored the address of such a function, which stays loaded.
    let current = unsafe { std::mem::transmute::<usize, GetThreadState>(current) };
    // SAFETY: it reads a variable, and may be called on any thread.
    let current = unsafe { current() };
    let own = OF_THIS_THREAD.load(Relaxed);
    if exact_domain || own == 0 || current.is_null() {
        return current;
    }
    // SAFETY: `find_thread_state` stored the address of such a function, which stays loaded.
    let own = unsafe { std::mem::transmute::<usize, GetThreadState>(own) };
    // SAFETY: it reads a variable of the thread, and may be called on any thread.
    if unsafe { own() } == current { current } else { std::ptr::null() }
}

/// Looks for what [`this_thread_state`] needs.
pub(super) fn find_thread_state(py: Python<'_>) -> Result<(), String> {
    if py.version_info() < (3, 12) {
        OF_THIS_THREAD.store(address(c"PyGILState_GetThisThreadState")?, Relaxed);
    }
    let current =
        address(c"PyThreadState_GetUnchecked").or_else(|_| address(c"_PyThreadState_UncheckedGet"))?;
    CURRENT.store(current, Relaxed);
    Ok(())
}

fn address(name: &CStr) -> Result<usize, String> {
    let missing = || format!("this CPython has no {}", name.to_string_lossy());
    host::symbol(name).map(|found| found.as_ptr() as usize).ok_or_else(missing)
}

fn switch(name: &CStr) -> Option<Switch> {
    let found = address(name).ok()?;
    // SAFETY: both functions that are asked for have had this signature since they are there.
    Some(unsafe { std::mem::transmute::<usize, Switch>(found) })
}

/// The functions of the public API that tell frames.
#[derive(Clone, Copy)]
pub(super) struct Functions {
    innermost: OfThread,
    back: OfFrame,
    code: OfFrame,
    line: LineOf,
    /// Turn the collector off and on, and tell whether it was on; 3.9 has none and needs none.
    collector: Option<(Switch, Switch)>,
}

impl Functions {
    pub(super) fn find(py: Python<'_>) -> Option<Self> {
        let innermost = address(c"PyThreadState_GetFrame").ok()?;
        let back = address(c"PyFrame_GetBack").ok()?;
        let code = address(c"PyFrame_GetCode").ok()?;
        let line = address(c"PyFrame_GetLineNumber").ok()?;
        let collector = match (switch(c"PyGC_Disable"), switch(c"PyGC_Enable")) {
            (Some(off), Some(on)) => Some((off, on)),
            _ if py.version_info() >= (3, 11) => return None,
            _ => None,
        };
        Some(Self {
            // SAFETY: it has had this signature since 3.9.
            innermost: unsafe { std::mem::transmute::<usize, OfThread>(innermost) },
            // SAFETY: as above.
            back: unsafe { std::mem::transmute::<usize, OfFrame>(back) },
            // SAFETY: as above.
            code: unsafe { std::mem::transmute::<usize, OfFrame>(code) },
            // SAFETY: as above.
            line: unsafe { std::mem::transmute::<usize, LineOf>(line) },
            collector,
        })
    }

    /// See [`super::Layout::walk`].
    ///
    /// # Safety
    ///
    /// `thread_state` is the current thread's, which holds the GIL.
    pub(super) unsafe fn walk(&self, thread_state: *const c_void, into: &mut [RawFrame]) -> (usize, bool) {
        // SAFETY: the GIL is held.
        let was_on = self.collector.is_some_and(|(off, _)| unsafe { off() } != 0);
        // SAFETY: the caller's promise.
        let mut frame = unsafe { (self.innermost)(thread_state) };
        let mut found = 0;
        for slot in into {
            if frame.is_null() {
                break;
            }
            // SAFETY: `frame` is a frame that is kept alive by the reference we have.
            let code = unsafe { (self.code)(frame) };
            // SAFETY: as above.
            let line = unsafe { (self.line)(frame) };
            let line = u32::try_from(line).unwrap_or(0) & !IS_LINE;
            *slot = RawFrame { code: code as usize, stamp: 0, instruction: IS_LINE | line };
            found += 1;
            // SAFETY: as above.
            let back = unsafe { (self.back)(frame) };
            // SAFETY: the reference is ours; the frame itself keeps its code alive.
            unsafe { ffi::Py_DECREF(code) };
            // SAFETY: the reference is ours, and the frame runs, so it is not the last one.
            unsafe { ffi::Py_DECREF(frame) };
            frame = back;
        }
        let more = !frame.is_null();
        // SAFETY: the reference is ours, or null.
        unsafe { ffi::Py_XDECREF(frame) };
        if let Some((_, on)) = self.collector.filter(|_| was_on) {
            // SAFETY: the GIL is held.
            unsafe { on() };
        }
        (found, more)
    }
}
