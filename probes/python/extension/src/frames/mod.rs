//! The call path of a Python thread, read out of the interpreter's own frames from inside an allocator hook, and what
//! tells its functions, files and lines later.
//!
//! A direct walk never allocates, never touches a reference count, never calls into the interpreter and takes no lock.
//! It is done only where it was compared with what the interpreter itself says, see [`Layout::find`].
//! Never from 3.12 on by the public API: there it makes a leak, and ends debug builds.

mod api;
mod careful;
mod check;
mod code;
pub(crate) mod loops;
#[cfg(all(target_env = "gnu", target_pointer_width = "64"))]
mod native_stack;
mod shape;
mod strings;
mod trial;
mod walk;

use std::ffi::c_void;

use leakline_python::layouts::{FrameObjects, Frames, InterpreterFrames, Version};
pub(crate) use leakline_python::lines::CodeInfo;
use pyo3::prelude::*;

pub(crate) use api::this_thread_state;

use crate::frames::api::Functions;
use crate::frames::code::CodeFields;
use crate::frames::shape::Shape;

/// One frame as it was found: enough to tell later, from what was copied, which line it was.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct RawFrame {
    /// Address of the code object.
    pub(crate) code: usize,
    /// Tells a code object from another that comes to lie at its address later: mixes the addresses of its line table
    /// and name, its first line, and the end of its file's name. 0 where the layout of code objects is not known.
    pub(crate) stamp: u32,
    /// Byte offset of the instruction, as `PyCode_Addr2Line` takes it (before the code, it is negative); or a line
    /// number already, when the highest bit is set: [`leakline_python::lines::CodeInfo::line`] tells them apart.
    pub(crate) instruction: u32,
}

/// Where the interpreter keeps its frames; plain numbers, found and checked once at attach.
#[derive(Clone, Copy)]
pub(crate) struct Layout(How);

#[derive(Clone, Copy)]
enum How {
    FrameObjects(FrameObjects, CodeFields),
    InterpreterFrames(InterpreterFrames, CodeFields),
    Api(Functions, CodeFields),
}

impl Layout {
    /// By what the interpreter itself publishes for debuggers, or by table for this version; then known stacks are walked
    /// and compared with what the public API says of them. The error is in words for a user; [`Layout::by_api`] may
    /// still do.
    pub(crate) fn find(py: Python<'_>) -> Result<Self, String> {
        Self::find_as(py, version(py))
    }

    /// As if it were another version: what leakline makes of one that it does not know.
    fn find_as(py: Python<'_>, version: Version) -> Result<Self, String> {
        if cfg!(not(target_pointer_width = "64")) {
            return Err("the frames of a 32-bit CPython are not known to leakline".to_owned());
        }
        if Python::version_str().contains("free-threading") {
            return Err("the frames of a free-threaded CPython are not known to leakline".to_owned());
        }
        api::find_thread_state(py)?;
        let code = CodeFields::find(py)?;
        let mut why_not = String::new();
        for Shape { frames, is_guess } in Shape::candidates(py, version)? {
            let layout = Self(match frames {
                Frames::Objects(frames) => How::FrameObjects(frames, code),
                Frames::Interpreter(frames) => How::InterpreterFrames(frames, code),
            });
            match check::check(py, layout, is_guess) {
                Ok(()) => return Ok(layout),
                Err(reason) => why_not = reason,
            }
        }
        Err(why_not)
    }

    /// The fallback: the public API, which makes frame objects inside the hook; lines come as numbers. The error says why
    /// it is no way: from 3.12 on CPython relies on nobody making a frame's object while it does so itself, and one that
    /// is made twice is never freed.
    pub(crate) fn by_api(py: Python<'_>) -> Result<Self, String> {
        if py.version_info() >= (3, 12) {
            return Err("from 3.12 on frames cannot be asked for while memory is allocated".to_owned());
        }
        api::find_thread_state(py)?;
        let functions = Functions::find(py).ok_or("the public API lacks a function")?;
        let layout = Self(How::Api(functions, CodeFields::find(py)?));
        check::check(py, layout, false)?;
        Ok(layout)
    }

    /// Whether a walk reads the frames itself, and calls nothing of Python's.
    pub(crate) fn is_direct(&self) -> bool {
        !matches!(self.0, How::Api(..))
    }

    /// Frames of `thread_state`, innermost first, into `into`: how many, and whether there were more. Leaves out what
    /// tracemalloc leaves out: frames that have not begun, and those that only mark an entry from C.
    ///
    /// # Safety
    ///
    /// `thread_state` is the current thread's own, and this thread holds the GIL.
    #[inline]
    pub(crate) unsafe fn walk(&self, thread_state: *const c_void, into: &mut [RawFrame]) -> (usize, bool) {
        if thread_state.is_null() {
            return (0, false);
        }
        match &self.0 {
            How::InterpreterFrames(frames, code) => {
                // SAFETY: the caller's promise, and both layouts were checked by `find`.
                unsafe { walk::interpreter_frames(frames, code, thread_state as usize, into) }
            }
            How::FrameObjects(frames, code) => {
                // SAFETY: the caller's promise, and both layouts were checked by `find`.
                unsafe { walk::frame_objects(frames, code, thread_state as usize, into) }
            }
            How::Api(functions, _) => {
                // SAFETY: the caller's promise.
                unsafe { functions.walk(thread_state, into) }
            }
        }
    }

    /// The frames of `thread_state` are where `memory` can be read, and each has a code object.
    fn can_be_followed(&self, memory: &careful::Memory, thread_state: *const c_void) -> bool {
        match &self.0 {
            How::InterpreterFrames(frames, _) => memory.is_chain(frames, thread_state as usize),
            How::FrameObjects(..) | How::Api(..) => true,
        }
    }

    /// Finds out where the interpreter's loop is, while it runs below.
    ///
    /// # Safety
    ///
    /// As for [`Layout::walk`].
    unsafe fn learn_loops(&self, thread_state: *const c_void) {
        if let How::InterpreterFrames(frames, _) = &self.0 {
            // SAFETY: the caller's promise.
            unsafe { loops::learn(frames, thread_state as usize) };
        }
    }

    /// A copy of what tells lines of a code object that is alive now. Allocates from leakline's own heap, and only reads:
    /// it is done while the hook's tables are locked.
    ///
    /// # Safety
    ///
    /// `code` was just found by [`Layout::walk`] on this thread and its frame still runs, with the GIL held since.
    pub(crate) unsafe fn code(&self, code: usize) -> CodeInfo {
        let (How::FrameObjects(_, fields) | How::InterpreterFrames(_, fields) | How::Api(_, fields)) =
            &self.0;
        // SAFETY: the caller's promise, and the layout was checked when it was found.
        unsafe { fields.copy(code) }
    }
}

/// This interpreter's exact version.
pub(crate) fn version(py: Python<'_>) -> Version {
    let version = py.version_info();
    Version { major: version.major, minor: version.minor, patch: version.patch }
}

/// The value at `address + offset`.
///
/// # Safety
///
/// A `T` must lie there, and nobody may write it meanwhile.
#[inline(always)]
unsafe fn read<T: Copy>(address: usize, offset: u32) -> T {
    // SAFETY: the caller promises it; alignment is not asked of the tables of offsets.
    unsafe { std::ptr::read_unaligned(address.wrapping_add(offset as usize) as *const T) }
}
