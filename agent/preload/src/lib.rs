//! The library that is preloaded into a host, or loaded by it: an entry at load, an exit at unload, and the agent's
//! functions by their C names. Everything they do stands in crate `leakline`, which is tested on its own.
//!
//! Never here: a decision. A panic is caught at each of these edges.

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod malloc;

use std::ffi::{CStr, CString, c_char, c_int};
use std::panic::{UnwindSafe, catch_unwind};
use std::ptr;
use std::time::Duration;

use leakline::AgentError;
use leakline_probing::heap::OwnHeap;

/// The agent's memory is not the host's: it never shows up in the host's malloc.
#[global_allocator]
static HEAP: OwnHeap = OwnHeap;

#[used]
#[unsafe(link_section = ".init_array")]
static ON_LOAD: extern "C" fn() = on_load;

#[used]
#[unsafe(link_section = ".fini_array")]
static ON_UNLOAD: extern "C" fn() = on_unload;

extern "C" fn on_load() {
    let _ = catch_unwind(leakline::preload::on_load);
}

extern "C" fn on_unload() {
    let _ = catch_unwind(leakline::preload::on_unload);
}

/// 0: done. 1: already running, or not running. 2: failed. 3: a panic, caught.
fn edge(call: impl FnOnce() -> Result<(), AgentError> + UnwindSafe) -> c_int {
    match catch_unwind(call) {
        Ok(Ok(())) => 0,
        Ok(Err(AgentError::AlreadyRunning | AgentError::NotRunning | AgentError::ForkedChild { .. })) => 1,
        Ok(Err(_)) => 2,
        Err(_) => 3,
    }
}

/// Starts the agent with the settings of the environment and the file that it names; 2 also when they are refused.
#[unsafe(no_mangle)]
pub extern "C" fn leakline_start() -> c_int {
    match catch_unwind(leakline::Config::load) {
        Ok(Ok(config)) => edge(|| leakline::start(config)),
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
