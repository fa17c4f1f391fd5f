//! The agent beside the host: what runs in the watcher and what is left in the host.

mod codec;
mod lane;
pub(crate) mod lanes;
pub mod moments;
pub(crate) mod remote;
