//! Where this CPython keeps its frames: by what it publishes for debuggers, else by the table for its version.
//! Only numbers; no frame is read here. Builds that may differ and publish nothing are refused.

use leakline_python::layouts::{Frames, InterpreterFrames, Published, Version, frames, published};
use pyo3::ffi;
use pyo3::prelude::*;

use super::read;
use crate::host;

/// A layout, and how far it is to be believed.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) frames: Frames,
    /// Whether nobody has seen this version, or it contradicts what is known of it: what it says may be read in the wrong
    /// places, so every address is tried before it is followed.
    pub(super) is_guess: bool,
}

impl Shape {
    /// What may fit `version`, best first; or why nothing does.
    pub(super) fn candidates(py: Python<'_>, version: Version) -> Result<Vec<Self>, String> {
        let Version { major, minor, .. } = version;
        let known = frames(version);
        let is_preview = py.version_info().suffix.is_some_and(|suffix| suffix.starts_with(['a', 'b']));
        if let Some(table) = Table::find(py) {
            let shape = |how: &Published| {
                let frames = Frames::Interpreter(table.frames(*how)?);
                Some(Self { frames, is_guess: is_preview || known != Some(frames) })
            };
            let found: Vec<Self> = published(version).iter().filter_map(shape).collect();
            if !found.is_empty() {
                return Ok(found);
            }
        }
        if is_preview {
            return Err(format!("the frames of CPython {major}.{minor} may differ before its release"));
        }
        // SAFETY: the GIL is held; the call gives a borrowed reference or null, and sets no exception.
        let of_debug_builds = unsafe { ffi::PySys_GetObject(c"gettotalrefcount".as_ptr()) };
        if !of_debug_builds.is_null() {
            return Err("the frames of a debug build of CPython may differ".to_owned());
        }
        match known {
            Some(frames) => Ok(vec![Self { frames, is_guess: false }]),
            None => Err(format!("the frames of CPython {major}.{minor} are not known to leakline")),
        }
    }
}

/// The table of offsets that the interpreter publishes (`_Py_DebugOffsets`).
struct Table(usize);

impl Table {
    /// Finds it where this interpreter, with a GIL, has it.
    fn find(py: Python<'_>) -> Option<Self> {
        let table = Self(host::symbol(c"_PyRuntime")?.as_ptr() as usize);
        // SAFETY: `_PyRuntime` is a variable of many pages in every CPython that has it.
        let cookie: [u8; 8] = unsafe { read(table.0, 0) };
        let version = py.version_info();
        // As in `PY_VERSION_HEX`, whose last byte says how far it is from a release.
        let number = u64::from(u32::from_be_bytes([0, version.major, version.minor, version.patch]));
        (cookie == Published::COOKIE
            && table.number(Published::VERSION) >> 8 == number
            && table.number(Published::FREE_THREADED) == 0)
            .then_some(table)
    }

    fn number(&self, at: u32) -> u64 {
        // SAFETY: as in `find`: the table is followed by the rest of that variable.
        unsafe { read(self.0, at) }
    }

    /// The frames as it says, read in this way; `None` where its numbers cannot be what they are taken for.
    fn frames(&self, how: Published) -> Option<InterpreterFrames> {
        let within = |at: u32, size: u32, width: u64| {
            let (offset, size) = (self.number(at), self.number(size));
            let fits = size <= 1 << 16 && offset.is_multiple_of(width) && offset.checked_add(width)? <= size;
            fits.then_some(offset as u32)
        };
        let found = InterpreterFrames {
            innermost: within(how.innermost(), how.thread, 8)?,
            through: None,
            previous: within(how.previous(), how.frame, 8)?,
            code: within(how.code_of_frame(), how.frame, 8)?,
            instruction: within(how.instruction(), how.frame, 8)?,
            owner: within(how.owner(), how.frame, 1)?,
        };
        let places = [found.previous, found.code, found.instruction, found.owner & !7];
        let differ = (1..4).all(|later| places.iter().skip(later).all(|place| *place != places[later - 1]));
        differ.then_some(found)
    }
}
