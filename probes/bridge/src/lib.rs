//! Reads what stands between Python's heap and Java's in one process (probe `bridge`): how many Python objects are
//! held by Java through JPype. A probe that joins two runtimes.
//!
//! - Absent, for the price of a look at the loader's list, until both JPype's library and a JVM are there.
//! - The bridge's own tables are asked, which already have the answer: no heap is walked, and nothing is paused.
//! - Lock order: the GIL is never taken here, and the JVM is entered with no lock held. JPype's threads enter the JVM
//!   without the GIL, or let go of it; a probe that needed both would read one, leave it, and then read the other.
//! - The method that is called takes no Java lock: a program that holds one cannot hold up the lane.
//! - The class is looked for among those that are loaded and initialised: no class loader and no initialiser of the
//!   host's runs on the lane's thread.
//!
//! Never here: the GIL, a walk of a heap, an event of the tool interface, or a destructor that enters the JVM.

mod classes;
mod error;
mod jpype;
mod probe;
mod vm;

pub use probe::BridgeProbe;
