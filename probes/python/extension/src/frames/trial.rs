//! One exported function through which a test program sees its own frames as leakline does, and how long that takes.
//! For tests and benchmarks only: the agent never calls it.

use std::fmt::Write;
use std::panic::catch_unwind;
use std::time::Instant;

use leakline_python::layouts::Version;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::{Layout, RawFrame, this_thread_state};

/// Frames that are told at most.
const DEPTH: usize = 2000;

/// The caller's frames as a Python string, a line for each: function, file and line number, with tabs between; or `!` and
/// why not. `by_api`: through the fallback. `rounds`: more than 0 walks that often, at most `depth` frames deep, and
/// gives the nanoseconds of a walk instead.
///
/// # Safety
///
/// For a thread that holds the GIL.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn leakline_cpython_frames(
    by_api: bool,
    depth: usize,
    rounds: u32,
) -> *mut ffi::PyObject {
    // SAFETY: the caller promises it.
    let py = unsafe { Python::assume_attached() };
    let text = catch_unwind(|| text(py, by_api, depth.min(DEPTH), rounds));
    PyString::new(py, &text.unwrap_or_else(|_| "!panicked".to_owned())).into_ptr()
}

/// The caller's frames as leakline would read them if it took the interpreter for CPython 3.`minor`.`patch`.
///
/// # Safety
///
/// For a thread that holds the GIL.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn leakline_cpython_frames_of(minor: u8, patch: u8) -> *mut ffi::PyObject {
    // SAFETY: the caller promises it.
    let py = unsafe { Python::assume_attached() };
    let text = catch_unwind(|| match Layout::find_as(py, Version::of_3(minor, patch)) {
        Ok(layout) => tell(layout, DEPTH),
        Err(reason) => format!("!{reason}"),
    });
    PyString::new(py, &text.unwrap_or_else(|_| "!panicked".to_owned())).into_ptr()
}

/// Where the parts of the interpreter's loop are that the self-test found, a line for each, in hexadecimal digits.
///
/// # Safety
///
/// For a thread that holds the GIL.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn leakline_cpython_loops() -> *mut ffi::PyObject {
    // SAFETY: the caller promises it.
    let py = unsafe { Python::assume_attached() };
    let lines: Vec<String> =
        super::loops::found().iter().map(|(start, end)| format!("{start:x} {end:x}")).collect();
    PyString::new(py, &lines.join("\n")).into_ptr()
}

fn text(py: Python<'_>, by_api: bool, depth: usize, rounds: u32) -> String {
    match if by_api { Layout::by_api(py) } else { Layout::find(py) } {
        Ok(layout) if rounds > 0 => time(layout, depth, rounds),
        Ok(layout) => tell(layout, depth),
        Err(reason) => format!("!{reason}"),
    }
}

fn tell(layout: Layout, depth: usize) -> String {
    let mut frames = vec![RawFrame::default(); depth];
    // SAFETY: the thread state is this thread's, which holds the GIL.
    let (found, more) = unsafe { layout.walk(this_thread_state(false), &mut frames) };
    let mut text = String::new();
    for frame in frames.iter().take(found) {
        // SAFETY: the walk just found it, and its frame still runs.
        let code = unsafe { layout.code(frame.code) };
        writeln!(text, "{}\t{}\t{}", code.function, code.file, code.line(frame.instruction)).ok();
    }
    if more {
        text.push_str("...\n");
    }
    text
}

fn time(layout: Layout, depth: usize, rounds: u32) -> String {
    let mut frames = vec![RawFrame::default(); depth];
    let begun = Instant::now();
    for _ in 0..rounds {
        // SAFETY: the thread state is this thread's, which holds the GIL.
        unsafe { layout.walk(this_thread_state(true), std::hint::black_box(&mut frames)) };
    }
    format!("{:.2}", begun.elapsed().as_nanos() as f64 / f64::from(rounds))
}
