//! The agent beside the host: what runs in the watcher and what is left in the host.

mod codec;
