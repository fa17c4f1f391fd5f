//! Malloc for leakline's own threads in the host: between the hook and the malloc behind it, from the moment on at which there
//! is such a thread. A host without one never comes here.
//!
//! Where it stands, malloc and free cost two loads, a comparison and a jump more each: some 2 ns for both together, in hosts
//! that have a lane. An arena of glibc's would cost 64 MiB of address space instead (128 MiB while it is made).
//!
//! Never calls the malloc behind on a guest's thread, unless the guests' own memory is full.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use leakline_probing::guests;
use leakline_probing::loader;

use super::HOT;
use super::next::{Align, Calloc, Free, Malloc, PosixAlign, Realloc, ReallocArray, is_in_front};

const PAGE: usize = 4096;

/// Has what the calling thread asks of malloc come from memory of leakline's own, for good. To be called first thing on a
/// thread of ours. Does nothing where malloc is not called through this library's functions.
pub fn become_guest() {
    // Nor is it the host's doing, whatever it asks for.
    leakline_probing::sampler::thread::Thread::current().leave_out();
    static ONCE: Once = Once::new();
    if !is_in_front() {
        return;
    }
    ONCE.call_once(stand_between);
    guests::become_one();
}

/// Has what leakline's threads allocate stay usable in forked children, for those that get such threads of their own.
pub fn guests_survive_forks() {
    guests::survive_forks();
}

macro_rules! behind {
    ($($name:ident $constant:ident $type:ty = $ours:ident;)*) => {
        $(
            static $constant: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

            #[inline(always)]
            fn $name() -> $type {
                // SAFETY: a function of that type was stored before ours of the same name could be called.
                unsafe { std::mem::transmute::<*mut c_void, $type>($constant.load(Relaxed)) }
            }
        )*

        fn stand_between() {
            // All of what is behind is known before anything of ours is called: some call others.
            $($constant.store(HOT.next.$name.address() as *mut c_void, Release);)*
            std::sync::atomic::fence(Acquire);
            $(HOT.next.$name.replace($ours as *mut c_void);)*
        }
    };
}

behind! {
    free FREE Free = guest_free;
    realloc REALLOC Realloc = guest_realloc;
    reallocarray REALLOCARRAY ReallocArray = guest_reallocarray;
    malloc MALLOC Malloc = guest_malloc;
    calloc CALLOC Calloc = guest_calloc;
    posix_memalign POSIX_MEMALIGN PosixAlign = guest_posix_memalign;
    aligned_alloc ALIGNED_ALLOC Align = guest_aligned_alloc;
    memalign MEMALIGN Align = guest_memalign;
    valloc VALLOC Malloc = guest_valloc;
    pvalloc PVALLOC Malloc = guest_pvalloc;
}

/// Whether a call is more than one to be passed on: a guest's, or the first of the host's after a guest has freed a block of
/// the host's.
#[inline(always)]
fn is_special() -> bool {
    guests::is_one() | guests::is_owing()
}

/// A guest's block. On other threads null, after the host's blocks that guests have freed were freed here.
#[cold]
#[inline(never)]
fn own(size: usize, alignment: usize) -> *mut c_void {
    if guests::is_one() {
        return guests::allocate(size, alignment).cast();
    }
    // SAFETY: each is a block of malloc's that was handed over to be freed once.
    guests::pay(|block| unsafe { free()(block.cast()) });
    null_mut()
}

macro_rules! allocators {
    ($($ours:ident $name:ident ($($argument:ident),*) $size:expr, $alignment:expr;)*) => {$(
        unsafe extern "C" fn $ours($($argument: usize),*) -> *mut c_void {
            if is_special() {
                let block = own($size, $alignment);
                if !block.is_null() {
                    return block;
                }
            }
            // SAFETY: the host's call, passed on.
            unsafe { $name()($($argument),*) }
        }
    )*};
}

allocators! {
    guest_malloc malloc (size) size, 1;
    guest_aligned_alloc aligned_alloc (alignment, size) size, valid(alignment);
    guest_memalign memalign (alignment, size) size, valid(alignment);
    guest_valloc valloc (size) size, PAGE;
    guest_pvalloc pvalloc (size) size.saturating_add(PAGE - 1) & !(PAGE - 1), PAGE;
}

fn valid(alignment: usize) -> usize {
    alignment.checked_next_power_of_two().unwrap_or(usize::MAX)
}

unsafe extern "C" fn guest_calloc(count: usize, each: usize) -> *mut c_void {
    if is_special()
        && let Some(size) = count.checked_mul(each)
    {
        let block = own(size, 1);
        if !block.is_null() {
            // SAFETY: that many bytes are the block's own.
            unsafe { block.cast::<u8>().write_bytes(0, size) };
            return block;
        }
    }
    // SAFETY: the host's call, passed on.
    unsafe { calloc()(count, each) }
}

unsafe extern "C" fn guest_posix_memalign(into: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
    if is_special() && alignment.is_power_of_two() && alignment.is_multiple_of(size_of::<usize>()) {
        let block = own(size, alignment);
        if !block.is_null() {
            // SAFETY: the caller's own place for the answer.
            unsafe { into.write(block) };
            return 0;
        }
    }
    // SAFETY: the host's call, passed on.
    unsafe { posix_memalign()(into, alignment, size) }
}

unsafe extern "C" fn guest_free(block: *mut c_void) {
    if guests::is_block(block.cast()) | guests::is_one() {
        // SAFETY: the caller's promise is passed on.
        return unsafe { free_special(block) };
    }
    // SAFETY: the host's call, passed on.
    unsafe { free()(block) }
}

#[cold]
#[inline(never)]
unsafe fn free_special(block: *mut c_void) {
    if guests::is_block(block.cast()) {
        // SAFETY: the host frees it once.
        unsafe { guests::free(block.cast()) };
    } else if !block.is_null() {
        // SAFETY: the host's own block, freed once.
        unsafe { guests::owe(block.cast()) };
    }
}

unsafe extern "C" fn guest_realloc(block: *mut c_void, size: usize) -> *mut c_void {
    let is_guests = guests::is_block(block.cast());
    if !is_guests && !guests::is_one() {
        // SAFETY: the host's call, passed on.
        return unsafe { realloc()(block, size) };
    }
    // SAFETY: the caller's promises are passed on.
    unsafe { move_block(block, size, is_guests) }
}

unsafe extern "C" fn guest_reallocarray(block: *mut c_void, count: usize, each: usize) -> *mut c_void {
    let is_guests = guests::is_block(block.cast());
    match count.checked_mul(each) {
        // SAFETY: the caller's promises are passed on.
        Some(size) if is_guests || guests::is_one() => unsafe { move_block(block, size, is_guests) },
        // SAFETY: the host's call, passed on; where it is too large, the block is not looked at.
        _ => unsafe { reallocarray()(block, count, each) },
    }
}

/// To a new block: a guest's on a guest's thread, otherwise the host's.
#[cold]
unsafe fn move_block(block: *mut c_void, size: usize, is_guests: bool) -> *mut c_void {
    if block.is_null() {
        // SAFETY: an ordinary call.
        return unsafe { guest_malloc(size) };
    }
    if size == 0 {
        // SAFETY: the caller's promise; as the C library's.
        unsafe { guest_free(block) };
        return null_mut();
    }
    // SAFETY: the caller's promise: the block was not freed.
    let old = if is_guests { unsafe { guests::usable(block.cast()) } } else { unsafe { usable(block) } };
    if old >= size && old / 2 <= size {
        return block;
    }
    // SAFETY: an ordinary call.
    let new = unsafe { guest_malloc(size) };
    if new.is_null() {
        return null_mut();
    }
    // SAFETY: both are at least as long, and are not the same.
    unsafe { std::ptr::copy_nonoverlapping(block.cast::<u8>(), new.cast::<u8>(), old.min(size)) };
    // SAFETY: the caller's promise: the block is given up.
    unsafe { guest_free(block) };
    new
}

/// Bytes of a block of the malloc behind, which looks at the block only.
unsafe fn usable(block: *mut c_void) -> usize {
    static USABLE: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
    let mut found = USABLE.load(Relaxed);
    if found.is_null() {
        // A malloc comes with it, or a block of it cannot be moved.
        let Some(symbol) = loader::next_symbol(c"malloc_usable_size") else { return 0 };
        found = symbol.as_ptr();
        USABLE.store(found, Relaxed);
    }
    // SAFETY: this name has had this signature in every C library.
    let call =
        unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void) -> usize>(found) };
    // SAFETY: the caller's promise.
    unsafe { call(block) }
}
