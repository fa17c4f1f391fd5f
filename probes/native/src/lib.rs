//! Reads what the operating system counts of the host (probe `process`) and what its malloc counts (probe `native`).
//!
//! - Cheap enough for every tick: files of /proc stay open and are read in place; what can be slow (`smaps_rollup`,
//!   `mallinfo2` with many free chunks) is timed and asked less often the slower it is.
//! - A number that was not read at a tick is absent at that tick, with a note; it is never repeated as if fresh.
//! - In a watcher the same probes read another process, the one that it was forked from: `process` from outside (`target`),
//!   `native` in the tables that the hook in the host writes (`hook::table`).
//!
//! Never here: an allocation in the host's malloc during a reading, or a signal.

mod allocator;
mod error;
mod gains;
mod hook;
mod hooked;
mod limit;
mod mallinfo;
mod malloc;
mod map;
mod pace;
mod parse;
mod process;
mod procfs;
mod resources;
mod room;
mod target;
mod unwind;

#[doc(hidden)]
pub use hook::shims;
pub use hook::{
    Paused, answer_now, become_guest, begin_in_child, go_on, guests_survive_forks, on_call_in_child,
    pass_over, pause,
};
pub use hooked::{begin_early, is_this_process};
pub use limit::{limit, limit_of};
pub use malloc::{NativeMode, NativeOptions, NativeProbe, Tell, Watching};
pub use process::{ProcessOptions, ProcessProbe, SWAPPED_PROPORTIONAL};
pub use target::{Image, Other as OtherProcess};
