//! Reads heap dumps of Java virtual machines (HPROF; HotSpot's and ART's) and tells who holds the instances of a class.
//!
//! What binds it:
//! - Dumps are larger than memory: nothing of an object's contents is kept. An object costs 16.5 bytes, while paths are
//!   searched for at most 8.2 more; the file is read through a cache of 16 MiB.
//! - Dumps come from elsewhere: a damaged one is an error that names offset and record. Nothing is
//!   allocated by a length that the file states, and what the search remembers of paths and classes is bounded.
//! - It opens no files: whoever has something that can be read and sought has a dump.

mod cursor;
mod dump;
mod error;
mod holders;
mod index;
mod layout;
mod loaders;
mod merge;
mod names;
mod pages;
mod path;
mod plan;
mod record;
mod scan;
mod shape;
mod strings;
mod walk;

pub use self::dump::{ClassUse, Dump};
pub use self::error::HprofError;
pub use self::holders::{Held, HeldBy, Path};
