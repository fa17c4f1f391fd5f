//! Forked children of a watched host: each that lives long enough and allocates gets a watcher of its own.
//!
//! - A child has its parent's hooks, at rest. Once it has lived for `settle`, its next allocation that would be looked at
//!   for a sample asks for a watcher ([`child`]): a child that ends before, or becomes another program, costs nothing more than
//!   a word.
//! - The watcher is not forked from the child, whose threads may hold any lock, and whose memory would stay in use twice. A
//!   *spare* ([`spare`]), which was forked from the first watcher and waits in a futex, forks it, and it maps the memory that
//!   the child has made for both.
//! - They meet at the [`desk`].
//!
//! A child by `vfork`, or by `clone` with the parent's memory, is not looked at: it may only end, or become another program.

mod child;
mod desk;
mod spare;

pub(crate) use child::may_watch_program;
pub(super) use child::{count_programs, prepare};
pub(super) use desk::Desk;
pub(super) use spare::Spare;
