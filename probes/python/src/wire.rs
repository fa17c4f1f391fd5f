//! What crosses between the agent and the Python part: a small C table, and postcard bytes in both directions.
//! The two are built together and checked against each other by [`ABI`], so nothing here is kept compatible.
//!
//! Never here: a Python object, or a pointer to one.

use std::ffi::{CStr, c_char, c_void};

use leakline_probing::joined::{RawFrame, Walk};
use serde::{Deserialize, Serialize};

use crate::arenas::ArenaBytes;
pub use leakline_probing::across::{Bridge, HandOver, Pair, Reached, Wanted};

pub use crate::census::{CensusAnswer, CensusCost, CensusOutcome, CensusRequest, Holder, TypeCount};
pub use crate::numbers::SiteNumbers;

/// Version of everything in this file. An agent and a Python part with different ones refuse each other.
pub const ABI: u32 = 7;

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
    /// The address of a name that ends with a NUL, in the library that has CPython or in what everybody sees; null where
    /// it is not there. A libpython that was loaded privately shows its names to nobody else.
    pub symbol: unsafe extern "C" fn(name: *const c_char) -> *mut c_void,
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
    /// As [`leakline_probing::joined::Joined::walk`].
    pub walk: Walk,
    /// As [`leakline_probing::joined::Joined::keep`].
    pub keep: unsafe extern "C" fn(frames: *const RawFrame, count: usize, numbers: *mut u64),
    /// Gives a `Vec<Option<ToldFrame>>` as postcard bytes for numbers that `keep` gave. Any thread, at any time.
    pub tell: unsafe extern "C" fn(numbers: *const u64, count: usize) -> Answer,
    /// Fills in where the machine code of the interpreter's loop is, as far as the hook's self-test found parts of it: first
    /// address, and the one after the last. Gives their number, at most `most`. Any thread, at any time.
    pub loops: unsafe extern "C" fn(into: *mut [usize; 2], most: usize) -> usize,
}

/// A frame in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldFrame {
    /// The function's name.
    pub function: String,
    /// The source file.
    pub file: String,
    /// The line, from 1; 0 where unknown.
    pub line: u32,
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
    /// Sample allocations from now on; if that is done already with this mean, it goes on. Answered by
    /// [`Response::Hooked`] or [`Response::CannotHook`].
    Sample(Sampling),
    /// Record every allocation from now on, for a while. Answered as `Sample` is.
    OpenWindow(Window),
    /// Record no more; what was recorded stays to be read.
    EndWindow,
    /// Forget what was recorded.
    CloseWindow,
    /// Stop tracing that was started here.
    StopTracing,
    /// Read the gauges whose cost grows with what they count.
    SlowGauges,
    /// Read live bytes and counts per call path as tracemalloc knows them.
    Profile(ProfileRequest),
    /// Read what the hook knows; Python is not asked.
    Sites(SitesRequest),
    /// Count objects by type, and find who holds the growing ones.
    Census(CensusRequest),
    /// Find what Java holds of Python and what of Java is reached from there. Answered on any thread, also while another
    /// question is.
    Across(Wanted),
    /// Stop tracing that was started here, and let go.
    Detach,
}

/// How allocations are sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sampling {
    /// Mean bytes between two samples.
    pub mean: u64,
    /// Frames of each call path.
    pub frames: u16,
    /// Most live samples; with more, the mean doubles.
    pub max_samples: u32,
    /// Most call paths.
    pub max_paths: u32,
    /// Most bytes that call paths and the code objects that they run through may take.
    pub max_path_bytes: u64,
}

/// A window in which every allocation is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Window {
    /// Frames of each call path.
    pub frames: u16,
    /// Most live allocations; with more, it closes itself.
    pub max_traces: u64,
    /// Most call paths.
    pub max_paths: u32,
    /// Most bytes that call paths and the code objects that they run through may take.
    pub max_path_bytes: u64,
    /// How long it stays open, microseconds; 0: until it is closed.
    pub duration_micros: u64,
    /// Most percent of a core for recording; over that it closes itself. 0: any.
    pub max_percent: u32,
    /// Leave one that is open as it is.
    pub go_on: bool,
}

/// What the hook knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Source {
    /// The samples.
    #[default]
    Sampled,
    /// The window.
    Exact,
}

/// How the hook's sites are to be read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SitesRequest {
    /// Which ones.
    pub source: Source,
    /// What the agent has of the tables already.
    pub known: Known,
    /// Call paths whose innermost file matches one of these are left out; `*` stands for any text.
    pub filters: Vec<String>,
    /// When the tables hold more call paths than this, they are begun anew.
    pub max_sites: u32,
    /// Most bytes that the tables may take, the agent's copy included.
    pub max_name_bytes: u64,
    /// Whether every sum is checked against the table, which takes milliseconds.
    pub check_all: bool,
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
    /// Most bytes that the tables may take, the agent's copy included.
    pub max_name_bytes: u64,
    /// If the copy would take longer than this, judged by the one before, there is no profile. Microseconds.
    pub max_copy_micros: u64,
}

/// How much of each table is known, in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Known {
    /// Tables of different epochs have nothing in common. No table is of epoch 0.
    pub epoch: u64,
    /// Texts.
    pub texts: u32,
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
    /// To `Sample` and `OpenWindow`: it is done.
    Hooked {
        /// What is degraded, in words for a user.
        degraded: Option<String>,
    },
    /// To `Sample` and `OpenWindow`: this interpreter's allocators cannot be hooked.
    CannotHook {
        /// Why, in words for a user.
        reason: String,
    },
    /// To `EndWindow`, `CloseWindow` and `StopTracing`.
    Closed,
    /// To `Sites`.
    Sites(SitesAnswer),
    /// To `Gauges`.
    Gauges(GaugeValues),
    /// To `SlowGauges`.
    SlowGauges(SlowGaugeValues),
    /// To `Profile`.
    Profile(ProfileAnswer),
    /// To `Census`.
    Census(CensusAnswer),
    /// To `Across`.
    Across(Reached),
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
    /// Whether somebody had taken leakline's hook away, so that it was set anew and begins from nothing.
    pub hook_was_lost: bool,
    /// Blocks that pymalloc handed out; `None` where Python does not use it.
    pub blocks: Option<u64>,
    /// The garbage collector's own count for each generation: objects in the youngest, collections of the younger one
    /// since the last of its own in the others.
    pub gc_counts: [u64; 3],
    /// Collections so far by generation.
    pub gc_collections: [u64; 3],
    /// Objects found uncollectable so far.
    pub gc_uncollectable: u64,
    /// Objects in `gc.garbage` now.
    pub gc_garbage: Option<u64>,
    /// Whether the garbage collector runs by itself.
    pub gc_enabled: bool,
    /// Interned strings; `None` before 3.12.
    pub interned: Option<u64>,
}

/// The gauges whose cost grows with what they count.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SlowGaugeValues {
    /// Time under the GIL.
    pub held_nanos: u64,
    /// Pymalloc's arenas; `None` where Python has none or does not tell.
    pub arenas: Option<ArenaBytes>,
    /// Why it does not tell.
    pub arenas_missing: Option<String>,
    /// Objects that `gc.freeze` took out of the garbage collector's view.
    pub gc_frozen: u64,
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

/// What the hook knows, per call path.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SitesAnswer {
    /// What the tables gained over what the agent knew.
    pub additions: Additions,
    /// One for each call path with live samples.
    #[serde(with = "crate::numbers")]
    pub sites: Vec<SiteNumbers>,
    /// Numbers of different epochs have nothing in common; 0: nothing was ever sampled or recorded.
    pub epoch: u64,
    /// Mean bytes between two samples; 0: everything is recorded.
    pub mean: u64,
    /// Estimated live bytes, all call paths together, filtered ones included.
    pub live_bytes: u64,
    /// The part of it that malloc serves.
    pub large_bytes: u64,
    /// Live samples.
    pub samples: u64,
    /// Live bytes and blocks that the filters left out.
    pub filtered: (u64, u64),
    /// What is wrong with the tables; nothing ever should be.
    pub fault: Option<String>,
    /// Frees that went by unseen.
    pub missed_frees: u64,
    /// Samples so far that are counted with the path for all that there is no room for.
    pub merged_samples: u64,
    /// Call paths of this reading whose names had no room, and that are counted with that path, too.
    pub merged_names: u64,
    /// How long the host's allocations may have waited, nanoseconds.
    pub held_nanos: u64,
    /// The window, if this is about it and there is one.
    pub window: Option<WindowState>,
}

/// A window that is open, or that closed itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WindowState {
    /// Why it closed itself; `None` while it is open.
    pub closed: Option<WindowClosed>,
    /// Allocations that were recorded.
    pub recorded: u64,
    /// Time that took, nanoseconds, estimated.
    pub took_nanos: u64,
    /// How long it has been, or was, open, nanoseconds.
    pub lasted_nanos: u64,
}

/// Why a window closed itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WindowClosed {
    /// Its time was over.
    Time,
    /// It held as many allocations as it may.
    Traces,
    /// It took too large a share of a core.
    Share,
    /// Somebody asked for it.
    Asked,
    /// Another hook took leakline's away.
    Unhooked,
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
    /// Call paths of this profile whose names had no room, and that are counted with one path for all of them.
    pub merged_names: u64,
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
    /// Source files and functions.
    pub texts: Vec<String>,
    /// Function and file (by their indices) and line.
    pub frames: Vec<(u32, u32, u32)>,
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
