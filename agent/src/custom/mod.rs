//! Probes of the host's own that are written in another language than Rust. Java's and Kotlin's are called by the bridge of
//! the JVM; those of a runtime whose threads must be its own (Python) are asked through *readers*: a thread of the host's
//! waits until it is to read, tells what it read as text, and waits again. So the agent's lane never stands in the host's
//! code, and whatever becomes of such a thread at the runtime's end is the runtime's own affair.
//!
//! A Rust host needs none of this: see [`add_probe`](crate::add_probe).
//!
//! Never here: a call into a runtime, or a wait of the host's for the agent without its having asked for it.

mod probe;
mod readers;
mod told;

pub(crate) use probe::CustomProbe;
pub(crate) use readers::{begin_waiting, is_any_open, let_go};
pub use readers::{close, done, open, tell, wait};
pub use told::gauges;
