//! The file sink: writes a session as a recording, bounded in size, that can be read up to its last whole entry however
//! the host ended.
//!
//! - Each record is one write at the end of the file, so a SIGKILL leaves at most one entry that is not whole.
//! - There is no fsync: what was written outlives the process, whatever kills it, because the kernel has it. A crash of
//!   the machine may take the last half minute or so, and the reader shows what is before. An fsync at each tick would
//!   stall writers of the same disk, the host's own among them, for something that hardly ever happens.
//! - A file that would grow past [`FileOptions::max_bytes`] is moved aside (`PATH` → `PATH.1` → …) and a new one begins,
//!   which can be read alone: header, session, epoch, keyframe. All together take at most
//!   `max_bytes × (1 + keep)`.
//! - Files are made with mode 0600, because recordings hold paths and names, and are not inherited by programs that the
//!   host starts.
//! - A path belongs to one process at a time; a record lock, which the kernel drops with the process, sees to that.
//!
//! Never here: threads, queues (a sink has a lane of its own and may block on it), and the form of a recording, which
//! is `leakline-proto`'s.

mod existing;
mod files;
mod held;
mod now;
mod sink;

pub use files::is_written;
pub use sink::{FileOptions, FileSink};
