//! A heap of leakline's own, so that what the agent holds never shows up in the host's malloc, and is counted exactly.
//! Never calls the host's malloc, and takes no lock but its own.
//!
//! Fork: there is one lock. A child that is forked while another thread of ours holds it would wait for ever at its first
//! allocation (in an exit handler of ours, say), so [`OwnHeap::survive_forks`] takes the lock around every fork. Nothing is
//! called while the lock is held but the kernel, so a fork waits for microseconds at most. `vfork` and `posix_spawn` run no
//! handlers and need none: their children run none of our code before `exec`.
//!
//! Memory comes from the kernel by system calls, not by the C library's `mmap`: that may be hooked, by leakline itself, and
//! the hook allocates here.
//!
//! When the kernel gives no more, Rust aborts the process, which is the host. So a reserve serves then, and
//! [`is_out_of_memory`] tells the agent to end. The reserve is a part of the library's own zeroed data: mapped with the
//! library, so that it cannot fail to be there, and without a page behind it until it is used. (A limit refuses mappings, not
//! pages, so touching it early would only cost.) When the reserve is spent too, a thread of leakline's waits a moment for
//! memory and then ends, at once and without unwinding, which would allocate. On a thread of the host's there is nothing
//! left but Rust's abort: hooks on it must look at [`is_out_of_memory`] first, and pass through.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::Relaxed, Ordering::Release};

static OUT_OF_MEMORY: AtomicBool = AtomicBool::new(false);
/// A `fn()`, or null.
static GIVE_BACK: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The heap, for `#[global_allocator]` in the libraries that are loaded into a host.
///
/// Each library that is linked on its own has a heap and counters of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnHeap;

impl OwnHeap {
    /// Live bytes: what was asked for and not given back.
    pub fn held_bytes() -> u64 {
        LIVE.load(Relaxed) as u64
    }

    /// The most that was ever live, bytes.
    pub fn peak_bytes() -> u64 {
        PEAK.load(Relaxed) as u64
    }

    /// Keeps the heap usable in forked children. To be called once, before threads are started; later calls do nothing.
    pub fn survive_forks() {
        blocks::survive_forks();
    }
}

/// Whether the kernel refused memory once: the agent ends then, and hooks pass through without allocating. Never false again.
#[inline]
pub fn is_out_of_memory() -> bool {
    OUT_OF_MEMORY.load(Relaxed)
}

/// Called on a thread of leakline's right before it ends for want of memory: what it holds and the host waits for (such as
/// an interpreter's lock) must be given back here, without allocating. One for each library; the last one given counts.
pub fn before_thread_ends(give_back: fn()) {
    GIVE_BACK.store(give_back as *mut (), Release);
}

fn grew(by: usize) {
    let live = LIVE.fetch_add(by, Relaxed).wrapping_add(by);
    // The peak rarely moves, so it is mostly one load.
    if live > PEAK.load(Relaxed) {
        PEAK.fetch_max(live, Relaxed);
    }
}

// SAFETY: every call is passed on unchanged; counting touches no memory of the caller's.
unsafe impl GlobalAlloc for OwnHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        let block = unsafe { blocks::allocate(layout) };
        if !block.is_null() {
            grew(layout.size());
        }
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        let block = unsafe { blocks::allocate_zeroed(layout) };
        if !block.is_null() {
            grew(layout.size());
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise that `block` came from here with `layout` is passed on.
        unsafe { blocks::free(block, layout) };
        LIVE.fetch_sub(layout.size(), Relaxed);
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promises about `block`, `layout` and `new_size` are passed on.
        let moved = unsafe { blocks::reallocate(block, layout, new_size) };
        if !moved.is_null() {
            grew(new_size);
            LIVE.fetch_sub(layout.size(), Relaxed);
        }
        moved
    }
}

/// Where the blocks come from.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod blocks {
    use std::alloc::Layout;
    use std::cell::UnsafeCell;
    use std::ptr::null_mut;
    use std::sync::Once;
    use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Relaxed};
    use std::time::Duration;

    use dlmalloc::{Allocator, Dlmalloc};

    use super::{GIVE_BACK, OUT_OF_MEMORY};
    use crate::sampler::lock::Lock;

    static HEAP: Lock<Dlmalloc<Kernel>> = Lock::new(Dlmalloc::new_with_allocator(Kernel));

    #[cfg(target_pointer_width = "64")]
    const SYS_MMAP: libc::c_long = libc::SYS_mmap;
    /// Its offset is in pages; ours is 0.
    #[cfg(target_pointer_width = "32")]
    const SYS_MMAP: libc::c_long = libc::SYS_mmap2;

    /// As in linux/mman.h; the crate libc does not have it for Android.
    const MREMAP_MAYMOVE: libc::c_int = 1;

    /// What serves when the kernel gives no more: what is in hand at that moment, and an orderly end. A snapshot's encoding
    /// takes a few hundred KiB.
    const RESERVE_BYTES: usize = 1 << 20;

    /// `EXTERN_BIT` of dlmalloc, which keeps it from giving the region back, and ours, which says so once more.
    const RESERVED: u32 = 0b11;

    /// Another thread of ours that ends, or the host, may give back enough meanwhile.
    const PATIENCE: Duration = Duration::from_secs(1);
    const NAP: Duration = Duration::from_millis(20);

    #[repr(align(16384))]
    struct Reserve(UnsafeCell<[u8; RESERVE_BYTES]>);

    // SAFETY: it is handed out once, by `take_reserve`, and is the heap's from then on.
    unsafe impl Sync for Reserve {}

    static RESERVE: Reserve = Reserve(UnsafeCell::new([0; RESERVE_BYTES]));
    static RESERVE_TAKEN: AtomicBool = AtomicBool::new(false);

    /// The kernel has refused `size` bytes.
    fn take_reserve(size: usize) -> (*mut u8, usize, u32) {
        OUT_OF_MEMORY.store(true, Relaxed);
        if size > RESERVE_BYTES || RESERVE_TAKEN.swap(true, Acquire) {
            return (null_mut(), 0, 0);
        }
        (RESERVE.0.get().cast(), RESERVE_BYTES, RESERVED)
    }

    /// Memory by system calls.
    struct Kernel;

    // SAFETY: regions are the kernel's, of the sizes asked for, and nobody else's.
    unsafe impl Allocator for Kernel {
        fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: a new mapping at an address of the kernel's choice.
            let region = unsafe { libc::syscall(SYS_MMAP, 0_usize, size, access, kind, -1_isize, 0_usize) };
            if region == -1 { take_reserve(size) } else { (region as *mut u8, size, 0) }
        }

        fn remap(&self, region: *mut u8, old: usize, new: usize, can_move: bool) -> *mut u8 {
            let flags = if can_move { MREMAP_MAYMOVE } else { 0 };
            // SAFETY: a region of this heap's.
            let moved = unsafe { libc::syscall(libc::SYS_mremap, region, old, new, flags) };
            if moved == -1 { null_mut() } else { moved as *mut u8 }
        }

        fn free_part(&self, region: *mut u8, old: usize, new: usize) -> bool {
            // SAFETY: the end of a region of this heap's, which is not in use.
            (unsafe { libc::syscall(libc::SYS_munmap, region.wrapping_add(new), old - new) }) == 0
        }

        fn free(&self, region: *mut u8, size: usize) -> bool {
            // SAFETY: a region of this heap's, which is not in use.
            (unsafe { libc::syscall(libc::SYS_munmap, region, size) }) == 0
        }

        fn can_release_part(&self, flags: u32) -> bool {
            // As dlmalloc passes them: without its own bit.
            flags != RESERVED >> 1
        }

        fn allocates_zeros(&self) -> bool {
            true
        }

        fn page_size(&self) -> usize {
            if cfg!(any(target_arch = "aarch64", target_os = "android")) { 16_384 } else { 4096 }
        }
    }

    pub(super) unsafe fn allocate(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        or_end(|| HEAP.with(|heap| unsafe { heap.malloc(layout.size(), layout.align()) }))
    }

    pub(super) unsafe fn allocate_zeroed(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        or_end(|| HEAP.with(|heap| unsafe { heap.calloc(layout.size(), layout.align()) }))
    }

    pub(super) unsafe fn free(block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise that `block` came from here with `layout` is passed on.
        HEAP.with(|heap| unsafe { heap.free(block, layout.size(), layout.align()) });
    }

    pub(super) unsafe fn reallocate(block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promises about `block`, `layout` and `new_size` are passed on.
        or_end(|| HEAP.with(|heap| unsafe { heap.realloc(block, layout.size(), layout.align(), new_size) }))
    }

    /// What `ask` gives. Null for a thread of the host's alone; one of ours does not come back from here without memory.
    #[inline]
    fn or_end(ask: impl Fn() -> *mut u8) -> *mut u8 {
        let block = ask();
        if block.is_null() { again_or_end(&ask) } else { block }
    }

    #[cold]
    fn again_or_end(ask: &dyn Fn() -> *mut u8) -> *mut u8 {
        if !on_a_thread_of_ours() {
            return null_mut();
        }
        for _ in 0..PATIENCE.as_millis() / NAP.as_millis() {
            std::thread::sleep(NAP);
            let block = ask();
            if !block.is_null() {
                return block;
            }
        }
        let give_back = GIVE_BACK.load(Acquire);
        if !give_back.is_null() {
            // SAFETY: only `before_thread_ends` writes here, and it writes a `fn()`.
            let give_back = unsafe { std::mem::transmute::<*mut (), fn()>(give_back) };
            give_back();
        }
        // Whoever joins this thread is woken by the kernel. Its stack stays mapped, which the process's end takes care of.
        // SAFETY: ends the calling thread, which is leakline's own.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
        null_mut()
    }

    /// Every thread of ours is named so, by us. The name is the kernel's, so asking for it allocates nothing.
    fn on_a_thread_of_ours() -> bool {
        let mut name = [0_u8; 16];
        // SAFETY: the kernel writes at most 16 bytes.
        unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
        name.starts_with(b"leakline")
    }

    pub(super) fn survive_forks() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            // SAFETY: the handlers only take and give back the heap's own lock, and `Once` registers them a single time.
            let _ = unsafe { libc::pthread_atfork(Some(before), Some(after), Some(after)) };
        });
    }

    extern "C" fn before() {
        HEAP.before_fork();
    }

    extern "C" fn after() {
        HEAP.after_fork();
    }
}

/// Where the blocks come from.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod blocks {
    use std::alloc::{GlobalAlloc as _, Layout};

    use dlmalloc::GlobalDlmalloc;

    pub(super) unsafe fn allocate(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { GlobalDlmalloc.alloc(layout) }
    }

    pub(super) unsafe fn allocate_zeroed(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { GlobalDlmalloc.alloc_zeroed(layout) }
    }

    pub(super) unsafe fn free(block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise that `block` came from here with `layout` is passed on.
        unsafe { GlobalDlmalloc.dealloc(block, layout) };
    }

    pub(super) unsafe fn reallocate(block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promises about `block`, `layout` and `new_size` are passed on.
        unsafe { GlobalDlmalloc.realloc(block, layout, new_size) }
    }

    pub(super) fn survive_forks() {
        // SAFETY: the handlers only lock and unlock the heap's own lock.
        #[cfg(unix)]
        unsafe {
            dlmalloc::enable_alloc_after_fork()
        };
    }
}
