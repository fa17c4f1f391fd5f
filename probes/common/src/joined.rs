//! Runtimes whose call paths continue native ones: an interpreter's frames stand where its loop stands on the native
//! stack. The probe of the runtime says how they are read; the native probe asks when a walk has come to that code.
//!
//! Never here: what a frame means, or a runtime's name.

use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Acquire, Ordering::Release};

/// A frame as the runtime has it while it runs: equal for equal places in the program, and nothing else.
pub type RawFrame = [u64; 2];

/// Most runtimes of a process.
const MOST: usize = 5;

/// See [`Joined::walk`].
pub type Walk =
    unsafe extern "C" fn(native: *const usize, count: usize, into: *mut RawFrame, most: usize) -> usize;

/// How a runtime's frames are read.
#[derive(Debug, Clone, Copy)]
pub struct Joined {
    /// The machine code that runs its frames: first address, and the one after the last.
    pub code: (usize, usize),
    /// Fills in this thread's frames, innermost first, at most so many, and gives their number. `native` are the return
    /// addresses up to the runtime's code, innermost first, that one included: they tell whether the runtime itself has
    /// called the allocator. Called from inside an allocator hook, in any state of the thread: calls nothing that may wait
    /// for what the host holds.
    pub walk: Walk,
    /// Gives a number for each frame by which it can be told later. Called right after `walk`, on the same thread, when a
    /// path is seen for the first time; under the same rules.
    pub keep: unsafe extern "C" fn(frames: *const RawFrame, count: usize, numbers: *mut u64),
    /// Tells frames by such numbers, in their order, on a thread of the agent's; `None`: it was not kept.
    pub tell: fn(&[u64]) -> Vec<Option<Told>>,
}

/// A frame in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The function's name.
    pub function: String,
    /// The source file.
    pub file: String,
    /// The line, from 1; 0 where unknown.
    pub line: u32,
}

static COUNT: AtomicUsize = AtomicUsize::new(0);
static ALL: [AtomicPtr<Joined>; MOST] = [const { AtomicPtr::new(std::ptr::null_mut()) }; MOST];

/// Has native call paths continued by a runtime's, for as long as the process lives. The same code a second time, and
/// more runtimes than a process may have, change nothing.
pub fn join(runtime: Joined) {
    if all().any(|known| known.code == runtime.code) {
        return;
    }
    let index = COUNT.load(Acquire);
    if let Some(place) = ALL.get(index) {
        // Never freed: hooks read it without a lock.
        place.store(Box::into_raw(Box::new(runtime)), Release);
        COUNT.store(index + 1, Release);
    }
}

/// How many runtimes have joined.
#[inline(always)]
pub fn count() -> usize {
    COUNT.load(Acquire)
}

/// The runtimes that joined so far, in the order in which they did.
pub fn all() -> impl Iterator<Item = &'static Joined> {
    ALL.iter().take(count()).filter_map(|place| {
        // SAFETY: it was stored before it was counted, and is never freed.
        unsafe { place.load(Acquire).as_ref() }
    })
}
