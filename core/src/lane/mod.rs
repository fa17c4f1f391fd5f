//! A lane: a named thread of its own with a current-thread runtime, on which foreign code (a probe, a sink) is called.
//! A panic of that code ends at the lane. Nothing here waits for a lane: one that hangs is left alone.
//!
//! The runtime has timers and no I/O driver, so a lane owns no descriptor. A host that closes all descriptors (every daemon
//! library does) would take the driver's away, and the driver then panics, in its destructor too, which aborts the process.
//! What needs a socket keeps one of its own and checks at each use that it still is its own.
//!
//! No destructor runs while a panic unwinds a lane: a second panic there would abort the host. What a panic left is leaked.

mod gate;
mod probe;

use std::alloc::{GlobalAlloc as _, Layout, System};
use std::any::Any;
use std::future::Future;
use std::io;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::thread::{Builder, JoinHandle};

pub(crate) use gate::{Gate, Gated};
pub(crate) use probe::{Answer, Job, Outcome, ProbeLane};

/// Room for an interpreter or a JVM that is called from a lane; the kernel backs only what is touched.
const STACK_BYTES: usize = 512 * 1024;

/// Whether the host's allocator has what std takes of it for a new thread. Without, std ends the process; this is looked at
/// right before, which leaves a host that takes its last bytes within some microseconds.
///
/// # Errors
///
/// When it has none.
pub fn room_for_a_thread() -> io::Result<()> {
    let layout = Layout::new::<[u8; 4096]>();
    // SAFETY: the layout is not of size zero.
    let block = unsafe { System.alloc(layout) };
    if block.is_null() {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    // SAFETY: allocated above with this layout.
    unsafe { System.dealloc(block, layout) };
    Ok(())
}

/// Starts a thread called `name` and runs `main` there, in a runtime with timers but without I/O, until it returns.
pub(crate) fn spawn<F>(name: &str, main: impl FnOnce() -> F + Send + 'static) -> io::Result<JoinHandle<()>>
where
    F: Future<Output = ()>,
{
    room_for_a_thread()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .max_blocking_threads(2)
        .thread_name(name)
        .build()?;
    Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(move || {
        let runtime = ManuallyDrop::new(runtime);
        // On the heap and not on the stack, so that a panic leaves there what it has not unwound.
        let mut main = ManuallyDrop::new(Box::pin(async { main().await }));
        let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(main.as_mut())));
        match ended {
            Ok(()) => {
                drop_guarded(ManuallyDrop::into_inner(main));
                // Does not wait for a name that is being resolved.
                drop_guarded_with(
                    ManuallyDrop::into_inner(runtime),
                    tokio::runtime::Runtime::shutdown_background,
                );
            }
            Err(payload) => {
                tracing::error!(message = %panic_message(payload), "a thread of leakline ended by a panic");
            }
        }
    })
}

/// Drops `value`; a panic of its destructor ends here.
pub(crate) fn drop_guarded<T>(value: T) {
    drop_guarded_with(value, drop);
}

fn drop_guarded_with<T>(value: T, end: impl FnOnce(T)) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| end(value))) {
        tracing::error!(message = %panic_message(payload), "a panic while something of leakline's was given back");
    }
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
