//! The native stack at attach: which code the frames run that hold given addresses. See [`super::loops`].
//! Called at attach only; allocates nothing.

use std::ffi::{c_int, c_void};

use leakline_python::layouts::{FIRST_ENTRY_MARK, InterpreterFrames};

use super::read;

/// The parts of the interpreter's loop that run below this call.
///
/// # Safety
///
/// `thread_state` is the current thread's, which holds the GIL, and the layout is this interpreter's.
pub(super) unsafe fn parts(
    shape: &InterpreterFrames,
    thread_state: usize,
) -> impl Iterator<Item = (usize, usize)> + use<> {
    // SAFETY: the caller's promise.
    let mut seen = Seen { marks: unsafe { marks(shape, thread_state) }, ..Seen::default() };
    // SAFETY: the callback gets the address of `seen`, which outlives the call.
    unsafe { _Unwind_Backtrace(look, (&raw mut seen).cast()) };
    seen.inside.into_iter().take(seen.count).filter_map(part_of)
}

/// Native frames that are walked, at most: the self-test is a few calls deep.
const DEEPEST: usize = 64;
const MARKS: usize = 8;

#[derive(Default)]
struct Seen {
    marks: [usize; MARKS],
    /// Of the frame before: where it begins, and the address in its code.
    before: Option<(usize, usize)>,
    /// Addresses in the loop's code.
    inside: [usize; MARKS],
    count: usize,
    frames: usize,
}

/// # Safety
///
/// As for [`parts`].
unsafe fn marks(shape: &InterpreterFrames, thread_state: usize) -> [usize; MARKS] {
    let mut marks = [0; MARKS];
    let mut places = marks.iter_mut();
    // SAFETY: the caller's promise.
    let mut frame: usize = unsafe { read(thread_state, shape.innermost) };
    if let Some(through) = shape.through {
        // What the thread state points to is such a mark itself.
        places.next().into_iter().for_each(|place| *place = frame);
        // SAFETY: as above.
        frame = unsafe { read(frame, through) };
    }
    while frame != 0 {
        // SAFETY: a frame of this thread, which lives while the GIL is held.
        let owner: u8 = unsafe { read(frame, shape.owner) };
        if owner >= FIRST_ENTRY_MARK {
            let Some(place) = places.next() else { break };
            *place = frame;
        }
        // SAFETY: as above.
        frame = unsafe { read(frame, shape.previous) };
    }
    marks
}

/// What unwinding tables have of the code that an address is in.
#[repr(C)]
struct Bases {
    text: *mut c_void,
    data: *mut c_void,
    function: *mut c_void,
}

type Callback = extern "C" fn(context: *mut c_void, argument: *mut c_void) -> c_int;

// libgcc's, which is there wherever Rust's standard library is.
unsafe extern "C" {
    fn _Unwind_Backtrace(callback: Callback, argument: *mut c_void) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
    fn _Unwind_GetCFA(context: *mut c_void) -> usize;
    fn _Unwind_Find_FDE(address: *mut c_void, bases: *mut Bases) -> *const u8;
}

/// One native frame, innermost first: the stack of the frame before ends where this one begins.
extern "C" fn look(context: *mut c_void, argument: *mut c_void) -> c_int {
    const GO_ON: c_int = 0;
    const END: c_int = 5;
    // SAFETY: `parts` passes its own value, which nobody else has meanwhile.
    let seen = unsafe { &mut *argument.cast::<Seen>() };
    // SAFETY: the unwinder's own context, for the length of this call.
    let address = unsafe { _Unwind_GetIP(context) };
    // SAFETY: as above.
    let begins = unsafe { _Unwind_GetCFA(context) };
    if let Some((from, address_before)) = seen.before.replace((begins, address))
        && seen.marks.iter().any(|mark| *mark != 0 && (from..begins).contains(mark))
        && let Some(place) = seen.inside.get_mut(seen.count)
    {
        *place = address_before;
        seen.count += 1;
    }
    seen.frames += 1;
    if seen.frames < DEEPEST { GO_ON } else { END }
}

/// From where to where the code goes that has a return address.
fn part_of(address: usize) -> Option<(usize, usize)> {
    let mut bases =
        Bases { text: std::ptr::null_mut(), data: std::ptr::null_mut(), function: std::ptr::null_mut() };
    // The call is before the address it returns to, and may be the last of its part.
    // SAFETY: it looks an address up; `bases` is ours to write.
    let entry = unsafe { _Unwind_Find_FDE((address - 1) as *mut c_void, &raw mut bases) } as usize;
    if entry == 0 {
        return None;
    }
    // Length and a distance of four bytes each, then where the code begins, from here, and how much there is of it.
    // SAFETY: an entry of the table has at least these four fields.
    let begins: i32 = unsafe { read(entry, 8) };
    // SAFETY: as above.
    let size: u32 = unsafe { read(entry, 12) };
    let start = entry.wrapping_add(8).wrapping_add_signed(begins as isize);
    let end = start.checked_add(size as usize)?;
    // Entries may be written in other ways; then the numbers mean something else.
    (start == bases.function as usize && (start..end).contains(&(address - 1))).then_some((start, end))
}
