//! A function of the C library's, which stands behind ours of the same name.

use std::ffi::{CStr, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering::Acquire, Ordering::Release};

pub(crate) struct Next {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

impl Next {
    pub(crate) const fn new(name: &'static CStr) -> Self {
        Self { name, found: AtomicPtr::new(null_mut()) }
    }

    /// To be called before `main`: later somebody may hold the loader's lock for good, and a child of `vfork` must not take it.
    pub(crate) fn look_up(&self) -> *mut c_void {
        // SAFETY: the name ends with a NUL.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        self.found.store(found, Release);
        found
    }

    /// Null where there is none.
    pub(crate) fn get(&self) -> *mut c_void {
        match self.found.load(Acquire) {
            found if found.is_null() => self.look_up(),
            found => found,
        }
    }
}
