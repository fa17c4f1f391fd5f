//! Finds a class among those that the JVM has loaded and initialised, whatever loader it came from.
//! Never loads or initialises one.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{self, NonNull};

use jni::sys;

use crate::error::BridgeError;
use crate::vm::Inside;

// Places in the tool interface's table: the specification's numbers, less one.
const DEALLOCATE: usize = 46;
const GET_CLASS_SIGNATURE: usize = 47;
const GET_CLASS_STATUS: usize = 48;
const GET_LOADED_CLASSES: usize = 77;
const DISPOSE_ENVIRONMENT: usize = 126;

/// `JVMTI_CLASS_STATUS_INITIALIZED`.
const INITIALIZED: sys::jint = 4;

type Deallocate = unsafe extern "system" fn(*mut c_void, *mut c_void) -> sys::jint;
type ClassSignature =
    unsafe extern "system" fn(*mut c_void, sys::jclass, *mut *mut c_char, *mut *mut c_char) -> sys::jint;
type ClassStatus = unsafe extern "system" fn(*mut c_void, sys::jclass, *mut sys::jint) -> sys::jint;
type LoadedClasses =
    unsafe extern "system" fn(*mut c_void, *mut sys::jint, *mut *mut sys::jclass) -> sys::jint;
type Dispose = unsafe extern "system" fn(*mut c_void) -> sys::jint;

/// An environment of the tool interface for one search: given back when it is dropped, while the thread is still inside.
struct Tools<'a> {
    env: NonNull<c_void>,
    _inside: &'a Inside,
}

impl<'a> Tools<'a> {
    fn new(inside: &'a Inside) -> Result<Self, BridgeError> {
        Ok(Self { env: inside.tools()?, _inside: inside })
    }

    fn slot(&self, place: usize) -> *const c_void {
        // SAFETY: an environment begins with the pointer to its table.
        let table = unsafe { self.env.cast::<*const *const c_void>().read() };
        // SAFETY: every place named above is in the table of version 11, which was asked for.
        unsafe { table.add(place).read() }
    }

    fn give_back(&self, memory: *mut c_void) {
        // SAFETY: the function at this place has this type, by the specification.
        let deallocate = unsafe { std::mem::transmute::<*const c_void, Deallocate>(self.slot(DEALLOCATE)) };
        // SAFETY: what is given back came from this environment, once; null is allowed.
        unsafe { deallocate(self.env.as_ptr(), memory) };
    }

    fn is(&self, class: sys::jclass, signature: &CStr) -> bool {
        let place = self.slot(GET_CLASS_SIGNATURE);
        // SAFETY: the function at this place has this type, by the specification.
        let function = unsafe { std::mem::transmute::<*const c_void, ClassSignature>(place) };
        let mut text = ptr::null_mut();
        // SAFETY: `class` is a local reference of this thread; what is not wanted may be null.
        let code = unsafe { function(self.env.as_ptr(), class, &raw mut text, ptr::null_mut()) };
        if code != 0 || text.is_null() {
            return false;
        }
        // SAFETY: the JVM wrote a text that ends in a NUL, and it is ours until it is given back.
        let same = unsafe { CStr::from_ptr(text) } == signature;
        self.give_back(text.cast());
        same
    }

    fn is_initialised(&self, class: sys::jclass) -> bool {
        let place = self.slot(GET_CLASS_STATUS);
        // SAFETY: the function at this place has this type, by the specification.
        let function = unsafe { std::mem::transmute::<*const c_void, ClassStatus>(place) };
        let mut status = 0;
        // SAFETY: `class` is a local reference of this thread, and the status is written to ours.
        let code = unsafe { function(self.env.as_ptr(), class, &raw mut status) };
        code == 0 && status & INITIALIZED != 0
    }
}

impl Drop for Tools<'_> {
    fn drop(&mut self) {
        let place = self.slot(DISPOSE_ENVIRONMENT);
        // SAFETY: the function at this place has this type, by the specification.
        let dispose = unsafe { std::mem::transmute::<*const c_void, Dispose>(place) };
        // SAFETY: the environment is ours, and nobody uses it after this.
        unsafe { dispose(self.env.as_ptr()) };
    }
}

/// The class with this signature (`Ljava/lang/String;`), as a local reference of the frame that the caller pushed.
/// Asks for the name of each loaded class: a few milliseconds, once for each JVM.
pub(crate) fn initialised(inside: &Inside, signature: &CStr) -> Result<Option<sys::jclass>, BridgeError> {
    let tools = Tools::new(inside)?;
    let place = tools.slot(GET_LOADED_CLASSES);
    // SAFETY: the function at this place has this type, by the specification.
    let function = unsafe { std::mem::transmute::<*const c_void, LoadedClasses>(place) };
    let (mut count, mut classes) = (0, ptr::null_mut());
    // SAFETY: the thread is in the JVM, and both are written to ours.
    let code = unsafe { function(tools.env.as_ptr(), &raw mut count, &raw mut classes) };
    if code != 0 || classes.is_null() {
        return Err(BridgeError::Failed { call: "GetLoadedClasses", code });
    }
    let length = usize::try_from(count).unwrap_or(0);
    // SAFETY: the JVM wrote this many references, and they are ours until they are given back.
    let all = unsafe { std::slice::from_raw_parts(classes, length) };
    let found = all.iter().copied().find(|class| tools.is(*class, signature) && tools.is_initialised(*class));
    tools.give_back(classes.cast());
    Ok(found)
}
