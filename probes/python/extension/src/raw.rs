//! The few CPython calls of which a profile makes millions, each as one small function.
//! All of them are in the stable ABI. Never checks a type twice, never raises.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

/// An object that somebody else keeps alive, as an address.
pub(crate) type Address = *mut ffi::PyObject;

/// Item `index` of `list`, kept alive by it; `None` when there is none.
pub(crate) fn list_item(list: &Bound<'_, PyList>, index: usize) -> Option<Address> {
    // SAFETY: `list` is a list by its type, and the token in it shows that the GIL is held.
    let item = unsafe { ffi::PyList_GetItem(list.as_ptr(), index as ffi::Py_ssize_t) };
    found(list.py(), item)
}

/// Item `index` of `tuple`, kept alive by it; `None` when it is no tuple or has no such item.
pub(crate) fn tuple_item(py: Python<'_>, tuple: Address, index: usize) -> Option<Address> {
    // SAFETY: `tuple` is alive, the GIL is held, and CPython itself checks type and bounds.
    let item = unsafe { ffi::PyTuple_GetItem(tuple, index as ffi::Py_ssize_t) };
    found(py, item)
}

/// How many items `tuple` has; none when it is no tuple.
pub(crate) fn tuple_size(py: Python<'_>, tuple: Address) -> usize {
    // SAFETY: `tuple` is alive, the GIL is held, and CPython itself checks the type.
    let size = unsafe { ffi::PyTuple_Size(tuple) };
    usize::try_from(size).unwrap_or_else(|_| {
        clear(py);
        0
    })
}

/// The value of the integer at `number`; `None` when it is none, negative, or too large.
pub(crate) fn size(py: Python<'_>, number: Address) -> Option<usize> {
    // SAFETY: `number` is alive, the GIL is held, and CPython itself checks the type.
    let value = unsafe { ffi::PyLong_AsSize_t(number) };
    if value == usize::MAX {
        clear(py);
        return None;
    }
    Some(value)
}

/// A reference of our own to the tuple at `address`; `None` when it is no tuple.
pub(crate) fn own_tuple(py: Python<'_>, address: Address) -> Option<Py<PyTuple>> {
    // SAFETY: the object at `address` is alive and the GIL is held.
    let object = unsafe { Bound::from_borrowed_ptr_or_opt(py, address) }?;
    object.cast_into::<PyTuple>().ok().map(Bound::unbind)
}

/// A reference of our own to whatever is at `address`.
pub(crate) fn own(py: Python<'_>, address: Address) -> Option<Bound<'_, PyAny>> {
    // SAFETY: the object at `address` is alive and the GIL is held.
    unsafe { Bound::from_borrowed_ptr_or_opt(py, address) }
}

/// Frees the items of `list` from `from` on.
pub(crate) fn cut(list: &Bound<'_, PyList>, from: usize) {
    // SAFETY: `list` is a list by its type and the GIL is held; a null replacement deletes.
    let done = unsafe {
        ffi::PyList_SetSlice(
            list.as_ptr(),
            from as ffi::Py_ssize_t,
            ffi::PY_SSIZE_T_MAX,
            std::ptr::null_mut(),
        )
    };
    if done != 0 {
        clear(list.py());
    }
}

/// Whether the garbage collector looks at the object.
pub(crate) fn is_tracked(_py: Python<'_>, object: Address) -> bool {
    // SAFETY: `object` is alive and the GIL is held; any object may be asked.
    unsafe { ffi::PyObject_GC_IsTracked(object) != 0 }
}

/// Takes a tuple that refers only to atomic objects out of the garbage collector's view, as the collector itself does
/// with such tuples sooner or later.
pub(crate) fn untrack(py: Python<'_>, tuple: Address) {
    if is_tracked(py, tuple) {
        // SAFETY: a tracked object has the collector's header, which is all that this touches; the GIL is held.
        unsafe { ffi::PyObject_GC_UnTrack(tuple.cast()) };
    }
}

fn found(py: Python<'_>, item: Address) -> Option<Address> {
    if item.is_null() {
        clear(py);
        return None;
    }
    Some(item)
}

fn clear(_py: Python<'_>) {
    // SAFETY: the GIL is held.
    unsafe { ffi::PyErr_Clear() };
}
