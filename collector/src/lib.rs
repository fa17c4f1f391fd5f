//! Receives sessions from agents over gRPC, keeps each as a recording in a folder, and reads recordings back.
//!
//! - An entry is acknowledged after it is on disk, and never before.
//! - A session that comes back goes on where its recording ends; a torn end is cut off first.
//! - A heap dump is kept whole beside its session's recording, or not at all.
//! - A client that sends garbage is told what is wrong with it, and harms no other session.
//! - Memory is bounded: sessions, connections, messages, events (see [`CollectorOptions`]).
//!
//! Never here: probes and sinks, code of one operating system only, verdicts, output for people.

mod ask;
mod dump;
mod error;
mod event;
mod incoming;
mod options;
mod recording;
mod registry;
mod send_dump;
mod server;
pub mod sessions;
mod store;
mod stream;

pub use ask::ask;
pub use error::CollectorError;
pub use event::{CollectorEvent, EndReason};
pub use options::CollectorOptions;
pub use registry::Handle;
pub use send_dump::{Dumped, KeptDump, send_dump};
pub use server::{Bound, Collector};
