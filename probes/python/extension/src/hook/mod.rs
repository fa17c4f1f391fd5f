//! Python's allocator with leakline's hook in front of it: samples for the profile that is always there, and every
//! allocation while an exact window is open.
//!
//! The hook is set once and then stays: at rest it passes everything on. Taking it away would break whoever has put itself
//! in front of it meanwhile (tracemalloc remembers what it found), and putting it back could make a circle. At each tick
//! it is asked whether it is still reached; only when it is not, because somebody behind it has put back what was there
//! before, it is set anew, in front, and begins from nothing.
//!
//! Never here: a call of Python's from inside the hook, an allocation in the host's heap, a lock that Python may hold.

mod exact;
mod record;
mod shims;

use std::ffi::{CStr, c_int, c_void};
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

use leakline_probing::loader;
use leakline_probing::sampler::marks::Marks;
use leakline_probing::sampler::recorder::{Bounds, Recorder};
use leakline_probing::sampler::thread::Thread;
use leakline_python::kept::paths::{Codes, Path, PythonRecorder};
use pyo3::Python;

use crate::frames::Layout;
use crate::guarded::Guarded;
use crate::host;
use crate::joined;

pub(crate) use exact::{Closed, State, Window, close, window};

/// What the hook knows.
pub(crate) struct Tables {
    /// The samples that are live.
    pub(crate) sampled: PythonRecorder,
    /// What was allocated in the window, and is live.
    pub(crate) exact: PythonRecorder,
}

/// Held for well under a microsecond by a thread that allocates, and around forks.
pub(crate) static TABLES: Guarded<Tables> =
    Guarded::new(Tables { sampled: Recorder::new(Codes::new()), exact: Recorder::new(Codes::new()) });
/// What is in one of the tables, or was.
static MARKS: Marks = Marks::new();
/// Mean bytes between two samples, as the table has it.
static MEAN: AtomicU64 = AtomicU64::new(0);

/// The first of Python's domains: malloc, without the GIL.
const RAW: usize = 0;
/// Larger requests are passed on to it by pymalloc.
const SMALL: usize = 512;

/// What code objects in call paths of the native heap may take, as a part of what those of Python's own paths may: there
/// are fewer of them, as malloc is sampled more rarely.
const JOINED_PART: usize = 5;

const SAMPLING: u8 = 1;
const RECORDING: u8 = 2;
/// What the hook does: a sum of the two above; 0: it is at rest.
static DOES: AtomicU8 = AtomicU8::new(0);

/// Where frames are, and how many of them are kept for a sample.
static LAYOUT: OnceLock<Layout> = OnceLock::new();
/// What is worse than it could be, since the layout was found: told to everybody who has the hook set.
static DEGRADED: OnceLock<String> = OnceLock::new();
static FRAMES: AtomicU8 = AtomicU8::new(0);

/// One of Python's three domains.
struct Domain {
    /// What was there before the hook. Written before the hook can be reached, and never freed, because a thread without
    /// the GIL may be reading it.
    behind: AtomicPtr<Allocator>,
    /// Allocations below this size need nothing but to be counted, as long as they are no samples. Zero while the hook
    /// rests or records everything.
    simple_below: AtomicUsize,
    /// What `simple_below` is while only samples are taken: above that, this domain is served by another one.
    serves_below: AtomicUsize,
}

/// By the numbers that CPython gives them.
static DOMAINS: [Domain; 3] = [const {
    Domain {
        behind: AtomicPtr::new(std::ptr::null_mut()),
        simple_below: AtomicUsize::new(0),
        serves_below: AtomicUsize::new(0),
    }
}; 3];

/// `PyMemAllocatorEx`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Allocator {
    context: *mut c_void,
    malloc: unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void,
    calloc: unsafe extern "C" fn(*mut c_void, usize, usize) -> *mut c_void,
    realloc: unsafe extern "C" fn(*mut c_void, *mut c_void, usize) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void, *mut c_void),
}

type GetOrSet = unsafe extern "C" fn(c_int, *mut Allocator);
type Malloc = unsafe extern "C" fn(usize) -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void);

/// What CPython offers outside its stable ABI.
struct Functions {
    get: GetOrSet,
    set: GetOrSet,
    domains: [(Malloc, Free); 3],
}

/// How the hook stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Everything that Python allocates comes by.
    Reached,
    /// Somebody had put back what was there before the hook; it was set anew.
    SetAnew,
}

/// What is sampled, and what it may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sampling {
    pub(crate) mean: u64,
    pub(crate) frames: usize,
    pub(crate) max_live: usize,
    pub(crate) max_paths: usize,
    pub(crate) max_path_bytes: usize,
}

/// Sets the hook, unless it is there, and begins to sample, unless it does so already with this mean. Says what is
/// degraded; the error is why it cannot be.
pub(crate) fn sample(py: Python<'_>, sampling: Sampling) -> Result<Option<String>, String> {
    let degraded = install(py)?;
    joined::keep_within(sampling.max_path_bytes / JOINED_PART);
    FRAMES.store(sampling.frames.clamp(1, record::MAX_FRAMES) as u8, Relaxed);
    let bounds = Bounds {
        mean: sampling.mean.max(1),
        max_live: sampling.max_live,
        max_stacks: sampling.max_paths.max(2),
    };
    let same = TABLES.with(|tables| tables.sampled.first_mean() == bounds.mean);
    if DOES.load(SeqCst) & SAMPLING != 0 && same {
        return Ok(degraded);
    }
    // What it did before ends first: a free that is seen between the two would not be one of the new samples.
    does(DOES.load(SeqCst) & !SAMPLING);
    if !MARKS.reserve() {
        return Err("no address space for the marks of sampled pointers".to_owned());
    }
    let codes = Codes::within(sampling.max_path_bytes);
    TABLES.with(|tables| tables.sampled.start(bounds, codes, Path::shared()));
    MEAN.store(bounds.mean, SeqCst);
    does(DOES.load(SeqCst) | SAMPLING);
    Ok(degraded)
}

/// Sets the hook, unless it is there, and records everything from now on.
pub(crate) fn open(py: Python<'_>, window: Window) -> Result<Option<String>, String> {
    let degraded = install(py)?;
    if !MARKS.reserve() {
        return Err("no address space for the marks of recorded pointers".to_owned());
    }
    joined::keep_within(window.max_path_bytes / JOINED_PART);
    exact::open(window);
    Ok(degraded)
}

/// Records no more; what was recorded stays to be read.
pub(crate) fn end_window() {
    exact::stop(Closed::Asked);
}

/// Puts the hook to rest, and forgets what it knew.
pub(crate) fn rest() {
    does_nothing();
    exact::forget();
    TABLES.with(|tables| {
        tables.sampled.stop(Codes::new());
        MARKS.clear_all();
    });
}

/// Has the hook do `what` from now on.
fn does(what: u8) {
    DOES.store(what, SeqCst);
    for domain in &DOMAINS {
        let simple = if what == SAMPLING { domain.serves_below.load(SeqCst) } else { 0 };
        domain.simple_below.store(simple, SeqCst);
    }
}

/// Puts it to rest; from any thread, in any state.
fn does_nothing() {
    does(0);
}

/// Looks whether the hook is still reached, and sets it anew if it is not. `None`: it was never set.
pub(crate) fn look(_py: Python<'_>) -> Option<Standing> {
    if DOES.load(Relaxed) == 0 {
        return None;
    }
    let functions = functions().ok()?;
    let lost: Vec<usize> = (0..DOMAINS.len()).filter(|domain| !is_reached(functions, *domain)).collect();
    if lost.is_empty() {
        return Some(Standing::Reached);
    }
    lost.into_iter().for_each(|domain| put_in_front(functions, domain));
    begin_anew();
    Some(Standing::SetAnew)
}

/// How frames are read, while the hook is at work: not once Python has begun to end, nor in a forked child.
pub(crate) fn layout() -> Option<&'static Layout> {
    if DOES.load(Relaxed) == 0 { None } else { LAYOUT.get() }
}

/// Bytes that it holds beside leakline's own heap.
pub(crate) fn marks_bytes() -> u64 {
    MARKS.held_bytes()
}

/// Frees went by unseen: what is known is not true any more.
fn begin_anew() {
    let did = DOES.load(SeqCst);
    does_nothing();
    if did & RECORDING != 0 {
        exact::stop(Closed::Unhooked);
    }
    TABLES.with(|tables| {
        let (bounds, codes) = (tables.sampled.bounds(), Codes::within(tables.sampled.extra.most()));
        tables.sampled.start(bounds, codes, Path::shared());
    });
    does(did & SAMPLING);
}

/// Sets the hook in all domains where it was never set. The GIL is held, so no other thread does the same.
fn install(py: Python<'_>) -> Result<Option<String>, String> {
    let functions = functions()?;
    if LAYOUT.get().is_none() {
        let layout = match Layout::find(py) {
            Ok(layout) => layout,
            Err(why) => {
                let layout = Layout::by_api(py)
                    .map_err(|no_api| format!("{why}; {no_api}; native ones lack Python's frames, too"))?;
                DEGRADED.get_or_init(|| {
                    format!(
                        "call paths are read through Python's API, which costs more, and native ones lack Python's \
                         frames: {why}"
                    )
                });
                layout
            }
        };
        LAYOUT.set(layout).ok();
    }
    survive_forks();
    for (number, domain) in DOMAINS.iter().enumerate() {
        if domain.behind.load(Relaxed).is_null() {
            put_in_front(functions, number);
        }
    }
    Ok(DEGRADED.get().cloned())
}

fn put_in_front(functions: &Functions, domain: usize) {
    let Some(Domain { behind, serves_below, .. }) = DOMAINS.get(domain) else { return };
    let found = in_front(functions, domain);
    // Behind itself it would call itself for ever.
    if is_ours(domain, &found) {
        return;
    }
    // The context stays what it was: a thread that reads the domain's fields one by one while they change calls the old
    // function with its own context, or ours with one that it does not use.
    let mut hook = shims::of_domain(domain, found.context);
    // Never freed: somebody may be in there for as long as the process lives.
    behind.store(Box::into_raw(Box::new(found)), SeqCst);
    // SAFETY: the GIL is held, and the hook passes everything on to what it was given.
    unsafe { (functions.set)(domain as c_int, &raw mut hook) };
    serves_below.store(if domain == RAW { usize::MAX } else { serves_by_itself(&found) }, SeqCst);
}

/// What stands in front in a domain.
fn in_front(functions: &Functions, domain: usize) -> Allocator {
    let mut found = std::mem::MaybeUninit::<Allocator>::zeroed();
    // SAFETY: the GIL is held, the domain is one of CPython's, and `found` is ours to write.
    unsafe { (functions.get)(domain as c_int, found.as_mut_ptr()) };
    // SAFETY: CPython filled all of it.
    unsafe { found.assume_init() }
}

fn is_ours(domain: usize, allocator: &Allocator) -> bool {
    allocator.malloc as usize == shims::of_domain(domain, allocator.context).malloc as usize
}

/// Below which size the allocator serves requests without asking the raw domain, whose hook was set before. pymalloc does
/// so up to 512 bytes; one that somebody else has put in front of it may do what it likes, and is not trusted.
fn serves_by_itself(allocator: &Allocator) -> usize {
    let is_python = loader::object_at(allocator.malloc as usize).is_some_and(|object| {
        host::symbol(c"PyObject_Malloc").and_then(|python| loader::object_at(python.as_ptr() as usize))
            == Some(object)
    });
    if !is_python {
        return 0;
    }
    let asks = Thread::current().reaches_a_hook(|| {
        for size in [1, 16, SMALL / 2, SMALL] {
            // SAFETY: the GIL is held.
            let block = unsafe { (allocator.malloc)(allocator.context, size) };
            // SAFETY: it came from the same allocator; null is allowed.
            unsafe { (allocator.free)(allocator.context, block) };
        }
    });
    if asks { 0 } else { SMALL + 1 }
}

/// Whether an allocation of this domain comes by.
fn is_reached(functions: &Functions, domain: usize) -> bool {
    let Some((malloc, free)) = functions.domains.get(domain) else { return false };
    if is_ours(domain, &in_front(functions, domain)) {
        return true;
    }
    Thread::current().reaches_a_hook(|| {
        // SAFETY: the GIL is held.
        let block = unsafe { malloc(16) };
        // SAFETY: it came from the same domain; null is allowed.
        unsafe { free(block) };
    })
}

fn functions() -> Result<&'static Functions, String> {
    static FOUND: OnceLock<Result<Functions, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        Ok(Functions {
            get: symbol(c"PyMem_GetAllocator")?,
            set: symbol(c"PyMem_SetAllocator")?,
            domains: [
                (symbol(c"PyMem_RawMalloc")?, symbol(c"PyMem_RawFree")?),
                (symbol(c"PyMem_Malloc")?, symbol(c"PyMem_Free")?),
                (symbol(c"PyObject_Malloc")?, symbol(c"PyObject_Free")?),
            ],
        })
    });
    found.as_ref().map_err(Clone::clone)
}

/// The function `name` of this CPython, as a pointer of type `F`.
fn symbol<F: Copy>(name: &CStr) -> Result<F, String> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    let address = host::symbol(name)
        .ok_or_else(|| format!("this CPython does not export {}", name.to_string_lossy()))?;
    // SAFETY: every caller names the signature that the function has in every CPython from 3.9 on.
    Ok(unsafe { std::mem::transmute_copy::<*mut c_void, F>(&address.as_ptr()) })
}

/// Locks around forks, and rests in children: what a child does is not what is watched.
fn survive_forks() {
    static DONE: Mutex<bool> = Mutex::new(false);
    let Ok(mut done) = DONE.lock() else { return };
    if !*done {
        // SAFETY: the three are functions of a library that is never unloaded.
        *done = unsafe { libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child)) } == 0;
    }
}

extern "C" fn before_fork() {
    TABLES.before_fork();
}

extern "C" fn in_parent() {
    TABLES.after_fork();
}

extern "C" fn in_child() {
    does_nothing();
    TABLES.after_fork();
    joined::take_over();
}
