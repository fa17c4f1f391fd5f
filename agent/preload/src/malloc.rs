//! Malloc's functions by their C names: in a process that was started with this library preloaded, these are called
//! instead of the C library's, from the first allocation on. They pass everything on; see `leakline_native::shims`.
//!
//! Never a catch: there is nothing in the way of a call that could panic, and what is done with a sample catches by itself.

#![expect(unreachable_pub, reason = "called by name, not by path")]

use std::ffi::{c_int, c_void};

use leakline::preload::shims;

macro_rules! exported {
    ($($name:ident = $shim:ident ($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        /// The C library's, hooked.
        ///
        /// # Safety
        /// As the C library's.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) $(-> $result)? {
            // SAFETY: the caller's promises are passed on.
            unsafe { shims::$shim($($argument),*) }
        }
    )*};
}

exported! {
    malloc = malloc(size: usize) -> *mut c_void;
    calloc = calloc(count: usize, each: usize) -> *mut c_void;
    realloc = realloc(block: *mut c_void, size: usize) -> *mut c_void;
    reallocarray = reallocarray(block: *mut c_void, count: usize, each: usize) -> *mut c_void;
    free = free(block: *mut c_void);
    posix_memalign = posix_memalign(into: *mut *mut c_void, alignment: usize, size: usize) -> c_int;
    aligned_alloc = aligned_alloc(alignment: usize, size: usize) -> *mut c_void;
    memalign = memalign(alignment: usize, size: usize) -> *mut c_void;
    valloc = valloc(size: usize) -> *mut c_void;
    pvalloc = pvalloc(size: usize) -> *mut c_void;
    mmap = mmap(address: *mut c_void, length: usize, access: c_int, flags: c_int, file: c_int, offset: i64) -> *mut c_void;
    mmap64 = mmap(address: *mut c_void, length: usize, access: c_int, flags: c_int, file: c_int, offset: i64) -> *mut c_void;
    munmap = munmap(address: *mut c_void, length: usize) -> c_int;
    dlclose = dlclose(object: *mut c_void) -> c_int;
    mremap = mremap(address: *mut c_void, length: usize, new_length: usize, flags: c_int, new_address: *mut c_void) -> *mut c_void;
}
