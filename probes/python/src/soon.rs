//! Something that is done on the interpreter's main thread as soon as that runs Python code again.
//! Never waits, and needs no GIL.

use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;

use crate::find::CPython;

/// What CPython calls, with the GIL held; 0: it went well.
pub type Call = unsafe extern "C" fn(*mut c_void) -> c_int;
type AddPendingCall = unsafe extern "C" fn(Call, *mut c_void) -> c_int;

static ADD: OnceLock<Option<AddPendingCall>> = OnceLock::new();
static WARNS: OnceLock<bool> = OnceLock::new();

static HAS_GIL: OnceLock<Option<unsafe extern "C" fn() -> c_int>> = OnceLock::new();

/// Whether this thread holds the GIL, as far as CPython tells: with several interpreters it may say so of any thread. False
/// until [`prepare`] was called. Takes no lock.
pub fn holds_gil() -> bool {
    // SAFETY: it may be called on any thread, and only looks.
    HAS_GIL.get().copied().flatten().is_some_and(|has| unsafe { has() } != 0)
}

/// Looks up what [`call`] and [`holds_gil`] need, unless it is known. False: this CPython does not have it.
pub fn prepare() -> bool {
    let has_gil = || {
        let has = CPython::find()?.symbol(c"PyGILState_Check")?;
        // SAFETY: this name has had this signature in every CPython.
        Some(unsafe { std::mem::transmute::<NonNull<c_void>, unsafe extern "C" fn() -> c_int>(has) })
    };
    HAS_GIL.get_or_init(has_gil);
    let find = || {
        let add = CPython::find()?.symbol(c"Py_AddPendingCall")?;
        // SAFETY: this name has had this signature in every CPython.
        Some(unsafe { std::mem::transmute::<NonNull<c_void>, AddPendingCall>(add) })
    };
    ADD.get_or_init(find).is_some()
}

/// Whether this CPython warns at `os.fork` where a process has threads, and [`call`] works. To be asked once before a fork:
/// what is looked up is remembered.
pub fn warns_of_threads() -> bool {
    prepare() && *WARNS.get_or_init(|| CPython::find().as_ref().is_some_and(CPython::warns_of_threads))
}

/// Has `call` called soon. False: too much waits to be called, or [`prepare`] was not called, or found nothing.
pub fn call(call: Call) -> bool {
    let Some(Some(add)) = ADD.get() else { return false };
    // SAFETY: it may be called on any thread, with and without the GIL.
    (unsafe { add(call, null_mut()) }) == 0
}
