//! Samples allocations by bytes: every byte that is allocated has the same chance to have its allocation sampled, so that
//! what is live can be estimated, per call path, from the few that were.
//!
//! What the allocator hooks of all layers share. The order in which a hook uses it:
//! 1. [`thread::Thread::spend`] on every allocation: a subtraction, and now and then the answer "sample this one";
//! 2. [`recorder::Recorder::allocated`] for those, with the call path;
//! 3. [`marks::Marks::has`] on every free: one or two loads, exact; only for the marked ones
//!    [`recorder::Recorder::freed`];
//! 4. [`recorder::Recorder::snapshot`] at a tick, on the agent's thread.
//!
//! Never calls the allocator that is watched, never takes a lock of the host's, and holds its own for a bounded time.
//! Memory comes from leakline's own heap and from mmap.

pub mod estimate;
pub mod live;
pub mod lock;
pub mod marks;
pub mod recorder;
pub mod stacks;
pub mod thread;
