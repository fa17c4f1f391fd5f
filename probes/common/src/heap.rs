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

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

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
    use std::ptr::null_mut;
    use std::sync::Once;

    use dlmalloc::{Allocator, Dlmalloc};

    use crate::sampler::lock::Lock;

    static HEAP: Lock<Dlmalloc<Kernel>> = Lock::new(Dlmalloc::new_with_allocator(Kernel));

    #[cfg(target_pointer_width = "64")]
    const SYS_MMAP: libc::c_long = libc::SYS_mmap;
    /// Its offset is in pages; ours is 0.
    #[cfg(target_pointer_width = "32")]
    const SYS_MMAP: libc::c_long = libc::SYS_mmap2;

    /// As in linux/mman.h; the crate libc does not have it for Android.
    const MREMAP_MAYMOVE: libc::c_int = 1;

    /// Memory by system calls.
    struct Kernel;

    // SAFETY: regions are the kernel's, of the sizes asked for, and nobody else's.
    unsafe impl Allocator for Kernel {
        fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: a new mapping at an address of the kernel's choice.
            let region = unsafe { libc::syscall(SYS_MMAP, 0_usize, size, access, kind, -1_isize, 0_usize) };
            if region == -1 { (null_mut(), 0, 0) } else { (region as *mut u8, size, 0) }
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

        fn can_release_part(&self, _: u32) -> bool {
            true
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
        HEAP.with(|heap| unsafe { heap.malloc(layout.size(), layout.align()) })
    }

    pub(super) unsafe fn allocate_zeroed(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        HEAP.with(|heap| unsafe { heap.calloc(layout.size(), layout.align()) })
    }

    pub(super) unsafe fn free(block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise that `block` came from here with `layout` is passed on.
        HEAP.with(|heap| unsafe { heap.free(block, layout.size(), layout.align()) });
    }

    pub(super) unsafe fn reallocate(block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promises about `block`, `layout` and `new_size` are passed on.
        HEAP.with(|heap| unsafe { heap.realloc(block, layout.size(), layout.align(), new_size) })
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
