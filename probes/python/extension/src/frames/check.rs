//! The self-test of a layout: a program with known stacks calls back, and what the walk finds is compared with what the
//! interpreter says of the same frames through its public API.
//! Nothing of it stays behind in the interpreter.

use std::ffi::CStr;

use leakline_python::lines::IS_LINE;
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use super::careful::Memory;
use super::code::compile;
use super::{Layout, RawFrame, this_thread_state};

/// Calls `probe` in a nested function, a generator, a coroutine, a class body, a deep recursion and from C.
const PROGRAM: &CStr = match CStr::from_bytes_with_nul(concat!(include_str!("known.py"), "\0").as_bytes()) {
    Ok(program) => program,
    Err(_) => c"",
};
/// Times that the program calls `probe`.
const CALLS: usize = 8;
/// The program's name has a character that needs two bytes, so that such names are tried, too.
const FILE: &CStr = c"<leakline \xc4\xb1>";
const DEPTH: usize = 64;

/// Compares; the error is in words for a user. `is_guess`: each address is tried before it is followed.
pub(super) fn check(py: Python<'_>, layout: Layout, is_guess: bool) -> Result<(), String> {
    let memory = if is_guess { Some(Memory::open()?) } else { None };
    match run(py, layout, memory) {
        Ok(CALLS) => Ok(()),
        Ok(calls) => Err(format!("the frames were compared {calls} times instead of {CALLS}")),
        Err(error) => Err(error.value(py).to_string()),
    }
}

fn run(py: Python<'_>, layout: Layout, memory: Option<Memory>) -> PyResult<usize> {
    let probe = move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
        compare(arguments.py(), layout, memory.as_ref()).map_err(|mismatch| match mismatch {
            Mismatch::Words(words) => PyRuntimeError::new_err(words),
            Mismatch::Error(error) => error,
        })
    };
    let globals = PyDict::new(py);
    // SAFETY: the GIL is held.
    let builtins = unsafe { ffi::PyEval_GetBuiltins() };
    // SAFETY: the call gave a reference that the interpreter keeps, or null.
    let builtins = unsafe { Bound::from_borrowed_ptr_or_err(py, builtins) }?;
    globals.set_item("__builtins__", builtins)?;
    globals.set_item("__name__", "leakline")?;
    globals.set_item("probe", PyCFunction::new_closure(py, Some(c"leakline_probe"), None, probe)?)?;
    let code = compile(py, PROGRAM, FILE, ffi::Py_file_input)?;
    // SAFETY: code and dictionary are alive, and the GIL is held.
    let done = unsafe { ffi::PyEval_EvalCode(code.as_ptr(), globals.as_ptr(), globals.as_ptr()) };
    // SAFETY: the call gave a new reference, or null with an exception set.
    drop(unsafe { Bound::from_owned_ptr_or_err(py, done) }?);
    let calls = globals.get_item("found")?.map_or(Ok(0), |found| found.len());
    // The functions refer to the dictionary they are in.
    globals.clear();
    calls
}

enum Mismatch {
    Words(String),
    Error(PyErr),
}

impl From<PyErr> for Mismatch {
    fn from(error: PyErr) -> Self {
        Self::Error(error)
    }
}

/// Compares the frames of the caller with what its frame objects say, and gives their number.
fn compare(py: Python<'_>, layout: Layout, memory: Option<&Memory>) -> Result<usize, Mismatch> {
    let mut frames = [RawFrame::default(); DEPTH];
    let thread_state = this_thread_state(true);
    if memory.is_some_and(|memory| !layout.can_be_followed(memory, thread_state)) {
        return Err(wrong("where they are", 0));
    }
    // SAFETY: the thread state is this thread's, and it holds the GIL.
    let (found, more) = unsafe { layout.walk(thread_state, &mut frames) };
    // SAFETY: the GIL is held.
    let innermost = unsafe { ffi::PyEval_GetFrame() };
    // SAFETY: the call gave a reference that the frame stack keeps, or null.
    let mut said = unsafe { Bound::from_borrowed_ptr_or_opt(py, innermost.cast()) };
    let mut at = 0;
    for frame in frames.iter().take(found) {
        let Some(object) = said else { return Err(wrong("there are more of them", at)) };
        compare_frame(layout, *frame, &object, at)?;
        said = Some(object.getattr("f_back")?).filter(|back| !back.is_none());
        at += 1;
    }
    if more != said.is_some() || found < 2 {
        return Err(wrong("their number", at));
    }
    // SAFETY: the walk was right, so its layout is this interpreter's.
    unsafe { layout.learn_loops(thread_state) };
    Ok(found)
}

fn compare_frame(
    layout: Layout,
    frame: RawFrame,
    said: &Bound<'_, PyAny>,
    at: usize,
) -> Result<(), Mismatch> {
    let code = said.getattr("f_code")?;
    if code.as_ptr() as usize != frame.code {
        return Err(wrong("the code object", at));
    }
    let instruction: i64 = said.getattr("f_lasti")?.extract()?;
    if frame.instruction & IS_LINE == 0 && i64::from(frame.instruction) != instruction {
        return Err(wrong("the instruction", at));
    }
    // SAFETY: the walk just found it, and its frame still runs.
    let info = unsafe { layout.code(frame.code) };
    let function: String = match code.getattr("co_qualname") {
        Ok(name) => name.extract()?,
        Err(_) => code.getattr("co_name")?.extract()?,
    };
    if *info.function != *function {
        return Err(wrong("the function's name", at));
    }
    // A file's name may hold what has no place in UTF-8.
    if let Ok(file) = code.getattr("co_filename")?.extract::<String>()
        && *info.file != *file
    {
        return Err(wrong("the file's name", at));
    }
    let line: Option<u32> = said.getattr("f_lineno")?.extract()?;
    if info.line(frame.instruction) != line.unwrap_or(0) {
        return Err(wrong("the line", at));
    }
    Ok(())
}

fn wrong(what: &str, at: usize) -> Mismatch {
    Mismatch::Words(format!("the frames do not lie where leakline expects them: {what} at frame {at}"))
}
