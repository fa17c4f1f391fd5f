//! What the probes share: finding a runtime that the host has loaded, and a heap of leakline's own.
//!
//! Never here: anything of one runtime, and anything of core (a probe's types stay in the probe).

pub mod heap;
#[cfg(unix)]
pub mod loader;
