//! The direct walks: a few loads for each frame.
//! Never allocates, writes nothing but what it was given, and ends with the frames or with the room for them.

use leakline_python::layouts::{FIRST_ENTRY_MARK, FrameObjects, InterpreterFrames};

use super::code::CodeFields;
use super::{RawFrame, read};

/// Frames that belong to a generator are always complete.
const GENERATOR: u8 = 1;
/// References to code objects are tagged from 3.14 on; objects are aligned to more than the tag.
pub(super) const NO_TAG: usize = !7;
/// Bytes in an instruction.
const UNIT: isize = 2;

/// # Safety
///
/// `thread_state` is the current thread's, which holds the GIL, and both layouts are this interpreter's.
#[inline]
pub(super) unsafe fn interpreter_frames(
    shape: &InterpreterFrames,
    fields: &CodeFields,
    thread_state: usize,
    into: &mut [RawFrame],
) -> (usize, bool) {
    // SAFETY: the caller's promise.
    let mut frame: usize = unsafe { read(thread_state, shape.innermost) };
    if let Some(through) = shape.through {
        // SAFETY: the caller's promise; this pointer is never null.
        frame = unsafe { read(frame, through) };
    }
    let mut room = into.iter_mut();
    let mut found = 0;
    while frame != 0 {
        let this = frame;
        // SAFETY: the caller's promise: `this` is a frame of the current thread, which lives while the GIL is held.
        frame = unsafe { read(this, shape.previous) };
        // SAFETY: as above.
        let owner: u8 = unsafe { read(this, shape.owner) };
        if owner >= FIRST_ENTRY_MARK {
            continue;
        }
        // SAFETY: as above.
        let code: usize = unsafe { read(this, shape.code) };
        let code = code & NO_TAG;
        // SAFETY: as above.
        let instruction: usize = unsafe { read(this, shape.instruction) };
        let offset = instruction.wrapping_sub(code).wrapping_sub(fields.start as usize) as isize;
        // SAFETY: a frame that marks no entry holds a reference to a code object.
        let first_traceable: i32 = unsafe { read(code, fields.first_traceable) };
        if offset < first_traceable as isize * UNIT && owner != GENERATOR {
            continue;
        }
        let Some(slot) = room.next() else { return (found, true) };
        // SAFETY: as above, `code` is alive.
        let stamp = unsafe { fields.stamp(code) };
        *slot = RawFrame { code, stamp, instruction: offset as u32 };
        found += 1;
    }
    (found, false)
}

/// # Safety
///
/// `thread_state` is the current thread's, which holds the GIL, and both layouts are this interpreter's.
#[inline]
pub(super) unsafe fn frame_objects(
    shape: &FrameObjects,
    fields: &CodeFields,
    thread_state: usize,
    into: &mut [RawFrame],
) -> (usize, bool) {
    // SAFETY: the caller's promise.
    let mut frame: usize = unsafe { read(thread_state, shape.innermost) };
    let mut found = 0;
    for slot in into {
        if frame == 0 {
            return (found, false);
        }
        // SAFETY: the caller's promise: a frame keeps its code object alive, and the thread keeps its frames alive.
        let code: usize = unsafe { read(frame, shape.code) };
        // SAFETY: as above.
        let last: i32 = unsafe { read(frame, shape.last_instruction) };
        // SAFETY: as above.
        let stamp = unsafe { fields.stamp(code) };
        *slot = RawFrame { code, stamp, instruction: last.wrapping_mul(shape.unit) as u32 };
        found += 1;
        // SAFETY: as above.
        frame = unsafe { read(frame, shape.back) };
    }
    (found, frame != 0)
}
