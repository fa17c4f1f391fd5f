//! A lane: a named thread of its own with a current-thread runtime, on which foreign code (a probe, a sink) is called.
//! A panic of that code ends at the lane. Nothing here waits for a lane: one that hangs is left alone.

mod gate;
mod probe;

use std::any::Any;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::thread::{Builder, JoinHandle};

pub(crate) use gate::{Gate, Gated};
pub(crate) use probe::{Answer, Job, Outcome, ProbeLane};

/// Room for an interpreter or a JVM that is called from a lane; the kernel backs only what is touched.
const STACK_BYTES: usize = 512 * 1024;
/// The agent watches few sockets; tokio's default of 1024 would take 16 KiB per lane.
const IO_EVENTS: usize = 32;

/// Starts a thread called `name` and runs `main` there, in a runtime with timers and I/O, until it returns.
///
/// The runtime is made by the caller, so that a machine without descriptors left is an error here and not there.
pub(crate) fn spawn<F>(name: &str, main: impl FnOnce() -> F + Send + 'static) -> io::Result<JoinHandle<()>>
where
    F: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_io_events_per_tick(IO_EVENTS)
        .max_blocking_threads(2)
        .thread_name(name)
        .build()?;
    Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(move || {
        let ended = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(async { main().await });
            drop(runtime);
        }));
        if let Err(payload) = ended {
            tracing::error!(message = %panic_message(payload), "a thread of leakline ended by a panic");
        }
    })
}

/// Runs `future` and turns a panic inside it into its message. The future is not polled again after a panic.
pub(crate) async fn guard<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(payload) => Poll::Ready(Err(panic_message(payload))),
    })
    .await
}

/// The words of a panic.
pub(crate) fn panic_message(payload: Box<dyn Any + Send>) -> String {
    let message = match payload.downcast::<String>() {
        Ok(message) => return *message,
        Err(payload) => payload.downcast_ref::<&str>().map(|message| (*message).to_owned()),
    };
    message.unwrap_or_else(|| "no message".to_owned())
}
