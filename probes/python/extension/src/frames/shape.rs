//! Where each CPython keeps its frames: by table from 3.9 to 3.13. Within one minor version the layout does not change
//! once that version is released.
//! Only numbers; no frame is read here. Builds that may differ (debug builds, those before a release) are refused.

use pyo3::ffi;
use pyo3::prelude::*;

/// The two kinds of frames that CPython has had.
pub(super) enum Shape {
    FrameObjects(FrameObjects),
    InterpreterFrames(InterpreterFrames),
}

/// 3.9 and 3.10: a chain of frame objects.
#[derive(Clone, Copy)]
pub(super) struct FrameObjects {
    /// Of the innermost frame in the thread state.
    pub(super) innermost: u32,
    pub(super) back: u32,
    pub(super) code: u32,
    pub(super) last_instruction: u32,
    /// Bytes in what the last instruction is counted in.
    pub(super) unit: i32,
}

/// From 3.11 on: a chain of interpreter frames, which mostly have no object.
#[derive(Clone, Copy)]
pub(super) struct InterpreterFrames {
    /// In the thread state: of the innermost frame, or of what points to it.
    pub(super) innermost: u32,
    /// Where the thread state has only a pointer to what has the pointer to the innermost frame.
    pub(super) through: Option<u32>,
    pub(super) previous: u32,
    pub(super) code: u32,
    pub(super) instruction: u32,
    pub(super) owner: u32,
}

impl Shape {
    pub(super) fn find(py: Python<'_>) -> Result<Self, String> {
        let version = py.version_info();
        let (major, minor) = (version.major, version.minor);
        if version.suffix.is_some_and(|suffix| suffix.starts_with(['a', 'b'])) {
            return Err(format!("the frames of CPython {major}.{minor} may differ before its release"));
        }
        // SAFETY: the GIL is held; the call gives a borrowed reference or null, and sets no exception.
        let of_debug_builds = unsafe { ffi::PySys_GetObject(c"gettotalrefcount".as_ptr()) };
        if !of_debug_builds.is_null() {
            return Err("the frames of a debug build of CPython may differ".to_owned());
        }
        Self::of(major, minor)
            .ok_or_else(|| format!("the frames of CPython {major}.{minor} are not known to leakline"))
    }

    fn of(major: u8, minor: u8) -> Option<Self> {
        let objects = |last_instruction, unit| {
            Self::FrameObjects(FrameObjects { innermost: 24, back: 24, code: 32, last_instruction, unit })
        };
        Some(match (major, minor) {
            (3, 9) => objects(104, 1),
            (3, 10) => objects(96, 2),
            (3, 11) => Self::InterpreterFrames(InterpreterFrames {
                innermost: 56,
                through: Some(8),
                previous: 48,
                code: 32,
                instruction: 56,
                owner: 69,
            }),
            (3, 12) => Self::InterpreterFrames(InterpreterFrames {
                innermost: 56,
                through: Some(0),
                previous: 8,
                code: 0,
                instruction: 56,
                owner: 70,
            }),
            (3, 13) => Self::InterpreterFrames(InterpreterFrames {
                innermost: 72,
                through: None,
                previous: 8,
                code: 0,
                instruction: 56,
                owner: 70,
            }),
            _ => return None,
        })
    }
}
