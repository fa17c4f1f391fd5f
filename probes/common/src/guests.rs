//! Memory for leakline's own threads in a host, where they call what calls the host's malloc (an interpreter, a JVM).
//!
//! A thread's first call of glibc's malloc, or of its free, reserves an arena of 64 MiB. So these threads, the guests, have
//! theirs from a small range of addresses that is reserved once, and blocks of the host's that they free are freed by the
//! next thread of the host's that allocates. Any thread may free a guest's block: it is put on a list, without a lock.
//!
//! A block has glibc's own header of a mapped chunk, so `malloc_usable_size` is right about it. In a forked child that
//! has no guests, a guest's block that is freed stays where it is.
//!
//! Never here: the host's malloc itself; see the native probe's hook.

use std::ptr::null_mut;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use dlmalloc::{Allocator, Dlmalloc};

use crate::sampler::lock::Lock;
use crate::shared::{Sharing, is_first_process, map};

/// Reserved for all guests together; the kernel backs only what is touched. An interpreter's lane needs some 20 KiB, a
/// JVM's some 200 KiB and, for a moment, a list of its classes. With more, the host's malloc is called after all.
const RANGE: usize = 8 << 20;

/// What malloc aligns to; also the size of a block's header.
const ALIGN: usize = 16;
/// As glibc marks a chunk that it mapped.
const IS_MAPPED: usize = 2;

/// Where the range begins; 0: there is none.
static START: AtomicUsize = AtomicUsize::new(0);
static USED: AtomicUsize = AtomicUsize::new(0);
/// Taken by guests only; see [`survive_forks`].
static HEAP: Lock<Dlmalloc<Range>> = Lock::new(Dlmalloc::new_with_allocator(Range));
/// Guests' blocks that others have freed, each with the next one in its first word.
static RETURNED: AtomicPtr<u8> = AtomicPtr::new(null_mut());
/// The host's blocks that guests have freed, in the same way.
static OWED: AtomicPtr<u8> = AtomicPtr::new(null_mut());

/// Parts of the range, one after the other, never given back.
struct Range;

// SAFETY: each part of the range is given out once, by an atomic counter.
unsafe impl Allocator for Range {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        let taken =
            USED.fetch_update(Relaxed, Relaxed, |used| used.checked_add(size).filter(|end| *end <= RANGE));
        match taken {
            Ok(used) => ((START.load(Relaxed) + used) as *mut u8, size, 0),
            Err(_) => (null_mut(), 0, 0),
        }
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        null_mut()
    }

    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }

    fn free(&self, _: *mut u8, _: usize) -> bool {
        false
    }

    fn can_release_part(&self, _: u32) -> bool {
        false
    }

    /// Each part is new.
    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        4096
    }
}

/// Makes the calling thread a guest, for good. False: there is no room, or it cannot be told here who is one.
pub fn become_one() -> bool {
    if START.load(Acquire) == 0 {
        let Some(range) = map(RANGE, Sharing::Private) else { return false };
        // Of two threads that come at once, the range of the second is left unused.
        START.compare_exchange(0, range.as_ptr() as usize, Release, Relaxed).ok();
    }
    place::set();
    true
}

/// Keeps the range usable in forked children, for those that have guests of their own. To be called once, before `main`;
/// later calls do nothing.
pub fn survive_forks() {
    extern "C" fn before() {
        HEAP.before_fork();
    }
    extern "C" fn after() {
        HEAP.after_fork();
    }
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handlers only take and give back a lock under which nothing but the kernel is called.
        let _ = unsafe { libc::pthread_atfork(Some(before), Some(after), Some(after)) };
    });
}

/// Whether the calling thread is a guest.
#[inline(always)]
pub fn is_one() -> bool {
    place::get() != 0
}

/// Whether `block` is a guest's.
#[inline(always)]
pub fn is_block(block: *mut u8) -> bool {
    let start = START.load(Relaxed);
    (block as usize).wrapping_sub(start) < RANGE && start != 0
}

/// A block for a guest; null: there is no room. Called by guests.
pub fn allocate(size: usize, alignment: usize) -> *mut u8 {
    take_back();
    let alignment = alignment.max(ALIGN);
    let Some(usable) = size.max(ALIGN).checked_next_multiple_of(ALIGN).filter(|usable| *usable < RANGE)
    else {
        return null_mut();
    };
    if alignment > RANGE {
        return null_mut();
    }
    // One that is aligned to more begins with its size, which is not told by the header.
    let before = if alignment > ALIGN { 2 * ALIGN } else { ALIGN };
    let total = before + usable + if alignment > ALIGN { alignment } else { 0 };
    // SAFETY: the size is not 0, and the alignment is a power of two.
    let base = HEAP.with(|heap| unsafe { heap.malloc(total, ALIGN) });
    if base.is_null() {
        return null_mut();
    }
    let block = (base as usize + before).next_multiple_of(alignment) as *mut u8;
    // SAFETY: the base is aligned to more than a word; the header goes over it where it is not needed.
    unsafe { base.cast::<usize>().write(total) };
    // SAFETY: the header lies between the base and the block, which is aligned to more than a word.
    unsafe { block.wrapping_sub(ALIGN).cast::<usize>().write(base as usize) };
    // SAFETY: as above.
    unsafe { block.wrapping_sub(ALIGN / 2).cast::<usize>().write((usable + ALIGN) | IS_MAPPED) };
    block
}

/// Bytes of `block` that may be used.
///
/// # Safety
///
/// It is a guest's block that was not freed.
pub unsafe fn usable(block: *mut u8) -> usize {
    // SAFETY: the caller's promise: there is a header.
    let size = unsafe { block.wrapping_sub(ALIGN / 2).cast::<usize>().read() };
    (size & !(ALIGN - 1)) - ALIGN
}

/// Frees a guest's block, on any thread.
///
/// # Safety
///
/// It is a guest's block that was not freed.
pub unsafe fn free(block: *mut u8) {
    if is_one() {
        // SAFETY: the caller's promise.
        unsafe { free_here(block) };
    } else if is_first_process() {
        // SAFETY: the caller's promise; a block has room for a word.
        unsafe { push(&RETURNED, block) };
    }
}

/// Has the next thread of the host's that allocates free a block of the host's. Called by guests.
///
/// # Safety
///
/// It is a block of the host's malloc that was not freed.
pub unsafe fn owe(block: *mut u8) {
    // SAFETY: the caller's promise; a block of malloc's has room for a word.
    unsafe { push(&OWED, block) };
}

/// Whether guests have freed blocks of the host's. One load.
#[inline(always)]
pub fn is_owing() -> bool {
    !OWED.load(Relaxed).is_null()
}

/// Takes the host's blocks that guests have freed; `free` is called with each.
#[cold]
pub fn pay(mut free: impl FnMut(*mut u8)) {
    // A list is one word, so a forked child has it whole, too.
    each(&OWED, &mut free);
}

fn take_back() {
    if !RETURNED.load(Relaxed).is_null() {
        // SAFETY: only guests' blocks that were freed are on that list.
        each(&RETURNED, &mut |block| unsafe { free_here(block) });
    }
}

unsafe fn free_here(block: *mut u8) {
    // SAFETY: the caller's promise: there is a header.
    let base = unsafe { block.wrapping_sub(ALIGN).cast::<usize>().read() } as *mut u8;
    let total = if block as usize - base as usize == ALIGN {
        // SAFETY: as above.
        ALIGN + unsafe { usable(block) }
    } else {
        // SAFETY: one that is aligned to more begins so.
        unsafe { base.cast::<usize>().read() }
    };
    // SAFETY: the header tells where the block came from, and how large it is.
    HEAP.with(|heap| unsafe { heap.free(base, total, ALIGN) });
}

unsafe fn push(list: &AtomicPtr<u8>, block: *mut u8) {
    let mut first = list.load(Relaxed);
    loop {
        // SAFETY: the caller's promise: the block is free, and has room for a word.
        unsafe { block.cast::<*mut u8>().write(first) };
        match list.compare_exchange_weak(first, block, Release, Relaxed) {
            Ok(_) => return,
            Err(now) => first = now,
        }
    }
}

/// Takes all of a list.
fn each(list: &AtomicPtr<u8>, work: &mut dyn FnMut(*mut u8)) {
    let mut block = list.swap(null_mut(), Acquire);
    while !block.is_null() {
        // SAFETY: what is on a list has the next one in its first word.
        let next = unsafe { block.cast::<*mut u8>().read() };
        work(block);
        block = next;
    }
}

/// The thread's mark: initial-exec TLS, declared in assembly because stable Rust cannot ask for the model.
mod place {
    #[cfg(target_arch = "x86_64")]
    std::arch::global_asm!(
        ".section .tbss.leakline_guest,\"awT\",@nobits",
        ".balign 8",
        ".globl leakline_guest",
        ".hidden leakline_guest",
        ".type leakline_guest,@object",
        ".size leakline_guest,8",
        "leakline_guest:",
        ".zero 8",
        ".text",
    );

    #[cfg(target_arch = "aarch64")]
    std::arch::global_asm!(
        ".section .tbss.leakline_guest,\"awT\",%nobits",
        ".balign 8",
        ".globl leakline_guest",
        ".hidden leakline_guest",
        ".type leakline_guest,@object",
        ".size leakline_guest,8",
        "leakline_guest:",
        ".zero 8",
        ".text",
    );

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn address() -> *mut usize {
        let address: *mut usize;
        // SAFETY: the loader fills the slot with the word's offset from the thread pointer, which the ABI keeps at fs:0.
        unsafe {
            std::arch::asm!(
                "mov {0}, qword ptr [rip + leakline_guest@GOTTPOFF]",
                "add {0}, qword ptr fs:[0]",
                out(reg) address,
                options(pure, readonly, nostack)
            );
        }
        address
    }

    #[cfg(target_arch = "aarch64")]
    #[inline(always)]
    fn address() -> *mut usize {
        let address: *mut usize;
        // SAFETY: the loader fills the slot with the word's offset from the thread pointer, which is in tpidr_el0.
        unsafe {
            std::arch::asm!(
                "adrp {0}, :gottprel:leakline_guest",
                "ldr {0}, [{0}, :gottprel_lo12:leakline_guest]",
                "mrs {1}, tpidr_el0",
                "add {0}, {0}, {1}",
                out(reg) address,
                out(reg) _,
                options(pure, readonly, nostack)
            );
        }
        address
    }

    pub(super) fn set() {
        // SAFETY: the word is this thread's own.
        unsafe { address().write(1) };
    }

    #[inline(always)]
    pub(super) fn get() -> usize {
        // SAFETY: the word is this thread's own.
        unsafe { address().read() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_guest<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        let guest = move || {
            assert!(become_one());
            work()
        };
        std::thread::Builder::new().spawn(guest).unwrap().join().unwrap()
    }

    #[test]
    fn blocks_are_aligned_as_asked_and_of_their_size() {
        assert!(!is_one());
        as_guest(|| {
            assert!(is_one());
            for (size, alignment) in [(0, 1), (1, 16), (100, 8), (5000, 64), (70_000, 4096), (24, 65_536)] {
                let block = allocate(size, alignment);
                assert!(is_block(block) && (block as usize).is_multiple_of(alignment), "{size} {alignment}");
                // SAFETY: it was allocated just now.
                let usable = unsafe { usable(block) };
                assert!(usable >= size && usable < size + 32, "{size}: {usable}");
                // SAFETY: that many bytes are the block's own.
                unsafe { block.write_bytes(0xA5, usable) };
                // SAFETY: as above.
                unsafe { free(block) };
            }
            assert!(allocate(RANGE, 16).is_null() && allocate(usize::MAX, 16).is_null());
            assert!(!is_block(null_mut()));
        });
    }

    #[test]
    fn what_others_free_is_used_again_and_what_is_owed_is_paid() {
        let blocks = as_guest(|| (0..1000).map(|_| allocate(1000, 16) as usize).collect::<Vec<_>>());
        // SAFETY: they were allocated above, and are freed once.
        blocks.iter().for_each(|block| unsafe { free(*block as *mut u8) });
        let used = USED.load(Relaxed);
        as_guest(|| (0..1000).for_each(|_| assert!(!allocate(1000, 16).is_null())));
        assert!(USED.load(Relaxed) <= used + (64 << 10), "from {used} to {}", USED.load(Relaxed));

        let mut words = [[0_usize; 2]; 3];
        let owed = words.each_mut().map(|word| word.as_mut_ptr().cast::<u8>());
        // SAFETY: each has room for a word, and outlives the list.
        owed.iter().for_each(|block| unsafe { owe(*block) });
        assert!(is_owing());
        let mut paid = Vec::new();
        pay(|block| paid.push(block));
        paid.reverse();
        assert_eq!((paid, is_owing()), (owed.to_vec(), false));
    }
}
