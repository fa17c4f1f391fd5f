//! A census of the objects that CPython's garbage collector knows, as it crosses between the agent and the Python part:
//! how many there are of each type, which types grow, and who holds the grown ones.
//!
//! Never here: a Python object, or anything of one but its type's name and the names on the way to it.

use serde::{Deserialize, Serialize};

/// How a census is to be taken. Each bound has its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CensusRequest {
    /// Longest stretch under the GIL, microseconds: less than the 5 ms for which Python's own threads hold it.
    pub max_stretch_micros: u32,
    /// Time without the GIL between two stretches, microseconds, so that other threads get their turn.
    pub pause_micros: u32,
    /// With more objects than this there is no census: each takes some 50 ns.
    pub max_objects: u64,
    /// Time under the GIL, all stretches together, microseconds. Over it the census ends: without an answer while it
    /// counts, without some of the holders after that.
    pub max_total_micros: u64,
    /// Time from the beginning to the end, pauses and waiting for the GIL among it, microseconds. Over it the census ends
    /// in the same way.
    pub max_wall_micros: u64,
    /// Types in the answer, those with most bytes first; growing ones come on top of that.
    pub max_types: u32,
    /// Holders are looked for of this many types, those that grew by most bytes since the census before; 0 for none.
    pub holder_types: u32,
    /// Instances of a growing type whose holders are looked for, at most 256: a sample of as many as it grew by.
    pub samples: u32,
    /// Holders in the answer for each type.
    pub max_holders: u32,
    /// References that are followed, all together, when holders are looked for.
    pub max_edges: u64,
}

impl Default for CensusRequest {
    fn default() -> Self {
        Self {
            max_stretch_micros: 2_000,
            pause_micros: 1_000,
            max_objects: 20_000_000,
            max_total_micros: 2_000_000,
            max_wall_micros: 20_000_000,
            max_types: 100,
            holder_types: 5,
            samples: 256,
            max_holders: 5,
            max_edges: 200_000_000,
        }
    }
}

/// What a census found. Approximate while the host allocates: it runs between two stretches, and what it makes, frees or
/// collects there may be missed or, after a full collection, counted twice (see [`CensusAnswer::full_collections`]).
/// In a program at rest the counts are those of `gc.get_objects()`, and of what `gc.freeze()` put aside.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CensusAnswer {
    /// What came of it.
    pub outcome: CensusOutcome,
    /// By type; those that grew most first, then those with most bytes.
    pub types: Vec<TypeCount>,
    /// Who holds what the growing types grew by; empty in the first census of an interpreter.
    pub holders: Vec<Holder>,
    /// Whether the search for holders ended early, by time or by references.
    pub holders_cut: bool,
    /// Objects that were counted.
    pub visited: u64,
    /// Their bytes, as [`TypeCount::bytes`].
    pub bytes: u64,
    /// Types that have instances, whether or not they are in `types`.
    pub distinct_types: u32,
    /// Wrappers of Java objects among them, by their types; `None` where no bridge is imported.
    pub wrappers: Option<u64>,
    /// References that were followed in the search for holders.
    pub edges: u64,
    /// Full collections that ran while objects were counted. The count is begun anew, twice at most.
    pub full_collections: u64,
    /// What it cost.
    pub cost: CensusCost,
}

/// What came of a census.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum CensusOutcome {
    /// It is whole.
    Taken,
    /// There are too many objects for its bounds, or it took too long.
    TooMany,
    /// This CPython keeps its objects in a way that leakline does not know.
    Unsupported {
        /// What showed it.
        reason: String,
    },
    /// The interpreter began to end.
    #[default]
    Interrupted,
}

/// The objects of one type.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TypeCount {
    /// Such as `dict` or `RNS.Transport.Packet`; types of the same name are one.
    pub name: String,
    /// How many.
    pub count: u64,
    /// Their own memory, the collector's header and a container's table among it, but nothing that they refer to.
    /// Without the values of attributes where CPython keeps these beside the instance (3.11 and newer).
    pub bytes: u64,
    /// Count and bytes since the census before; `None` in the first one.
    pub grown: Option<(i64, i64)>,
}

/// Who holds instances of a type.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Holder {
    /// The type, as [`TypeCount::name`].
    pub type_name: String,
    /// Such as `list RNS.Transport.pending_inbound`.
    pub text: String,
    /// How many of the instances that the type grew by it refers to; reckoned from a sample if they are many.
    pub count: u64,
}

/// What a census cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CensusCost {
    /// Time under the GIL, all together.
    pub gil_held_nanos: u64,
    /// Longest single stretch.
    pub longest_stretch_nanos: u64,
    /// How often the GIL was taken.
    pub stretches: u32,
}
