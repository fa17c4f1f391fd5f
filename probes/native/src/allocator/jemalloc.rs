//! Asks jemalloc's own statistics.
//! Never where `mallctl` lies in another library than the host's `malloc`; changes nothing but jemalloc's own snapshot.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::NonNull;

use leakline_probing::loader::symbol;

use crate::mallinfo::Counts;

/// `mallctl`: name, old value and its length, new value and its length.
pub(crate) type Mallctl =
    unsafe extern "C" fn(*const c_char, *mut c_void, *mut usize, *mut c_void, usize) -> c_int;

/// Where it is, and as a function.
pub(crate) fn find() -> Option<(NonNull<c_void>, Mallctl)> {
    let found = symbol(c"mallctl").or_else(|| symbol(c"je_mallctl"))?;
    // SAFETY: a function of this name has this type in every jemalloc since 2.0.
    let ask = unsafe { std::mem::transmute::<NonNull<c_void>, Mallctl>(found) };
    Some((found, ask))
}

/// Live bytes, and what is resident beyond them and beyond jemalloc's own bookkeeping. Zeros from a jemalloc that was
/// built without statistics.
pub(crate) fn ask(mallctl: Mallctl) -> Counts {
    let mut epoch = 1_u64;
    // SAFETY: `epoch` takes eight bytes, and these are ours.
    unsafe {
        mallctl(
            c"epoch".as_ptr(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            (&raw mut epoch).cast(),
            size_of::<u64>(),
        )
    };
    let read = |name| read(mallctl, name).unwrap_or(0);
    let live = read(c"stats.allocated");
    let beyond = read(c"stats.resident").saturating_sub(read(c"stats.metadata"));
    Counts { live, free: beyond.saturating_sub(live), mapped: None }
}

fn read(mallctl: Mallctl, name: &CStr) -> Option<u64> {
    let mut value = 0_usize;
    let mut length = size_of::<usize>();
    // SAFETY: the name ends with a NUL, and jemalloc writes at most `length` bytes, or none if its own differs.
    let outcome =
        unsafe { mallctl(name.as_ptr(), (&raw mut value).cast(), &raw mut length, std::ptr::null_mut(), 0) };
    (outcome == 0).then_some(value as u64)
}
