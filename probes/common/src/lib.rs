//! What the probes share: finding a runtime that the host has loaded, a heap of leakline's own, the ranges of
//! addresses that they know, and the sampler of allocations.
//!
//! With the feature `java` also the way into a JVM, which two of them take.
//!
//! Never here: what one runtime has to tell, and anything of core (a probe's types stay in the probe).

pub mod across;
#[cfg(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub mod guests;
pub mod heap;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub mod imports;
#[cfg(all(unix, feature = "java"))]
pub mod java;
#[cfg(unix)]
pub mod joined;
#[cfg(unix)]
pub mod loader;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub mod memory;
pub mod regions;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub mod sampler;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub mod shared;

use std::sync::{Mutex, PoisonError};

/// Further heaps: libraries of leakline that are loaded beside this one have each their own.
static OTHERS: Mutex<Vec<fn() -> u64>> = Mutex::new(Vec::new());

/// Counts the heap of another library of leakline's in, by what tells how many bytes it holds. Each once.
pub fn add_heap(held: fn() -> u64) {
    OTHERS.lock().unwrap_or_else(PoisonError::into_inner).push(held);
}

/// Bytes that leakline holds in heaps of its own; `None` where this program does not use [`heap::OwnHeap`], so that
/// nobody counts.
pub fn held_bytes() -> Option<u64> {
    let own = heap::OwnHeap::held_bytes();
    let others = OTHERS.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|held| held()).sum::<u64>();
    (own > 0).then_some(own + others)
}
