//! Where a code object keeps what tells its function, file and lines: found by looking for known values in one.
//! The only thing read of a code object in a walk is what its [`CodeFields::stamp`] needs.

use leakline_python::layouts::FROM_FIRST_TRACEABLE;
use leakline_python::lines::{CodeInfo, LineFormat};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::read;
use super::strings::Strings;

/// Of the code object that the fields are looked for in.
const FIRST_LINE: i32 = 0x0135_79bd;
/// No version's code object begins its code later.
const MOST_BYTES: usize = 256;

/// Offsets in a code object.
#[derive(Clone, Copy)]
pub(super) struct CodeFields {
    file: u32,
    /// `co_qualname` where there is one, else `co_name`.
    function: u32,
    lines: u32,
    first_line: u32,
    /// From 3.11 on: of the index of the first instruction that a tracer is told of, and of the code.
    pub(super) first_traceable: u32,
    pub(super) start: u32,
    format: LineFormat,
    strings: Strings,
}

impl CodeFields {
    pub(super) fn find(py: Python<'_>) -> Result<Self, String> {
        let strings = Strings::find(py)?;
        Self::look(py, strings).unwrap_or_else(|error| Err(error.value(py).to_string()))
    }

    fn look(py: Python<'_>, strings: Strings) -> PyResult<Result<Self, String>> {
        let minor = u32::from(py.version_info().minor);
        let code = compile(py, c"None", c"<leakline>", ffi::Py_eval_input)?;
        let named = PyDict::new(py);
        named.set_item("co_filename", "<leakline's file>")?;
        named.set_item("co_name", "leakline_name")?;
        if minor >= 11 {
            named.set_item("co_qualname", "leakline.<locals>.qualified")?;
        }
        named.set_item("co_firstlineno", FIRST_LINE)?;
        let code = code.call_method("replace", (), Some(&named))?;
        let size: usize = code.call_method0("__sizeof__")?.extract()?;
        let start: u32 = code.get_type().getattr("__basicsize__")?.extract()?;
        let size = size.min(start as usize).min(MOST_BYTES) as u32;

        let function = if minor >= 11 { "co_qualname" } else { "co_name" };
        let lines = if minor >= 10 { "co_linetable" } else { "co_lnotab" };
        let address = code.as_ptr() as usize;
        let place = |name: &str| -> PyResult<Option<u32>> {
            let value = code.getattr(name)?.as_ptr() as usize;
            // SAFETY: `code` is alive and `size` bytes long at least.
            Ok(only(
                (16..size.saturating_sub(7)).step_by(8),
                |at| unsafe { read::<usize>(address, at) } == value,
            ))
        };
        // SAFETY: as above.
        let is_first_line = |at: u32| unsafe { read::<i32>(address, at) } == FIRST_LINE;
        let first_line = only((16..size.saturating_sub(3)).step_by(4), is_first_line);
        let found = (place("co_filename")?, place(function)?, place(lines)?, first_line);
        let (Some(file), Some(function), Some(lines), Some(first_line)) = found else {
            return Ok(
                Err("this CPython keeps code objects in a way that leakline does not know".to_owned()),
            );
        };
        let first_traceable = start.saturating_sub(FROM_FIRST_TRACEABLE);
        let format = LineFormat::of_minor(minor);
        Ok(Ok(Self { file, function, lines, first_line, first_traceable, start, format, strings }))
    }

    /// See [`super::RawFrame::stamp`].
    ///
    /// # Safety
    ///
    /// A code object of this interpreter must be alive at `code`, with the GIL held.
    #[inline(always)]
    pub(super) unsafe fn stamp(&self, code: usize) -> u32 {
        // SAFETY: the caller's promise.
        let lines: usize = unsafe { read(code, self.lines) };
        // SAFETY: as above.
        let function: usize = unsafe { read(code, self.function) };
        // SAFETY: as above.
        let first_line: u32 = unsafe { read(code, self.first_line) };
        // SAFETY: as above.
        let file: usize = unsafe { read(code, self.file) };
        // By what it says: code that is compiled and dropped again and again comes to lie at the same addresses with all
        // its parts, but for the file that it says it is from.
        // SAFETY: a code object keeps its strings alive.
        let file = unsafe { self.strings.end(file) };
        // Addresses are multiples of 16, and close to each other: the product's upper half has a part of every bit.
        let mixed =
            (lines as u64 ^ (function as u64).rotate_left(29) ^ file.wrapping_mul(0xd6e8_feb8_6659_fd93))
                .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as u32 ^ first_line
    }

    /// See [`super::Layout::code`].
    ///
    /// # Safety
    ///
    /// A code object of this interpreter must be alive at `code`, with the GIL held.
    pub(super) unsafe fn copy(&self, code: usize) -> CodeInfo {
        // SAFETY: the caller's promise.
        let function = unsafe { self.text(code, self.function) };
        // SAFETY: the caller's promise.
        let file = unsafe { self.text(code, self.file) };
        // SAFETY: the caller's promise.
        let first_line: u32 = unsafe { read(code, self.first_line) };
        // SAFETY: the caller's promise.
        let lines: usize = unsafe { read(code, self.lines) };
        // SAFETY: a code object keeps its line table, which is a bytes object.
        let lines = unsafe { self.strings.bytes(lines) }.unwrap_or_default();
        CodeInfo { function, file, first_line, lines, format: self.format }
    }

    /// # Safety
    ///
    /// As for `copy`; a string must be kept at `field`.
    unsafe fn text(&self, code: usize, field: u32) -> Box<str> {
        // SAFETY: the caller's promise.
        let string: usize = unsafe { read(code, field) };
        // SAFETY: a code object keeps its strings alive.
        unsafe { self.strings.string(string, usize::MAX) }.unwrap_or_else(|| "<unknown>".into())
    }
}

/// Compiles source text; the interpreter's `compile` may have been replaced by the host.
pub(super) fn compile<'py>(
    py: Python<'py>,
    source: &std::ffi::CStr,
    file: &std::ffi::CStr,
    start: std::ffi::c_int,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: both texts end with a NUL, and the GIL is held.
    let code = unsafe { ffi::Py_CompileString(source.as_ptr(), file.as_ptr(), start) };
    // SAFETY: the call gave a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, code) }
}

/// The only one of `places` that is it.
fn only(places: impl Iterator<Item = u32>, is_it: impl Fn(u32) -> bool) -> Option<u32> {
    let mut found = places.filter(|place| is_it(*place));
    let first = found.next()?;
    found.next().is_none().then_some(first)
}
