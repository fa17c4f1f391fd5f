//! Asks tcmalloc's own statistics, those of gperftools.
//! Never where they lie in another library than the host's `malloc`; changes nothing.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::NonNull;

use leakline_probing::loader::symbol;

use crate::mallinfo::Counts;

/// `MallocExtension_GetNumericProperty`: name, where the value goes; answers 0 for a name it does not know.
pub(crate) type GetProperty = unsafe extern "C" fn(*const c_char, *mut usize) -> c_int;

/// Where it is, and as a function.
pub(crate) fn find() -> Option<(NonNull<c_void>, GetProperty)> {
    let found = symbol(c"MallocExtension_GetNumericProperty")?;
    // SAFETY: a function of this name has this type in every gperftools since 1.4.
    let ask = unsafe { std::mem::transmute::<NonNull<c_void>, GetProperty>(found) };
    Some((found, ask))
}

/// Live bytes, and what of its heap is neither live nor given back: its caches and its free pages.
pub(crate) fn ask(property: GetProperty) -> Counts {
    let read = |name| read(property, name).unwrap_or(0);
    let live = read(c"generic.current_allocated_bytes");
    let given_back = read(c"tcmalloc.pageheap_unmapped_bytes");
    let held = read(c"generic.heap_size").saturating_sub(given_back);
    Counts { live, free: held.saturating_sub(live), mapped: None }
}

fn read(property: GetProperty, name: &CStr) -> Option<u64> {
    let mut value = 0_usize;
    // SAFETY: the name ends with a NUL, and the value is ours to write.
    let known = unsafe { property(name.as_ptr(), &raw mut value) };
    (known != 0).then_some(value as u64)
}
