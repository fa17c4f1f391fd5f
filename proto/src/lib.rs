//! What leakline sends and what it writes: the messages of `leakline.v1`, the coding of core's records as numbered
//! entries and back, and the form of a recording.
//!
//! - [`Encoder`] turns a session's records into entries, [`Decoder`] turns entries into events.
//! - [`recording`] turns entries into the bytes of a file, and bytes of a file into entries.
//! - [`v1`] is generated; its types stop at the conversions of this crate.
//!
//! Never here: files, sockets, clocks, threads. What comes from outside is not trusted: it gives a value or an error,
//! whatever its bytes, and takes memory within the bounds of [`limits`].

mod convert;
mod decode;
mod encode;
mod error;
pub mod limits;
pub mod recording;
#[expect(
    missing_docs,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated: what the fields mean is written in leakline.proto"
)]
#[path = "generated/leakline.v1.rs"]
pub mod v1;

pub use decode::{Decoder, Event};
pub use encode::Encoder;
pub use error::DecodeError;

/// The version of the stream between agent and collector, told in `Hello` and `Welcome`.
pub const PROTOCOL_VERSION: u32 = 1;
