//! The question that the probe of a bridge has for the probe of Python: from the Python objects that Java holds, which
//! Python wrappers of Java objects can be reached? It is one half of a cycle across two heaps.
//!
//! Probes know nothing of each other: one offers a function here, the other finds it.
//!
//! Never here: a heap, a runtime, a lock.

use std::sync::atomic::{AtomicPtr, Ordering::Acquire, Ordering::Release};

/// What is to be found, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "messages", derive(serde::Serialize, serde::Deserialize))]
pub struct Wanted {
    /// The bridge, which says what Java holds and what a wrapper is.
    pub bridge: Bridge,
    /// Most objects that Java holds that are looked at.
    pub most_held: u32,
    /// Most objects visited from one of these.
    pub most_of_one: u32,
    /// Most pairs of an object that Java holds and a wrapper that is reached from it.
    pub most_pairs: u32,
    /// Longest stretch under the GIL, microseconds.
    pub max_stretch_micros: u32,
    /// Time under the GIL, all stretches together, microseconds.
    pub max_total_micros: u64,
    /// From the beginning to the end, microseconds.
    pub max_wall_micros: u64,
}

/// How one bridge does it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "messages", derive(serde::Serialize, serde::Deserialize))]
pub enum Bridge {
    /// Java holds JPype's proxies. Of each pair the wrapper's object and the proxy are put, one after the other, into an
    /// array of Java's, which is left in a `ThreadLocal` of the calling thread: what JPype offers to Python does that.
    Jpype,
    /// Java holds objects at addresses, of which some may be gone by now. Each pair's wrapper is handed to a function.
    Jep {
        /// Sorted.
        held: Vec<u64>,
        /// A [`HandOver`].
        hand_over: u64,
        /// What it is called with.
        context: u64,
    },
}

/// Called under the GIL with a wrapper, a `PyObject*` that is alive until it returns. False: it is none.
pub type HandOver = unsafe extern "C" fn(context: u64, wrapper: u64) -> bool;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "messages", derive(serde::Serialize, serde::Deserialize))]
pub struct Reached {
    /// In the order in which they were handed over.
    pub pairs: Vec<Pair>,
    /// Objects that Java holds.
    pub held: u64,
    /// Objects visited.
    pub objects: u64,
    /// Which bounds ended it early, in words for a user.
    pub bounds: Vec<String>,
    /// Time under the GIL.
    pub held_nanos: u64,
    /// Longest stretch of it.
    pub longest_nanos: u64,
}

/// An object that Java holds, and a wrapper that is reached from it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "messages", derive(serde::Serialize, serde::Deserialize))]
pub struct Pair {
    /// The address of what Java holds.
    pub held: u64,
    /// From there to the wrapper: types, with attributes where they are known.
    pub path: String,
}

/// Answers on the calling thread, which may be in a JVM, with the GIL taken for short stretches; or says why not.
pub type Search = fn(&Wanted) -> Result<Reached, String>;

static SEARCH: AtomicPtr<()> = AtomicPtr::new(std::ptr::null_mut());

/// Offers it, for as long as the process lives.
pub fn offer(search: Search) {
    SEARCH.store(search as *mut (), Release);
}

/// What was offered.
pub fn search() -> Option<Search> {
    let found = SEARCH.load(Acquire);
    // SAFETY: only `offer` stores there, functions of this type.
    (!found.is_null()).then(|| unsafe { std::mem::transmute::<*mut (), Search>(found) })
}
