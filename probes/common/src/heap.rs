//! A heap of leakline's own, so that what the agent holds never shows up in the host's malloc, and is counted exactly.
//! Never calls the host's malloc, and takes no lock but its own.
//!
//! Fork: dlmalloc has one lock. A child that is forked while another thread of ours holds it would wait for ever at its
//! first allocation (in an exit handler of ours, say), so [`OwnHeap::survive_forks`] takes the lock around every fork.
//! Nothing is called while the lock is held but mmap, so a fork waits for microseconds at most. `vfork` and
//! `posix_spawn` run no handlers and need none: their children run none of our code before `exec`.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use dlmalloc::GlobalDlmalloc;

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
        static ONCE: Once = Once::new();
        // SAFETY: the handlers only lock and unlock the heap's own lock, and `Once` registers them a single time.
        #[cfg(unix)]
        ONCE.call_once(|| unsafe { dlmalloc::enable_alloc_after_fork() });
    }
}

fn grew(by: usize) {
    let live = LIVE.fetch_add(by, Relaxed).wrapping_add(by);
    // The peak rarely moves, so it is mostly one load.
    if live > PEAK.load(Relaxed) {
        PEAK.fetch_max(live, Relaxed);
    }
}

// SAFETY: every call is passed on to dlmalloc unchanged; counting touches no memory of the caller's.
unsafe impl GlobalAlloc for OwnHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        let block = unsafe { GlobalDlmalloc.alloc(layout) };
        if !block.is_null() {
            grew(layout.size());
        }
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        let block = unsafe { GlobalDlmalloc.alloc_zeroed(layout) };
        if !block.is_null() {
            grew(layout.size());
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise that `block` came from here with `layout` is passed on.
        unsafe { GlobalDlmalloc.dealloc(block, layout) };
        LIVE.fetch_sub(layout.size(), Relaxed);
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promises about `block`, `layout` and `new_size` are passed on.
        let moved = unsafe { GlobalDlmalloc.realloc(block, layout, new_size) };
        if !moved.is_null() {
            grew(new_size);
            LIVE.fetch_sub(layout.size(), Relaxed);
        }
        moved
    }
}
