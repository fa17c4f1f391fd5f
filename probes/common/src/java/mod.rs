//! Entering a JVM that the host has, from a thread of ours, and the few functions of its tool interface that the probes
//! share: that of Java itself, and that of what lies between two runtimes.
//!
//! Never here: what is read of a JVM, a JVM that is created or destroyed, or a call of one that is only starting.

pub mod bridges;
pub mod jvmti;
pub mod ready;
pub mod structs;
pub mod tools;
pub mod vm;

/// The JVM did not let the calling thread in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAttached {
    /// What it said, by the JNI specification's codes.
    pub code: i32,
}
