//! The functions that the process calls instead of malloc's own. At rest: a load, a comparison and two jumps. While
//! sampling, an allocation that is no sample costs a subtraction and a jump, and the free of a block that was not sampled
//! three or four loads.
//!
//! What is due goes to a function of its own by a jump, so that its frame is the only one between the host's and the
//! unwinder's first.

use std::ffi::{c_int, c_void};
use std::sync::atomic::Ordering::Relaxed;

use leakline_probing::sampler::thread::Thread;

use super::table::write::may_be_sample;
use super::{GATE, HOT, asking, maps, record, rests, rests_here};
use crate::unwind::Registers;

/// Whether an allocation needs no more than this: it was counted, and is no sample.
#[inline(always)]
fn is_counted(size: usize) -> bool {
    size < GATE.simple_below.load(Relaxed) && !Thread::current().spend(size)
}

/// What is due: an allocation that may be a sample, or one that is noticed, and was not counted then.
#[inline(always)]
fn due(size: usize, from: Registers, call: impl FnOnce() -> *mut c_void) -> *mut c_void {
    if !asking::is_wanted() {
        return allocate(size, from, call);
    }
    let block = if Thread::current().spend(size) { allocate(size, from, call) } else { call() };
    asking::noticed(from);
    block
}

/// An allocation that may be a sample. What is allocated inside `call` is part of it.
#[inline(always)]
fn allocate(size: usize, from: Registers, call: impl FnOnce() -> *mut c_void) -> *mut c_void {
    let thread = Thread::current();
    let Some(inside) = thread.enter() else { return call() };
    let left = thread.left();
    let block = call();
    thread.put_left(left);
    drop(inside);
    if left < 0 && !block.is_null() {
        record::allocated(block as usize, size, from);
    }
    block
}

macro_rules! allocators {
    ($($(#[$docs:meta])* $name:ident $due:ident ($($argument:ident: $type:ty),*) $size:expr;)*) => {$(
        $(#[$docs])*
        ///
        /// # Safety
        /// As the C library's.
        #[inline(always)]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> *mut c_void {
            if is_counted($size) {
                // SAFETY: the host's call, passed on.
                return unsafe { HOT.next.$name.get()($($argument),*) };
            }
            // SAFETY: as above.
            unsafe { $due($($argument),*) }
        }

        #[cold]
        #[inline(never)]
        unsafe extern "C" fn $due($($argument: $type),*) -> *mut c_void {
            if rests_here() {
                // SAFETY: the host's call, passed on.
                return unsafe { HOT.next.$name.get()($($argument),*) };
            }
            // SAFETY: as above.
            due($size, Registers::here(), || unsafe { HOT.next.$name.get()($($argument),*) })
        }
    )*};
}

allocators! {
    /// `malloc`, hooked.
    malloc malloc_due (size: usize) size;
    /// `calloc`, hooked.
    calloc calloc_due (count: usize, each: usize) count.saturating_mul(each);
    /// `aligned_alloc`, hooked.
    aligned_alloc aligned_alloc_due (alignment: usize, size: usize) size;
    /// `memalign`, hooked.
    memalign memalign_due (alignment: usize, size: usize) size;
    /// `valloc`, hooked.
    valloc valloc_due (size: usize) size;
    /// `pvalloc`, hooked.
    pvalloc pvalloc_due (size: usize) size;
}

/// `posix_memalign`, hooked.
///
/// # Safety
/// As the C library's.
#[inline(always)]
pub unsafe extern "C" fn posix_memalign(into: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
    if is_counted(size) {
        // SAFETY: the host's call, passed on.
        return unsafe { HOT.next.posix_memalign.get()(into, alignment, size) };
    }
    // SAFETY: as above.
    unsafe { posix_memalign_due(into, alignment, size) }
}

#[cold]
#[inline(never)]
unsafe extern "C" fn posix_memalign_due(into: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
    let mut outcome = 0;
    let call = || {
        // SAFETY: the host's call, passed on.
        outcome = unsafe { HOT.next.posix_memalign.get()(into, alignment, size) };
        // SAFETY: where it succeeded, the block was written there.
        if outcome == 0 { unsafe { *into } } else { std::ptr::null_mut() }
    };
    if rests_here() {
        let mut call = call;
        call();
    } else {
        due(size, Registers::here(), call);
    }
    outcome
}

/// `realloc`, hooked.
///
/// # Safety
/// As the C library's.
#[inline(always)]
pub unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    if !may_be_sample(block as usize) && is_counted(size) {
        // SAFETY: the host's call, passed on.
        return unsafe { HOT.next.realloc.get()(block, size) };
    }
    // SAFETY: as above.
    unsafe { realloc_due(block, size) }
}

#[cold]
#[inline(never)]
unsafe extern "C" fn realloc_due(block: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the host's call, passed on.
    let call = || unsafe { HOT.next.realloc.get()(block, size) };
    if rests_here() { call() } else { reallocate(block, size, Registers::here(), call) }
}

/// `reallocarray`, hooked.
///
/// # Safety
/// As the C library's.
#[inline(always)]
pub unsafe extern "C" fn reallocarray(block: *mut c_void, count: usize, each: usize) -> *mut c_void {
    if !may_be_sample(block as usize) && is_counted(count.saturating_mul(each)) {
        // SAFETY: the host's call, passed on.
        return unsafe { HOT.next.reallocarray.get()(block, count, each) };
    }
    // SAFETY: as above.
    unsafe { reallocarray_due(block, count, each) }
}

#[cold]
#[inline(never)]
unsafe extern "C" fn reallocarray_due(block: *mut c_void, count: usize, each: usize) -> *mut c_void {
    // SAFETY: the host's call, passed on.
    let call = || unsafe { HOT.next.reallocarray.get()(block, count, each) };
    let size = count.saturating_mul(each);
    if rests_here() { call() } else { reallocate(block, size, Registers::here(), call) }
}

/// A block that moves, or grows where it is. One that is not marked was counted on the way here.
#[inline(always)]
fn reallocate(
    block: *mut c_void,
    size: usize,
    from: Registers,
    call: impl FnOnce() -> *mut c_void,
) -> *mut c_void {
    if !may_be_sample(block as usize) {
        return due(size, from, call);
    }
    // Before the call: as soon as it has freed the old block, another thread may get the same address.
    let taken = record::freed(block as usize);
    Thread::current().spend(size);
    let new = allocate(size, from, call);
    // A block that is made nothing of is freed; any other failure leaves it as it was.
    if new.is_null() && size > 0 {
        record::put_back(block as usize, taken);
    }
    new
}

/// `free`, hooked.
///
/// # Safety
/// As the C library's.
#[inline(always)]
pub unsafe extern "C" fn free(block: *mut c_void) {
    if may_be_sample(block as usize) || asking::is_wanted() {
        // SAFETY: the host's call, passed on.
        return unsafe { free_due(block) };
    }
    // SAFETY: as above.
    unsafe { HOT.next.free.get()(block) }
}

#[cold]
#[inline(never)]
unsafe extern "C" fn free_due(block: *mut c_void) {
    if may_be_sample(block as usize) {
        record::freed(block as usize);
    }
    // SAFETY: the host's call, passed on.
    unsafe { HOT.next.free.get()(block) }
    if asking::is_wanted() && !rests() {
        asking::noticed(Registers::here());
    }
}

/// `mmap`, hooked.
///
/// # Safety
/// As the C library's.
#[inline(never)]
pub unsafe extern "C" fn mmap(
    address: *mut c_void,
    length: usize,
    access: c_int,
    flags: c_int,
    file: c_int,
    offset: i64,
) -> *mut c_void {
    // SAFETY: the host's call, passed on.
    let call = || unsafe { HOT.next.mmap.get()(address, length, access, flags, file, offset) };
    if rests_here() {
        return call();
    }
    maps::map(maps::Request { address: address as usize, length, access, flags }, Registers::here(), call)
}

/// `munmap`, hooked.
///
/// # Safety
/// As the C library's.
#[inline(never)]
pub unsafe extern "C" fn munmap(address: *mut c_void, length: usize) -> c_int {
    // SAFETY: the host's call, passed on.
    let call = || unsafe { HOT.next.munmap.get()(address, length) };
    if rests() { call() } else { maps::unmap(address as usize, length, call) }
}

/// `mremap`, hooked. The last argument is there for some flags only; what is passed on otherwise is never looked at.
///
/// # Safety
/// As the C library's.
#[inline(never)]
pub unsafe extern "C" fn mremap(
    address: *mut c_void,
    length: usize,
    new_length: usize,
    flags: c_int,
    new_address: *mut c_void,
) -> *mut c_void {
    // SAFETY: the host's call, passed on.
    let call = || unsafe { HOT.next.mremap.get()(address, length, new_length, flags, new_address) };
    if rests() {
        return call();
    }
    maps::remap((address as usize, length), new_length, Registers::here(), call)
}

/// `dlclose`, hooked: what was learned of addresses may not hold any more.
///
/// # Safety
/// As the C library's.
#[inline(never)]
pub unsafe extern "C" fn dlclose(object: *mut c_void) -> c_int {
    // SAFETY: the host's call, passed on.
    let outcome = unsafe { HOT.next.dlclose.get()(object) };
    if !rests() {
        super::unloaded();
    }
    outcome
}
