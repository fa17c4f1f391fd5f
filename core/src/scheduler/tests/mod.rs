//! The scheduler on real threads and real runtimes, with a clock that is turned by hand.
//! Real time only bounds how long a test waits before it gives up.

mod added;
mod clocks;
mod handle;
mod kit;
mod own;
mod probes;
mod requests;
mod sinks;
