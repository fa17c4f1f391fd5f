//! References to types, which a census holds so that none can go and another come to lie at its address.
//! Gives none of them back on our thread when it may be the last: a type's end runs code of the host.

use std::ffi::{c_int, c_void};

use pyo3::{Python, ffi};

use super::layout::Object;

/// References that are held, by address.
#[derive(Default)]
pub(super) struct Held(Vec<usize>);

impl Held {
    /// Takes a reference of our own.
    pub(super) fn hold(&mut self, object: Object<'_>) {
        // SAFETY: the object is alive and the GIL is held.
        unsafe { ffi::Py_IncRef(object.pointer()) };
        self.0.push(object.address());
    }

    /// Gives all of them back; those that may be the last ones on the main thread, at its next opportunity.
    pub(super) fn give_back(&mut self, py: Python<'_>) {
        let mut last = Vec::new();
        for address in self.0.drain(..) {
            // SAFETY: our own reference keeps it alive.
            let object = unsafe { Object::at(py, address) };
            if object.is_last_reference() {
                last.push(address);
            } else {
                // SAFETY: our own reference, and not the last.
                unsafe { ffi::Py_DecRef(object.pointer()) };
            }
        }
        if last.is_empty() {
            return;
        }
        let argument = Box::into_raw(Box::new(last));
        // SAFETY: the function and its argument live until it was called, on the main thread.
        if unsafe { ffi::Py_AddPendingCall(Some(drop_references), argument.cast()) } != 0 {
            // SAFETY: nobody else has taken it.
            let last = unsafe { Box::from_raw(argument) };
            // The queue is full: the next census tries again.
            self.0 = *last;
        }
    }
}

extern "C" fn drop_references(argument: *mut c_void) -> c_int {
    // SAFETY: the box that was made above, handed over once.
    let addresses = unsafe { Box::from_raw(argument.cast::<Vec<usize>>()) };
    for address in *addresses {
        // SAFETY: a reference that was held by us; the main thread holds the GIL here.
        unsafe { ffi::Py_DecRef(address as *mut ffi::PyObject) };
    }
    0
}
