//! A sink that sends a session to a collector over gRPC.
//!
//! What the collector has not acknowledged as being on its disk is kept, in a bounded buffer, and sent again after a
//! reconnect, so nothing is lost and nothing arrives twice. A buffer that overflows drops its oldest snapshots, counts
//! them, tells the collector how many, and begins a new epoch, so that what comes after can be read.
//!
//! Never here: waiting for the network in `deliver`, storing on disk, TLS and authentication (later).

mod address;
mod backoff;
mod buffer;
mod connection;
mod options;
mod sink;
mod socket;

pub use address::AddressError;
pub use options::GrpcOptions;
pub use sink::GrpcSink;
