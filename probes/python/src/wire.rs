//! What crosses between the agent and the Python part: a small C table, and postcard bytes in both directions.
//! The two are built together and checked against each other by [`ABI`], so nothing here is kept compatible.
//!
//! Never here: a Python object, or a pointer to one.

use std::ffi::CStr;

use serde::{Deserialize, Serialize};

pub use crate::census::{CensusAnswer, CensusCost, CensusOutcome, CensusRequest, Holder, TypeCount};

/// Version of everything in this file. An agent and a Python part with different ones refuse each other.
pub const ABI: u32 = 2;

/// The one function that the Python part exports: [`Entry`].
pub const ENTRY: &CStr = c"leakline_cpython_entry";

/// File name of the Python part.
pub const LIBRARY_NAME: &str = "libleakline_cpython.so";

/// Gives the table, or null when the Python part does not speak version `abi`. Called again, it replaces `host`.
pub type Entry = unsafe extern "C" fn(abi: u32, host: HostTable) -> *const Table;

/// What the Python part calls in the agent.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct HostTable {
    /// The interpreter is about to end: called once on the thread that ends it, with the GIL released, while Python can
    /// still be read. Python is held up until it returns, and must not be read any more afterwards.
    pub on_closing: extern "C" fn(),
}

/// What the agent calls in the Python part.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Table {
    /// Its [`ABI`].
    pub abi: u32,
    /// Takes a [`Request`] as postcard bytes and gives a [`Response`]. Any thread that does not hold the GIL, one call
    /// at a time. Never unwinds.
    pub call: unsafe extern "C" fn(request: *const u8, length: usize) -> Answer,
    /// As `call`, for a thread that holds the GIL already: when the interpreter is starting.
    pub call_attached: unsafe extern "C" fn(request: *const u8, length: usize) -> Answer,
    /// Gives the bytes of an answer back to the heap they came from.
    pub free: unsafe extern "C" fn(answer: Answer),
    /// Bytes that the Python part's own heap holds.
    pub held_bytes: extern "C" fn() -> u64,
}

/// Bytes in the Python part's heap.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Answer {
    /// Where they begin; null only when there was no memory for them.
    pub data: *mut u8,
    /// How many.
    pub length: usize,
}

/// What the agent asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Take hold of the interpreter, or ask about it again.
    Attach,
    /// Trace allocations, with this many frames for each. Answered by [`Response::Tracing`].
    Start {
        /// Frames for each allocation, from 1.
        frames: u16,
    },
    /// Read the gauges.
    Gauges,
    /// Read live bytes and counts per call path.
    Profile(ProfileRequest),
    /// Count objects by type, and find who holds the growing ones.
    Census(CensusRequest),
    /// Stop tracing that was started here, and let go.
    Detach,
}

/// How a profile is to be taken.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProfileRequest {
    /// What the agent has of the tables already.
    pub known: Known,
    /// Call paths whose innermost file matches one of these are left out; `*` stands for any text.
    pub filters: Vec<String>,
    /// Longest stretch under the GIL, microseconds; only the copy that tracemalloc makes cannot be cut up.
    pub max_stretch_micros: u32,
    /// Time without the GIL between two stretches, microseconds.
    pub pause_micros: u32,
    /// When the tables hold more call paths than this, they are begun anew.
    pub max_sites: u32,
    /// If the copy would take longer than this, judged by the one before, there is no profile. Microseconds.
    pub max_copy_micros: u64,
}

/// How much of each table is known, in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Known {
    /// Tables of different epochs have nothing in common. No table is of epoch 0.
    pub epoch: u64,
    /// Files.
    pub files: u32,
    /// Frames.
    pub frames: u32,
    /// Sites.
    pub sites: u32,
}

/// What the Python part answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// To `Attach`.
    Attached(Interpreter),
    /// To `Start`.
    Tracing(Tracing),
    /// To `Start`: this interpreter has no tracemalloc. CPython loses it for good when its first interpreter ends.
    CannotTrace {
        /// In CPython's words.
        reason: String,
    },
    /// To `Gauges`.
    Gauges(GaugeValues),
    /// To `Profile`.
    Profile(ProfileAnswer),
    /// To `Census`.
    Census(CensusAnswer),
    /// To `Detach`.
    Detached,
    /// The interpreter is ending, has ended, or belongs to the process that this one was forked from.
    Gone {
        /// What showed it.
        reason: String,
    },
    /// Python is there, but did not do what was asked.
    Failed {
        /// What was tried.
        what: String,
        /// What came of it.
        reason: String,
    },
}

/// The interpreter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// Such as `CPython 3.11.7`.
    pub name: String,
    /// Folders of `sys.path`, longest first.
    pub source_roots: Vec<String>,
    /// Whether `site` is still being imported, so that `sys.path` is not complete yet.
    pub is_starting: bool,
}

/// Who traces, and how deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracing {
    /// Whether it was started here; otherwise the host did, and its settings stay.
    pub ours: bool,
    /// Frames kept for each allocation.
    pub frames: u32,
}

/// The gauges, and when they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GaugeValues {
    /// Nanoseconds since boot, suspend included, read as soon as the GIL was got.
    pub taken_boot_nanos: u64,
    /// Time under the GIL.
    pub held_nanos: u64,
    /// What tracemalloc says; `None` while it does not trace.
    pub traced: Option<Traced>,
    /// Blocks that pymalloc handed out; `None` where Python does not use it.
    pub blocks: Option<u64>,
    /// Objects in the garbage collector's young generation.
    pub gc_young: u64,
    /// Collections so far.
    pub gc_collections: u64,
    /// Objects found uncollectable so far.
    pub gc_uncollectable: u64,
}

/// What tracemalloc says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Traced {
    /// Live bytes.
    pub current: u64,
    /// Most live bytes so far.
    pub peak: u64,
    /// Its own overhead, bytes.
    pub tracer: u64,
}

/// Live bytes and counts per call path, and what it took to read them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProfileAnswer {
    /// What came of it.
    pub outcome: Outcome,
    /// What the tables gained over what the agent knew.
    pub additions: Additions,
    /// Site (by its index), live bytes, live blocks.
    pub stats: Vec<(u32, u64, u64)>,
    /// Live bytes in requests of up to 512 bytes, filtered ones included.
    pub small_bytes: u64,
    /// Traces that were read.
    pub traces: u64,
    /// Live bytes and blocks that the filters left out.
    pub filtered: (u64, u64),
    /// What it cost.
    pub cost: ProfileCost,
}

/// What came of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Outcome {
    /// It is whole.
    Taken,
    /// Nobody traces.
    #[default]
    NotTracing,
    /// The copy would have held up the host for about this long, in microseconds.
    TooMany {
        /// What it would have taken.
        expected_micros: u64,
    },
    /// The interpreter began to end.
    Interrupted,
}

/// What a profile cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProfileCost {
    /// Time under the GIL, all together.
    pub held_nanos: u64,
    /// Longest single stretch.
    pub longest_nanos: u64,
    /// The copy that tracemalloc makes.
    pub copy_nanos: u64,
    /// How often the GIL was taken.
    pub stretches: u32,
}

/// What tables gained.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Additions {
    /// The tables before that; if the agent does not have exactly these, it begins anew, and all of them are zero but the
    /// epoch.
    pub after: Known,
    /// Source files.
    pub files: Vec<String>,
    /// File (by its index) and line.
    pub frames: Vec<(u32, u32)>,
    /// Call paths.
    pub sites: Vec<PathAddition>,
}

/// A call path.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PathAddition {
    /// Frames by their index, innermost first.
    pub frames: Vec<u32>,
    /// Whether outer frames were cut off.
    pub truncated: bool,
}

/// Encodes a message.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, postcard::Error> {
    postcard::to_stdvec(message)
}

/// Decodes a message.
pub fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, postcard::Error> {
    postcard::from_bytes(bytes)
}
