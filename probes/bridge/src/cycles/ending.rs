//! Whether the JVM is being ended, on a thread that has just entered it as no daemon. Who ends it waits for such threads, but may
//! have stopped waiting in the instant before this one came; then it would be stopped for good at its next call, with Python's
//! lock in its hands. Java's own end begins right after that waiting, and is asked for after a moment.
//!
//! Takes the lock of Java's table of things to do at its end, which no program can hold. Never here: Python's lock.

use std::time::Duration;

use crate::error::BridgeError;
use crate::java::{Frame, Member};

/// Until whoever has stopped waiting has surely gone on.
const MOMENT: Duration = Duration::from_millis(20);

const RUNTIME: &str = "Ljava/lang/Runtime;";
const THREAD: &str = "Ljava/lang/Thread;";

/// An error where it is, or where nobody can tell.
pub(super) fn check(frame: &Frame<'_>) -> Result<(), BridgeError> {
    std::thread::sleep(MOMENT);
    let nothing = BridgeError::Nothing { call: "Runtime.getRuntime" };
    let (_, runtime) = frame.initialised(&[RUNTIME]).ok_or(nothing)?;
    let nothing = BridgeError::Nothing { call: "Thread.currentThread" };
    let (_, thread) = frame.initialised(&[THREAD]).ok_or(nothing)?;
    let get_runtime =
        Member { name: c"getRuntime", of: c"()Ljava/lang/Runtime;", call: "Runtime.getRuntime" };
    let current =
        Member { name: c"currentThread", of: c"()Ljava/lang/Thread;", call: "Thread.currentThread" };
    let runtime = frame.call_static(runtime, get_runtime)?;
    let thread = frame.call_static(thread, current)?;
    // This thread is none of those that run at the end, so nothing is removed; once the end has begun, it throws.
    let remove = Member {
        name: c"removeShutdownHook",
        of: c"(Ljava/lang/Thread;)Z",
        call: "Runtime.removeShutdownHook",
    };
    frame.call_with(runtime, RUNTIME, remove, thread).map_err(|_| BridgeError::Ended)
}
