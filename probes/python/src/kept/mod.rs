//! The tables of the Python part: call paths, code objects and names, each bounded in bytes.
//!
//! They are here, and not in the Python part, because they know no Python object and so can be tested without one.
//! Never here: a pointer that is followed, or a lock.

pub mod names;
pub mod numbered;
pub mod paths;
