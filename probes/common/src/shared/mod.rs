//! Memory that a host and its watcher have in common, and the ways to talk through it.
//!
//! The watcher is a fork of the host without exec, so a mapping that was made before it stands at the same address on both
//! sides. Either side may be killed, stopped or damaged at any instruction: every wait has a time-out, every length that is
//! read is checked, and no lock is shared between the two.
//!
//! Never here: a descriptor, a pointer that is read from shared memory, the host's malloc.

pub mod anew;
pub mod futex;
mod lanes;
mod mailbox;
pub mod mapped;

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

pub use lanes::{LANE_NAMES, Lane, Lanes};
pub use mailbox::{CallError, MOST_BYTES, Mailbox, Reply};

/// Who sees a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// This process; a forked child has a copy.
    Private,
    /// This process and those that are forked from it.
    WithWatcher,
}

#[cfg(target_pointer_width = "64")]
const SYS_MMAP: libc::c_long = libc::SYS_mmap;
/// Its offset is in pages; ours is 0.
#[cfg(target_pointer_width = "32")]
const SYS_MMAP: libc::c_long = libc::SYS_mmap2;

/// Maps so many bytes of zeroes for as long as the process lives. The kernel backs only what is touched.
///
/// By a system call: the C library's `mmap` may be hooked, by leakline itself.
pub fn map(bytes: usize, sharing: Sharing) -> Option<NonNull<u8>> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_ANONYMOUS
        | libc::MAP_NORESERVE
        | match sharing {
            Sharing::Private => libc::MAP_PRIVATE,
            Sharing::WithWatcher => libc::MAP_SHARED,
        };
    // SAFETY: a new mapping at an address of the kernel's choice.
    let mapped = unsafe { libc::syscall(SYS_MMAP, 0_usize, bytes, access, kind, -1_isize, 0_usize) };
    if mapped == -1 {
        return None;
    }
    let mapped = NonNull::new(mapped as *mut u8)?;
    // A core dump of the host is for the host's data. Where it cannot be left out, it is larger.
    // SAFETY: the range was mapped above.
    unsafe { libc::madvise(mapped.as_ptr().cast::<c_void>(), bytes, libc::MADV_DONTDUMP) };
    mapped::add(mapped.as_ptr() as usize, bytes);
    Some(mapped)
}

/// A word in a page that the kernel empties in a forked child; null: not set up.
static FIRST: AtomicPtr<AtomicU32> = AtomicPtr::new(std::ptr::null_mut());

/// Has [`is_first_process`] tell this process from the children that are forked from now on. To be called while there is
/// one thread; again, in a forked child that begins on its own, it makes that child a first process. False: this kernel
/// cannot (before 4.14), or there is no memory; then it stays true everywhere.
pub fn tell_forks_apart() -> bool {
    // SAFETY: null, or a page that is mapped for good.
    if let Some(word) = unsafe { FIRST.load(Ordering::Acquire).as_ref() } {
        word.store(1, Ordering::Relaxed);
        return true;
    }
    /// The size of a page matters to `madvise` only in that the word must be at the start of one.
    const PAGE: usize = 4096;
    let Some(page) = map(PAGE, Sharing::Private) else { return false };
    // SAFETY: the page was mapped above and is nobody else's.
    if unsafe { libc::madvise(page.as_ptr().cast::<c_void>(), PAGE, libc::MADV_WIPEONFORK) } != 0 {
        return false;
    }
    let word = page.cast::<AtomicU32>();
    // SAFETY: mapped for good, aligned to a page, and zeroes are a valid word.
    unsafe { word.as_ref() }.store(1, Ordering::Relaxed);
    FIRST.store(word.as_ptr(), Ordering::Release);
    true
}

/// Whether this is the process that called [`tell_forks_apart`], or shares its memory (`vfork`). False in every forked
/// child, the watcher among them. One load, no system call; true until it is set up.
#[inline(always)]
pub fn is_first_process() -> bool {
    // SAFETY: null, or a page that is mapped for good.
    unsafe { FIRST.load(Ordering::Acquire).as_ref() }.is_none_or(|word| word.load(Ordering::Relaxed) != 0)
}

#[cfg(test)]
mod tests;
