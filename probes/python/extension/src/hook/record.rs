//! What the hook does when an allocation is to be kept: reads the call path, and hands both to the recorders.
//! Never lets a panic out: the first one puts the hook to rest for good.

use std::ffi::c_void;
use std::panic::catch_unwind;
use std::sync::atomic::Ordering::Relaxed;

use leakline_probing::sampler::live::Class;
use leakline_probing::sampler::recorder::{Block, Freed, Recorded};
use leakline_probing::sampler::thread::Thread;
use leakline_python::kept::paths::{self, Codes, Path, PythonRecorder};

use super::{
    DOES, FRAMES, LAYOUT, MARKS, MEAN, RAW, RECORDING, SAMPLING, SMALL, TABLES, does_nothing, exact,
};
use crate::frames::{RawFrame, this_thread_state};

/// Most frames of a path: they are collected on the stack of the thread that allocates.
pub(super) const MAX_FRAMES: usize = 128;
/// As many frames as most ask for.
const FEW_FRAMES: usize = 16;

/// An allocation that is due for a sample, or that came while everything is recorded.
#[cold]
#[inline(never)]
pub(super) fn allocated(domain: usize, block: *mut c_void, size: usize, does: u8) {
    if block.is_null() {
        return;
    }
    if catch_unwind(|| keep(domain, block as usize, size, does)).is_err() {
        does_nothing();
    }
}

/// What was known of a block, as a sample and in the window.
pub(super) type Taken = [Option<Freed>; 2];

/// A block that is marked is about to be freed.
#[cold]
#[inline(never)]
pub(super) fn freed(address: usize) -> Taken {
    let does = DOES.load(Relaxed);
    // At rest, what is known is of the past; in a child, of the parent.
    if does == 0 {
        return Taken::default();
    }
    let taken = catch_unwind(|| {
        TABLES.with(|tables| {
            MARKS.clear(address);
            let exact = if does & RECORDING != 0 { tables.exact.freed(address) } else { None };
            [tables.sampled.freed(address), exact]
        })
    });
    taken.unwrap_or_else(|_| {
        does_nothing();
        Taken::default()
    })
}

/// It was not freed after all.
#[cold]
pub(super) fn put_back(address: usize, [sampled, exact]: Taken) {
    if sampled.is_none() && exact.is_none() {
        return;
    }
    TABLES.with(|tables| {
        if MARKS.set(address) {
            sampled.into_iter().for_each(|freed| tables.sampled.put_back(address, freed));
            exact.into_iter().for_each(|freed| tables.exact.put_back(address, freed));
        }
    });
}

#[inline(always)]
fn keep(domain: usize, address: usize, size: usize, does: u8) {
    let thread = Thread::current();
    // Nothing below calls Python or the host's malloc; but the fallback for reading frames does.
    let Some(_inside) = thread.enter() else { return };
    let due = Due {
        sampled: does & SAMPLING != 0 && thread.is_over() && thread.is_due(size, MEAN.load(Relaxed)),
        recorded: does & RECORDING != 0,
    };
    if !due.sampled && !due.recorded {
        return;
    }
    let class = if domain == RAW || size > SMALL { Class::Large } else { Class::Small };
    let block = Block { address, size, class, was_marked: MARKS.has(address) };
    let sample_frames = if due.sampled { usize::from(FRAMES.load(Relaxed)) } else { 0 };
    let exact_frames = if due.recorded { exact::frames() } else { 0 };
    // Room for frames is cleared each time, so there is no more of it than needed.
    let keep = if sample_frames.max(exact_frames) <= FEW_FRAMES {
        keep_frames::<FEW_FRAMES>
    } else {
        keep_frames::<MAX_FRAMES>
    };
    keep(domain, block, due, (sample_frames, exact_frames));
}

struct Due {
    sampled: bool,
    recorded: bool,
}

#[inline(always)]
fn keep_frames<const ROOM: usize>(
    domain: usize,
    block: Block,
    due: Due,
    (sample_frames, exact_frames): (usize, usize),
) {
    let begun = if due.recorded { exact::begin() } else { None };
    let mut frames = [RawFrame::default(); ROOM];
    let room = frames.get_mut(..sample_frames.max(exact_frames)).unwrap_or_default();
    let (frames_found, more) = walk(domain, room);
    let path = |frames: usize| {
        let (frames, truncated) = cut(frames_found, more, frames);
        (frames, truncated, hash(frames, truncated))
    };
    let exact = due.recorded.then(|| path(exact_frames));
    let sampled = due.sampled.then(|| path(sample_frames));
    let recorded = TABLES.with(|tables| {
        if !MARKS.set(block.address) {
            return Recorded::Full;
        }
        if let Some(path) = sampled {
            // Full: only when it cannot thin itself any more; then this sample is lost.
            let _ = hand_over(&mut tables.sampled, block, path);
            MEAN.store(tables.sampled.mean(), Relaxed);
        }
        exact.map_or(Recorded::Kept, |path| hand_over(&mut tables.exact, block, path))
    });
    if due.recorded {
        exact::end(begun, recorded);
    }
}

#[inline(always)]
fn hand_over(
    recorder: &mut PythonRecorder,
    block: Block,
    (frames, truncated, hash): (&[RawFrame], bool, u64),
) -> Recorded {
    paths::allocated(recorder, block, hash, |codes: &mut Codes| match LAYOUT.get() {
        Some(layout) => {
            let key = |frame: &RawFrame| ((frame.code, frame.stamp), frame.instruction);
            // SAFETY: the frames were just found by `walk` on this thread, and run as long as this call does.
            let info = |frame: &RawFrame| unsafe { layout.code(frame.code) };
            Path::new(codes, frames, truncated, key, info)
        }
        None => Path::shared(),
    })
}

/// The frames of this thread, and whether there are more; none for a thread without the GIL.
#[inline(always)]
fn walk(domain: usize, room: &mut [RawFrame]) -> (&[RawFrame], bool) {
    let Some(layout) = LAYOUT.get() else { return (&[], false) };
    let state = this_thread_state(domain != RAW);
    if state.is_null() {
        return (&[], false);
    }
    // SAFETY: it is this thread's own state, and the thread holds the GIL, or else there would be none.
    let (found, more) = unsafe { layout.walk(state, room) };
    (room.get(..found).unwrap_or_default(), more)
}

#[inline(always)]
fn cut(frames: &[RawFrame], more: bool, most: usize) -> (&[RawFrame], bool) {
    match frames.get(..most) {
        Some(cut) => (cut, more || cut.len() < frames.len()),
        None => (frames, more),
    }
}

/// Two multiplications that can run side by side for each frame, and one that binds them in their order.
#[inline(always)]
fn hash(frames: &[RawFrame], truncated: bool) -> u64 {
    const A: u64 = 0x9E37_79B9_7F4A_7C15;
    const B: u64 = 0xD6E8_FEB8_6659_FD93;
    let mut hash = 0x2545_F491_4F6C_DD1D ^ frames.len() as u64 ^ u64::from(truncated) << 32;
    for frame in frames {
        let place = u64::from(frame.stamp) << 32 | u64::from(frame.instruction);
        let word = (frame.code as u64).wrapping_mul(A) ^ place.wrapping_mul(B).rotate_left(29);
        hash = (hash ^ word).wrapping_mul(A).rotate_left(31);
    }
    hash ^= hash >> 29;
    hash = hash.wrapping_mul(B);
    hash ^ hash >> 32
}
