//! The agent's functions by their C names, once for every library that has them: the one that is preloaded and the one that
//! a JVM loads. Python's `import leakline` calls these.
//!
//! Never here: a decision, a way to start. A panic is caught at each of these edges.

use std::ffi::{CStr, CString, c_char, c_int};
use std::panic::{UnwindSafe, catch_unwind};
use std::ptr;
use std::time::Duration;

use leakline::{AgentError, custom};

/// 0: done. 1: already running, or not running. 2: failed. 3: a panic, caught.
pub fn edge(call: impl FnOnce() -> Result<(), AgentError> + UnwindSafe) -> c_int {
    match catch_unwind(call) {
        Ok(Ok(())) => 0,
        Ok(Err(AgentError::AlreadyRunning | AgentError::NotRunning | AgentError::ForkedChild { .. })) => 1,
        Ok(Err(_)) => 2,
        Err(_) => 3,
    }
}

/// Takes a snapshot now and waits for it. The caller must not hold the GIL (ctypes' `CDLL` lets go of it).
#[unsafe(no_mangle)]
pub extern "C" fn leakline_snapshot_now() -> c_int {
    edge(|| leakline::snapshot_now().map(drop))
}

/// Tells a named event. Never blocks.
///
/// # Safety
/// `name` is null (then nothing is told) or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakline_mark(name: *const c_char) -> c_int {
    if name.is_null() {
        return 2;
    }
    // SAFETY: the caller guarantees a NUL-terminated string.
    let name = unsafe { CStr::from_ptr(name) };
    edge(|| leakline::mark(&name.to_string_lossy()))
}

/// Takes a snapshot that growth is counted from from now on; does not wait for it.
#[unsafe(no_mangle)]
pub extern "C" fn leakline_reset_baseline() -> c_int {
    edge(leakline::reset_baseline)
}

/// Records every allocation for `seconds`; does not wait. 2 also for a time of nothing.
#[unsafe(no_mangle)]
pub extern "C" fn leakline_open_window(seconds: u32) -> c_int {
    if seconds == 0 {
        return 2;
    }
    edge(|| leakline::open_window(leakline::Window::exact(Duration::from_secs(u64::from(seconds)))))
}

/// Ends the window that is open; does not wait.
#[unsafe(no_mangle)]
pub extern "C" fn leakline_close_window() -> c_int {
    edge(leakline::close_window)
}

/// Counts objects by type with a snapshot taken now; does not wait.
#[unsafe(no_mangle)]
pub extern "C" fn leakline_take_census() -> c_int {
    edge(leakline::take_census)
}

/// Looks for cycles across the heaps of Python and Java with a snapshot taken now; does not wait.
#[unsafe(no_mangle)]
pub extern "C" fn leakline_look_for_cycles() -> c_int {
    edge(leakline::look_for_cycles)
}

/// The last snapshot as JSON, or null when none can be had. Give it back to `leakline_free`.
#[unsafe(no_mangle)]
pub extern "C" fn leakline_stats_json() -> *mut c_char {
    let json = catch_unwind(|| {
        let stats = leakline::stats().ok()?;
        CString::new(serde_json::to_string(&*stats.snapshot).ok()?).ok()
    });
    json.ok().flatten().map_or(ptr::null_mut(), CString::into_raw)
}

/// Frees what `leakline_stats_json` gave.
///
/// # Safety
/// `text` is null or came from `leakline_stats_json` and was not freed yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakline_free(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: the caller guarantees that it came from `CString::into_raw` above, once.
        drop(unsafe { CString::from_raw(text) });
    }
}

/// Stops the agent; waits at most as long as `final_wait` says.
#[unsafe(no_mangle)]
pub extern "C" fn leakline_stop() -> c_int {
    edge(|| {
        leakline::stop();
        Ok(())
    })
}

/// 1: leakline runs in this process. 0: it does not.
#[unsafe(no_mangle)]
pub extern "C" fn leakline_is_running() -> c_int {
    catch_unwind(leakline::is_running).is_ok_and(|runs| runs).into()
}

/// A reader for probes of the program's own, to be waited in by another thread: its number. 0: there are too many.
/// See [`leakline::custom`].
#[unsafe(no_mangle)]
pub extern "C" fn leakline_reader_open() -> u32 {
    catch_unwind(custom::open).ok().flatten().unwrap_or(0)
}

/// Waits until the reader is to read: 1, and then it tells what it read and is done. 0: it is closed.
#[unsafe(no_mangle)]
pub extern "C" fn leakline_reader_wait(reader: u32) -> c_int {
    catch_unwind(|| custom::wait(reader)).is_ok_and(|reads| reads).into()
}

/// Tells lines of what is read: see [`leakline::custom::gauges`], and `probe` with a name before each probe's turn.
///
/// # Safety
/// `text` is null (then nothing is told) or a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn leakline_reader_tell(reader: u32, text: *const c_char) -> c_int {
    if text.is_null() {
        return 2;
    }
    // SAFETY: the caller guarantees a NUL-terminated string.
    let text = unsafe { CStr::from_ptr(text) };
    match catch_unwind(|| custom::tell(reader, &text.to_string_lossy())) {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(_) => 3,
    }
}

/// All is told that was to be read.
#[unsafe(no_mangle)]
pub extern "C" fn leakline_reader_done(reader: u32) {
    let _ = catch_unwind(|| custom::done(reader));
}

/// No more is read through it; a thread that waits in it goes on.
#[unsafe(no_mangle)]
pub extern "C" fn leakline_reader_close(reader: u32) {
    let _ = catch_unwind(|| custom::close(reader));
}
