//! The frames of threads' last walks. Most of a stack is the same from one sample to the next, and a walk depends on
//! nothing but where it begins and on the words that it reads: where it comes to a frame of the last walk, and every word
//! that was read beyond is what it was, the rest is known. That costs one look at each of these words, in the order of their
//! addresses, instead of a rule for each frame that is somewhere else in memory.

use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};

use super::End;

/// Frames that are remembered: a few more than a hook keeps of a path.
const FRAMES: usize = 72;

/// A frame: the registers in it, and where the words were that led to its caller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) pc: usize,
    pub(super) sp: usize,
    pub(super) fp: usize,
    /// Of the caller's address and frame pointer; 0: the latter was not read.
    pub(super) words: (usize, usize),
}

/// One thread's, until another takes its place: there are fewer than a process may have threads. They do not lie in the
/// threads' static blocks, of which the system has only little for libraries that come late.
#[derive(Debug)]
pub(super) struct Memo {
    /// The outermost first, so that what changes is at the end.
    frames: UnsafeCell<[Frame; FRAMES]>,
    length: Cell<usize>,
    end: Cell<End>,
    /// Whose walk it was, and when.
    owner: Cell<(usize, u64)>,
    /// A walk is at it: another thread's, or one on this thread that was interrupted.
    busy: AtomicBool,
}

// SAFETY: everything is reached by the one who set the flag.
unsafe impl Sync for Memo {}

const MEMOS: usize = 64;
static ALL: [Memo; MEMOS] = [const { Memo::new() }; MEMOS];

impl Memo {
    const fn new() -> Self {
        let none = Frame { pc: 0, sp: 0, fp: 0, words: (0, 0) };
        Self {
            frames: UnsafeCell::new([none; FRAMES]),
            length: Cell::new(0),
            end: Cell::new(End::Unknown),
            owner: Cell::new((0, 0)),
            busy: AtomicBool::new(false),
        }
    }
}

/// For a walk of the thread that `owner` stands for; `None` while another walk has it.
#[inline(always)]
pub(super) fn open(owner: usize, epoch: u64) -> Option<Open<'static>> {
    let hash = (owner as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58;
    let memo = ALL.get(hash as usize & (MEMOS - 1))?;
    if memo.busy.swap(true, Acquire) {
        return None;
    }
    if memo.owner.replace((owner, epoch)) != (owner, epoch) {
        memo.length.set(0);
    }
    // SAFETY: the flag was not set, so nobody else has the frames, and it stays set until this is dropped.
    let frames = unsafe { &mut *memo.frames.get() };
    let at = memo.length.get();
    // Until the walk is closed, what it does not overwrite.
    Some(Open { memo, frames, at, new: 0, is_cut: false, length: None })
}

/// The frames, while a walk is under way: those of the last one from the bottom up, those of this one from the top down.
pub(super) struct Open<'a> {
    memo: &'a Memo,
    frames: &'a mut [Frame; FRAMES],
    /// How many of the last walk's may still be met.
    at: usize,
    /// How many of this one stand at the other end.
    new: usize,
    /// There was no room: what stands there has no caller.
    is_cut: bool,
    /// How many are remembered in the end.
    length: Option<usize>,
}

impl Open<'_> {
    /// Whether the frame with these registers is one of the last walk's: then its place, from the outermost.
    #[inline(always)]
    pub(super) fn find(&mut self, pc: usize, sp: usize, fp: usize) -> Option<usize> {
        // Stacks grow downwards: what lies below was left since.
        while let Some(last) = self.at.checked_sub(1) {
            let frame = self.frames.get(last)?;
            if frame.sp > sp {
                return None;
            }
            if (frame.sp, frame.pc, frame.fp) == (sp, pc, fp) {
                return Some(last);
            }
            self.at = last;
        }
        None
    }

    /// The remembered frame at a place.
    #[inline(always)]
    pub(super) fn frame(&self, place: usize) -> Option<&Frame> {
        self.frames.get(place)
    }

    /// The end of the last walk, which the frame at place 0 led to.
    pub(super) fn end(&self) -> End {
        self.memo.end.get()
    }

    /// Keeps a frame of this walk.
    #[inline(always)]
    pub(super) fn push(&mut self, frame: Frame) {
        let Some(place) = FRAMES.checked_sub(self.new + 1) else {
            self.is_cut = true;
            return;
        };
        if let Some(room) = self.frames.get_mut(place) {
            *room = frame;
        }
        self.new += 1;
        // What is overwritten of the last walk can no longer be met.
        self.at = self.at.min(place);
    }

    /// Keeps the frames at places `from` down to `to` as ones of this walk: beyond, the last one was another.
    #[cold]
    pub(super) fn take(&mut self, from: usize, to: usize) {
        for place in (to..=from).rev() {
            let frame = self.frames.get(place).copied().unwrap_or_default();
            self.at = place;
            self.push(frame);
        }
    }

    /// Remembers this walk: what it pushed, and the frames of the last one from `known` down to the outermost.
    #[inline(always)]
    pub(super) fn close(mut self, known: usize, end: End) {
        let from = FRAMES.saturating_sub(self.new);
        // They stand innermost last at the end: the innermost was pushed first, to the last place.
        if known <= from && !self.is_cut {
            self.frames.copy_within(from.., known);
            self.length = Some(known + self.new);
            self.memo.end.set(end);
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.memo.length.set(self.length.unwrap_or(self.at));
        self.memo.busy.store(false, Release);
    }
}
