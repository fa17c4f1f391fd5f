//! Samples allocations by bytes: every byte that is allocated has the same chance to have its allocation sampled, so that
//! what is live can be estimated, per call path, from the few that were.
//!
//! What the allocator hooks of all layers share. The order in which a hook uses it:
//! 1. [`thread::Thread::spend`] on every allocation: a subtraction, and now and then the answer "sample this one";
//! 2. [`recorder::Recorder::allocated`] for those, with the call path, and [`marks::Marks::set`];
//! 3. [`marks::Marks::has`] on every free: one or two loads; only for marked ones [`recorder::Recorder::freed`] and
//!    [`marks::Marks::clear`]. A mark may outlive its sample, and then that free finds nothing;
//! 4. at a tick, on the agent's thread, a copy of the sums.
//!
//! The recorder and changes of the marks are behind the hook's [`lock::Lock`]. Never calls the allocator that is watched,
//! never takes a lock of the host's, and holds its own for a bounded time. Memory comes from leakline's own heap and from
//! mmap.

mod dense;
pub mod estimate;
pub mod live;
pub mod lock;
pub mod marks;
pub mod random;
pub mod recorder;
pub mod stacks;
pub mod thread;
