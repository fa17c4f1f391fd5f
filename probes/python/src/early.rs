//! Attaches to an interpreter while it starts, before any module of the user's is imported.
//!
//! CPython publishes the table of its built-in modules (`PyImport_Inittab`) for programs to change before they start it.
//! A preloaded agent runs before `main`, so it puts a copy in its place in which the initialiser of `_abc` is ours. Every
//! CPython from 3.9 on imports `_abc` (for `io`, for its standard streams) in every mode, `-S`, `-I` and `-E` included, on
//! the main thread, with the GIL held, after tracemalloc is ready and before `site`. Then we attach, and the module's own
//! initialiser runs as if nothing had been.
//!
//! Never touches the environment or the command line, and does nothing in a program that has no CPython from the start:
//! there the probe attaches when one shows up.

use std::ffi::{CStr, c_char, c_void};
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use leakline_core::ProbeError;
use leakline_probing::loader;

use crate::find::{CPython, python_part};
use crate::part::Part;
use crate::{Mode, PythonOptions, hooked};

const HOOKED: &CStr = c"_abc";

/// A module's initialiser. What it gives is CPython's business.
type Initialiser = unsafe extern "C" fn() -> *mut c_void;

/// An entry of CPython's table; a null name ends it.
#[derive(Clone, Copy)]
#[repr(C)]
struct Entry {
    name: *const c_char,
    initialiser: Option<Initialiser>,
}

static ORIGINAL: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
static OPTIONS: Mutex<Option<PythonOptions>> = Mutex::new(None);
static ATTACHED: AtomicBool = AtomicBool::new(false);
static ON_START: OnceLock<fn()> = OnceLock::new();

/// Has the agent attached as soon as the program's own CPython starts. To be called once, before `main`, while there is
/// one thread only. Tells whether there is a CPython to wait for.
pub fn install(options: PythonOptions) -> bool {
    let Some(python) = CPython::find() else { return false };
    if options.mode == Mode::Off || python.unfit().is_some() || python.is_initialized() {
        return false;
    }
    let Some(table) = loader::symbol(c"PyImport_Inittab") else { return false };
    let table = table.cast::<*const Entry>();
    // SAFETY: the symbol is a variable of that type in every CPython, initialised when it was loaded.
    let entries = unsafe { *table.as_ptr() };
    let Some(copy) = with_our_initialiser(entries) else { return false };
    *OPTIONS.lock().unwrap_or_else(PoisonError::into_inner) = Some(options);
    // SAFETY: programs may set the variable before they start the interpreter, and no other thread exists yet; the copy
    // is never freed.
    unsafe { *table.as_ptr() = copy };
    true
}

/// Sets what is done when an interpreter that [`install`] waits for has started, whether it could be attached to or not:
/// on its main thread, which holds the GIL. To be called before `main`, once.
pub fn on_start(call: fn()) {
    ON_START.set(call).ok();
}

/// Whether an interpreter was attached to while it started.
pub fn attached() -> bool {
    ATTACHED.load(Ordering::Acquire)
}

/// A copy of the table that lives for ever, with our initialiser in it; `None` when there is nothing to put it in for.
fn with_our_initialiser(mut entries: *const Entry) -> Option<*const Entry> {
    if entries.is_null() {
        return None;
    }
    let mut copy = Vec::new();
    let mut found = false;
    loop {
        // SAFETY: CPython ends its table with a null name, and everything before that is an entry.
        let mut entry = unsafe { *entries };
        if entry.name.is_null() {
            copy.push(entry);
            break;
        }
        // SAFETY: the name of an entry ends with a NUL and is never freed.
        let name = unsafe { CStr::from_ptr(entry.name) };
        if let (true, Some(original)) = (name == HOOKED, entry.initialiser) {
            ORIGINAL.store(original as *mut c_void, Ordering::Release);
            entry.initialiser = Some(initialise);
            found = true;
        }
        copy.push(entry);
        // SAFETY: this entry was not the last.
        entries = unsafe { entries.add(1) };
    }
    found.then(|| Vec::leak(copy).as_ptr())
}

/// Called by CPython at each import of the module: the first is the one that was waited for.
unsafe extern "C" fn initialise() -> *mut c_void {
    // A panic has been printed by its hook by now; there is nobody to hand it to.
    catch_unwind(attach_once).ok();
    let original = ORIGINAL.load(Ordering::Acquire);
    if original.is_null() {
        return std::ptr::null_mut();
    }
    // SAFETY: it was stored from an initialiser before CPython could call this one.
    let original = unsafe { std::mem::transmute::<*mut c_void, Initialiser>(original) };
    // SAFETY: CPython called us in its place.
    unsafe { original() }
}

fn attach_once() {
    let Some(options) = OPTIONS.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    match attach(&options) {
        Ok(()) => ATTACHED.store(true, Ordering::Release),
        // The probe tries the same later, and reports what comes of it.
        Err(error) => tracing::debug!("cannot attach while Python starts: {error}"),
    }
    if let Some(call) = ON_START.get() {
        call();
    }
}

fn attach(options: &PythonOptions) -> Result<(), ProbeError> {
    let Some(python) = CPython::find() else {
        return Err(ProbeError::failed("attaching", "CPython is not where it was"));
    };
    let part = Part::load(&python_part(options.library.as_deref())?, &python)?;
    part.attach_in_start(hooked::beginning(options))
}
