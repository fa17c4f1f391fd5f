//! The functions behind the hook: the malloc that the process would call without leakline.
//!
//! A preloaded library is called before anybody could look them up, so each place begins with a function that looks all
//! of them up first. The look-up itself may allocate (in some libraries' dlsym): that is served from a few kilobytes of
//! our own, which are never given back.

use std::ffi::{CStr, c_int, c_long, c_void};
use std::marker::PhantomData;
use std::ptr::null_mut;
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};

use leakline_probing::loader;

use super::HOT;
use crate::mallinfo;

pub(super) type Malloc = unsafe extern "C" fn(usize) -> *mut c_void;
pub(super) type Calloc = unsafe extern "C" fn(usize, usize) -> *mut c_void;
pub(super) type Realloc = unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void;
pub(super) type ReallocArray = unsafe extern "C" fn(*mut c_void, usize, usize) -> *mut c_void;
pub(super) type Free = unsafe extern "C" fn(*mut c_void);
pub(super) type Align = unsafe extern "C" fn(usize, usize) -> *mut c_void;
pub(super) type PosixAlign = unsafe extern "C" fn(*mut *mut c_void, usize, usize) -> c_int;
pub(super) type Close = unsafe extern "C" fn(*mut c_void) -> c_int;
pub(super) type Map = unsafe extern "C" fn(*mut c_void, usize, c_int, c_int, c_int, i64) -> *mut c_void;
pub(super) type Unmap = unsafe extern "C" fn(*mut c_void, usize) -> c_int;
pub(super) type Remap = unsafe extern "C" fn(*mut c_void, usize, usize, c_int, *mut c_void) -> *mut c_void;

/// Where one of them is.
pub(super) struct Place<F>(AtomicPtr<c_void>, PhantomData<F>);

impl<F: Copy> Place<F> {
    const fn new(first: *mut c_void) -> Self {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        Self(AtomicPtr::new(first), PhantomData)
    }

    #[inline(always)]
    pub(super) fn get(&self) -> F {
        let address = self.0.load(Relaxed);
        // SAFETY: only functions of type `F` are stored, and one is from the beginning.
        unsafe { std::mem::transmute_copy::<*mut c_void, F>(&address) }
    }

    pub(super) fn address(&self) -> usize {
        self.0.load(Relaxed) as usize
    }

    /// `function` is one of type `F`.
    pub(super) fn replace(&self, function: *mut c_void) {
        self.0.store(function, Release);
    }
}

macro_rules! functions {
    ($($field:ident $name:literal $type:ty = $first:ident;)*) => {
        /// Every function that is hooked.
        pub(super) struct Functions { $(pub(super) $field: Place<$type>,)* }

        impl Functions {
            /// Those that look the others up.
            pub(super) const fn first() -> Self {
                Self { $($field: Place::new($first as *mut c_void),)* }
            }
        }

        /// Looks all of them up. What the process does not have stays what it was: nobody can call it.
        fn look_up(find: fn(&CStr) -> Option<std::ptr::NonNull<c_void>>) {
            $(if let Some(found) = find($name) {
                HOT.next.$field.0.store(found.as_ptr(), Relaxed);
            })*
        }

        /// Their names, and where the functions behind them are.
        pub(super) fn names() -> impl Iterator<Item = (&'static CStr, usize)> {
            [$(($name, HOT.next.$field.address()),)*].into_iter()
        }
    };
}

functions! {
    malloc c"malloc" Malloc = first_malloc;
    calloc c"calloc" Calloc = first_calloc;
    realloc c"realloc" Realloc = first_realloc;
    reallocarray c"reallocarray" ReallocArray = first_reallocarray;
    free c"free" Free = first_free;
    posix_memalign c"posix_memalign" PosixAlign = first_posix_memalign;
    aligned_alloc c"aligned_alloc" Align = first_aligned_alloc;
    memalign c"memalign" Align = first_memalign;
    valloc c"valloc" Malloc = first_valloc;
    pvalloc c"pvalloc" Malloc = first_pvalloc;
    mmap c"mmap" Map = system_mmap;
    mmap64 c"mmap64" Map = system_mmap;
    munmap c"munmap" Unmap = system_munmap;
    mremap c"mremap" Remap = system_mremap;
    dlclose c"dlclose" Close = first_dlclose;
}

static IS_PRELOADED: AtomicBool = AtomicBool::new(false);
static LOOKING: AtomicBool = AtomicBool::new(false);
static FOUND: AtomicBool = AtomicBool::new(false);

/// For a library whose own `malloc` the process calls: the functions behind are those that come after it.
pub(super) fn is_preloaded() -> bool {
    IS_PRELOADED.load(Relaxed)
}

/// Whether the process calls ours by name, and what is behind is known.
#[cfg(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn is_in_front() -> bool {
    is_preloaded() && FOUND.load(Acquire)
}

/// The malloc that is behind a preloaded library's; `None` where the process does not call ours by name.
pub(crate) fn behind() -> Option<std::ptr::NonNull<c_void>> {
    if !is_preloaded() || !FOUND.load(Acquire) {
        return None;
    }
    std::ptr::NonNull::new(HOT.next.malloc.address() as *mut c_void)
}

/// Looks the functions up for a process that does not call ours. To be called before anything is patched.
pub(super) fn find_for_patching(malloc: fn(&CStr) -> Option<std::ptr::NonNull<c_void>>) {
    if !FOUND.load(Acquire) {
        look_up(malloc);
        FOUND.store(true, Release);
    }
}

/// The first call of an exported function. False while somebody is at it: then the call comes from the look-up itself, or
/// from a thread that was started during it.
#[cold]
fn find() -> bool {
    if FOUND.load(Acquire) {
        return true;
    }
    if LOOKING.swap(true, Acquire) {
        return false;
    }
    look_up(behind_ours);
    // A program that brings a malloc of its own calls that; what comes here then are this library's own calls.
    IS_PRELOADED.store(loader::symbol(c"malloc").is_some_and(calls_ours), Relaxed);
    if EARLY_USED.load(Relaxed) > 0 {
        // Only now, and only then, must every free ask whether the block is one of ours.
        REAL_FREE.store(HOT.next.free.0.load(Relaxed), Relaxed);
        REAL_REALLOC.store(HOT.next.realloc.0.load(Relaxed), Relaxed);
        HOT.next.free.0.store(free_but_early as *mut c_void, Release);
        HOT.next.realloc.0.store(realloc_but_early as *mut c_void, Release);
    }
    FOUND.store(true, Release);
    true
}

/// What the process calls by `name`, or would call if our function of that name were not there.
fn behind_ours(name: &CStr) -> Option<std::ptr::NonNull<c_void>> {
    let found = loader::symbol(name)?;
    if is_ours(found) || mallinfo::is_stub(found) { loader::next_symbol(name) } else { Some(found) }
}

/// Whether ours is what the process calls by the name that is looked up as `found`.
fn calls_ours(found: std::ptr::NonNull<c_void>) -> bool {
    if mallinfo::is_stub(found) {
        // The stub calls the first that comes after the program: a library that is loaded late comes after libc.
        let next = loader::next_symbol(c"malloc");
        return next
            .is_some_and(|next| loader::comes_before(is_ours as *const () as usize, next.as_ptr() as usize));
    }
    is_ours(found)
}

fn is_ours(function: std::ptr::NonNull<c_void>) -> bool {
    let base = |address: usize| loader::base_of(address);
    base(function.as_ptr() as usize) == base(is_ours as *const () as usize)
}

unsafe extern "C" fn first_malloc(size: usize) -> *mut c_void {
    // SAFETY: the host's call, passed on.
    if find() { unsafe { HOT.next.malloc.get()(size) } } else { early(size, ALIGN) }
}

unsafe extern "C" fn first_calloc(count: usize, each: usize) -> *mut c_void {
    if find() {
        // SAFETY: the host's call, passed on.
        unsafe { HOT.next.calloc.get()(count, each) }
    } else {
        count.checked_mul(each).map_or(null_mut(), |size| early(size, ALIGN))
    }
}

unsafe extern "C" fn first_realloc(block: *mut c_void, size: usize) -> *mut c_void {
    // SAFETY: the host's call, passed on; without it, the block can only be an early one.
    if find() { unsafe { HOT.next.realloc.get()(block, size) } } else { unsafe { grow_early(block, size) } }
}

unsafe extern "C" fn first_reallocarray(block: *mut c_void, count: usize, each: usize) -> *mut c_void {
    let found = find();
    if found && HOT.next.reallocarray.address() != first_reallocarray as *const () as usize {
        // SAFETY: the host's call, passed on.
        return unsafe { HOT.next.reallocarray.get()(block, count, each) };
    }
    // SAFETY: as above.
    count.checked_mul(each).map_or(null_mut(), |size| unsafe { HOT.next.realloc.get()(block, size) })
}

unsafe extern "C" fn first_free(block: *mut c_void) {
    if find() {
        // SAFETY: the host's call, passed on.
        unsafe { HOT.next.free.get()(block) }
    }
}

unsafe extern "C" fn first_posix_memalign(into: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
    if find() {
        // SAFETY: the host's call, passed on.
        return unsafe { HOT.next.posix_memalign.get()(into, alignment, size) };
    }
    let block = early(size, alignment);
    // SAFETY: the caller's own place for the answer.
    unsafe { into.write(block) };
    if block.is_null() { libc::ENOMEM } else { 0 }
}

unsafe extern "C" fn first_dlclose(object: *mut c_void) -> c_int {
    if find() && HOT.next.dlclose.address() != first_dlclose as *const () as usize {
        // SAFETY: the host's call, passed on.
        return unsafe { HOT.next.dlclose.get()(object) };
    }
    -1
}

macro_rules! first {
    ($($name:ident $field:ident ($($argument:ident),*) $early:expr;)*) => {$(
        unsafe extern "C" fn $name($($argument: usize),*) -> *mut c_void {
            if find() && HOT.next.$field.address() != $name as *const () as usize {
                // SAFETY: the host's call, passed on.
                return unsafe { HOT.next.$field.get()($($argument),*) };
            }
            $early
        }
    )*};
}

first! {
    first_aligned_alloc aligned_alloc (alignment, size) early(size, alignment);
    first_memalign memalign (alignment, size) early(size, alignment);
    first_valloc valloc (size) early(size, 4096);
    first_pvalloc pvalloc (size) early(size, 4096);
}

// Mapping needs nothing of a library: until the others are looked up, and where they do not exist, the kernel is asked.

unsafe extern "C" fn system_mmap(
    address: *mut c_void,
    length: usize,
    access: c_int,
    flags: c_int,
    file: c_int,
    offset: i64,
) -> *mut c_void {
    #[cfg(target_pointer_width = "64")]
    const CALL: c_long = libc::SYS_mmap;
    #[cfg(target_pointer_width = "32")]
    const CALL: c_long = libc::SYS_mmap2;
    let offset = if cfg!(target_pointer_width = "64") { offset } else { offset >> 12 };
    // SAFETY: the host's call, passed on.
    (unsafe { libc::syscall(CALL, address, length, access, flags, file, offset as usize) }) as *mut c_void
}

unsafe extern "C" fn system_munmap(address: *mut c_void, length: usize) -> c_int {
    // SAFETY: the host's call, passed on.
    (unsafe { libc::syscall(libc::SYS_munmap, address, length) }) as c_int
}

unsafe extern "C" fn system_mremap(
    address: *mut c_void,
    length: usize,
    new_length: usize,
    flags: c_int,
    new_address: *mut c_void,
) -> *mut c_void {
    // SAFETY: the host's call, passed on.
    (unsafe { libc::syscall(libc::SYS_mremap, address, length, new_length, flags, new_address) })
        as *mut c_void
}

/// What malloc aligns to.
const ALIGN: usize = 16;
const EARLY_BYTES: usize = 64 << 10;

#[repr(align(4096))]
struct Early(std::cell::UnsafeCell<[u8; EARLY_BYTES]>);

// SAFETY: every byte is given out once, by an atomic counter.
unsafe impl Sync for Early {}

static EARLY: Early = Early(std::cell::UnsafeCell::new([0; EARLY_BYTES]));
static EARLY_USED: AtomicUsize = AtomicUsize::new(0);
static REAL_FREE: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static REAL_REALLOC: AtomicPtr<c_void> = AtomicPtr::new(null_mut());

/// Zeroed memory that is never given back, after a word with its size; null when there is no more.
fn early(size: usize, alignment: usize) -> *mut c_void {
    let base = EARLY.0.get() as usize;
    let mut used = EARLY_USED.load(Relaxed);
    loop {
        let at = (base + used + size_of::<usize>()).next_multiple_of(alignment.max(ALIGN)) - base;
        let Some(end) = at.checked_add(size).filter(|end| *end <= EARLY_BYTES) else { return null_mut() };
        match EARLY_USED.compare_exchange_weak(used, end, Relaxed, Relaxed) {
            Ok(_) => {
                let block = (base + at) as *mut usize;
                let before = block.wrapping_sub(1);
                // SAFETY: the word before the block is in the part that was just taken, and aligned as the block is.
                unsafe { before.write(size) };
                return block.cast();
            }
            Err(now) => used = now,
        }
    }
}

fn is_early(block: *mut c_void) -> bool {
    (block as usize).wrapping_sub(EARLY.0.get() as usize) < EARLY_BYTES
}

unsafe fn grow_early(block: *mut c_void, size: usize) -> *mut c_void {
    let grown = early(size, ALIGN);
    // SAFETY: the caller gives an early block or null.
    unsafe { copy_early(block, grown, size) };
    grown
}

/// Copies an early block to where it goes.
unsafe fn copy_early(block: *mut c_void, grown: *mut c_void, size: usize) {
    if is_early(block) && !grown.is_null() {
        // SAFETY: the word before an early block has its size.
        let old = unsafe { block.cast::<usize>().wrapping_sub(1).read() };
        // SAFETY: both blocks are at least as long, and are not the same.
        unsafe { std::ptr::copy_nonoverlapping(block.cast::<u8>(), grown.cast::<u8>(), old.min(size)) };
    }
}

unsafe extern "C" fn free_but_early(block: *mut c_void) {
    if !is_early(block) {
        let free = REAL_FREE.load(Relaxed);
        // SAFETY: it was stored before this function could be called.
        let free = unsafe { std::mem::transmute::<*mut c_void, Free>(free) };
        // SAFETY: the host's call, passed on.
        unsafe { free(block) }
    }
}

unsafe extern "C" fn realloc_but_early(block: *mut c_void, size: usize) -> *mut c_void {
    if is_early(block) {
        // SAFETY: an ordinary call.
        let grown = unsafe { HOT.next.malloc.get()(size) };
        // SAFETY: the block is an early one.
        unsafe { copy_early(block, grown, size) };
        return grown;
    }
    let realloc = REAL_REALLOC.load(Relaxed);
    // SAFETY: it was stored before this function could be called.
    let realloc = unsafe { std::mem::transmute::<*mut c_void, Realloc>(realloc) };
    // SAFETY: the host's call, passed on.
    unsafe { realloc(block, size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_blocks_are_aligned_apart_and_keep_what_is_in_them() {
        let one = early(5, 16).cast::<u8>();
        let other = early(100, 256).cast::<u8>();
        assert!((one as usize).is_multiple_of(16) && (other as usize).is_multiple_of(256));
        assert!(other as usize - one as usize >= 5);
        assert!(is_early(one.cast()) && is_early(other.cast()) && !is_early(null_mut()));
        // SAFETY: five bytes are the block's own.
        unsafe { one.copy_from("hallo".as_ptr(), 5) };
        // SAFETY: it is an early block.
        let grown = unsafe { grow_early(one.cast(), 50) }.cast::<u8>();
        // SAFETY: fifty bytes are the block's own.
        assert_eq!(unsafe { std::slice::from_raw_parts(grown, 5) }, b"hallo");
        assert!(early(EARLY_BYTES, 16).is_null() && early(usize::MAX, 16).is_null());
    }
}
