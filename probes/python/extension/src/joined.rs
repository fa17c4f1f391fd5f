//! Python's frames for call paths of the native heap: they stand where the interpreter's loop is on the native stack.
//! Called by the native probe's hook, from inside malloc, on whatever thread allocates, with the GIL or without; only while
//! this part's own hook is at work, which ends when Python does.
//!
//! The native probe keeps the numbers that stand for frames, and does not say when it drops one. So code objects are kept
//! within a bound in bytes, those that were met longest ago are forgotten first, and no number is given twice: a number
//! whose code object is forgotten is told as just that. The native probe asks for a path's frames at the first reading
//! after it was met, and remembers what it was told.
//!
//! Never takes another lock while it holds its own, and never calls Python.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use leakline_probing::joined::RawFrame as JoinedFrame;
use leakline_python::kept::numbered::Codes;
use leakline_python::wire::{Answer, ToldFrame};

use crate::frames::{Layout, RawFrame, loops, this_thread_state};
use crate::guarded::Guarded;
use crate::hook;

/// What the code objects may take until somebody says: a program has some thousands, at 300 bytes each.
const DEFAULT_BYTES: usize = 512 << 10;
/// Stands where a code object was forgotten.
const FORGOTTEN: &str = "<more code than leakline keeps>";
/// The number of a frame that is not told.
const NO_NUMBER: u64 = u64::MAX;

/// Whether one can stand for the other. In 32-bit processes they differ; frames are not read directly there, and native
/// memory is not hooked.
const IS_SAME: bool = size_of::<RawFrame>() == size_of::<JoinedFrame>();
const _: () = assert!(IS_SAME || cfg!(not(target_pointer_width = "64")));
const _: () = assert!(align_of::<RawFrame>() <= align_of::<JoinedFrame>());

/// The code objects of frames that were kept. Not taken around forks, where the native hook's own lock may wait for it; a
/// child takes it over.
static CODES: Guarded<Codes> = Guarded::new(Codes::new());
static MOST_BYTES: AtomicUsize = AtomicUsize::new(DEFAULT_BYTES);

/// See [`Guarded::assert_not_held`].
#[inline(always)]
pub(crate) fn assert_not_held() {
    CODES.assert_not_held();
}

/// In a forked child: nobody is in here any more.
pub(crate) fn take_over() {
    CODES.take_over(Codes::renewed);
}

/// What the code objects may take from now on.
pub(crate) fn keep_within(bytes: usize) {
    MOST_BYTES.store(bytes, Relaxed);
}

/// See [`leakline_probing::joined::Joined::walk`].
///
/// # Safety
///
/// `into` has room for `most` frames.
pub(crate) unsafe extern "C" fn walk(
    _native: *const usize,
    _count: usize,
    into: *mut JoinedFrame,
    most: usize,
) -> usize {
    let Some(layout) = layout() else { return 0 };
    let state = thread_state();
    if state.is_null() || into.is_null() {
        return 0;
    }
    // SAFETY: the caller's promise; the two have the same size, and any bits are a frame.
    let room = unsafe { std::slice::from_raw_parts_mut(into.cast::<RawFrame>(), most) };
    // SAFETY: it is this thread's own state, whose frames nobody else changes.
    unsafe { layout.walk(state, room) }.0
}

/// This thread's state, also while it has let go of the GIL for a call: the interpreter's loop is on its stack, or else
/// nobody would ask, and goes on with that state when the call returns.
fn thread_state() -> *const std::ffi::c_void {
    let current = this_thread_state(false);
    if !current.is_null() {
        return current;
    }
    // SAFETY: it reads a variable of the thread, and may be called on any thread.
    unsafe { pyo3::ffi::PyGILState_GetThisThreadState() }.cast_const().cast()
}

/// See [`leakline_probing::joined::Joined::keep`].
///
/// # Safety
///
/// `frames` are `count` that `walk` has just found on this thread, and `numbers` has room for as many.
pub(crate) unsafe extern "C" fn keep(frames: *const JoinedFrame, count: usize, numbers: *mut u64) {
    // SAFETY: the caller's promise.
    let numbers = unsafe { std::slice::from_raw_parts_mut(numbers, count) };
    numbers.fill(NO_NUMBER);
    let Some(layout) = layout() else { return };
    // SAFETY: the caller's promise; they were written as such frames.
    let frames = unsafe { std::slice::from_raw_parts(frames.cast::<RawFrame>(), count) };
    // SAFETY: the caller's promise: the frames run as long as this call does.
    let info = |frame: &RawFrame| unsafe { layout.code(frame.code) };
    let most = MOST_BYTES.load(Relaxed);
    CODES.with(|codes| {
        for (frame, number) in frames.iter().zip(numbers) {
            *number = u64::from(codes.number((frame.code, frame.stamp), most, || info(frame))) << 32
                | u64::from(frame.instruction);
        }
    });
}

/// See [`leakline_python::wire::Table::loops`].
///
/// # Safety
///
/// `into` has room for `most` ranges.
pub(crate) unsafe extern "C" fn loops(into: *mut [usize; 2], most: usize) -> usize {
    let found = loops::found();
    for (index, (start, end)) in found.iter().take(most).enumerate() {
        // SAFETY: the caller's promise.
        let place = unsafe { into.add(index) };
        // SAFETY: as above.
        unsafe { place.write([*start, *end]) };
    }
    found.len().min(most)
}

/// See [`leakline_python::wire::Table::tell`].
///
/// # Safety
///
/// `numbers` are `count` that `keep` gave.
pub(crate) unsafe extern "C" fn tell(numbers: *const u64, count: usize) -> Answer {
    // SAFETY: the caller's promise.
    let numbers = unsafe { std::slice::from_raw_parts(numbers, count) };
    let told: Vec<Option<ToldFrame>> = numbers.iter().map(|number| tell_one(*number)).collect();
    crate::to_answer(leakline_python::wire::encode(&told).unwrap_or_default())
}

fn tell_one(number: u64) -> Option<ToldFrame> {
    if number == NO_NUMBER {
        return None;
    }
    let (code, instruction) = ((number >> 32) as u32, number as u32);
    let info = CODES.with(|codes| codes.get(code).map(Arc::clone));
    let Some(info) = info else {
        return Some(ToldFrame { function: String::new(), file: FORGOTTEN.to_owned(), line: 0 });
    };
    Some(ToldFrame {
        function: info.function.to_string(),
        file: info.file.to_string(),
        line: info.line(instruction),
    })
}

fn layout() -> Option<&'static Layout> {
    hook::layout().filter(|layout| IS_SAME && layout.is_direct())
}
