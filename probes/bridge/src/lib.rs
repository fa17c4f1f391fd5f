//! Reads what stands between Python's heap and Java's in one process (probe `bridge`): how many Python objects are
//! held by Java, through JPype, jep or Chaquopy; and, on request, which cycles go across both heaps (`cycles`). The
//! example of a probe that joins two runtimes.
//!
//! - Absent, for the price of a look at the loader's list, until a bridge's library and a JVM are there.
//! - The bridge's own tables are asked, which already have the answer: no heap is walked, and nothing is paused.
//! - Lock order: the GIL is never taken here, and the JVM is entered with no lock held. JPype's threads enter the JVM
//!   without the GIL, or let go of it; a probe that needed both would read one, leave it, and then read the other.
//! - The methods that are called take no Java lock: a program that holds one cannot hold up the lane.
//! - Classes are looked for among those that are loaded and initialised: no class loader and no initialiser of the
//!   host's runs on the lane's thread.
//!
//! Never here: the GIL or a visit to an object for a reading (a search for cycles needs both), an event of the tool
//! interface, or a destructor that enters the JVM other than the end of a frame.

mod cycles;
mod error;
mod java;
mod probe;
mod search;
mod tables;

pub use probe::BridgeProbe;
