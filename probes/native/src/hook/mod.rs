//! The process's malloc with leakline's hook in front of it: samples of what is allocated, with call paths, and every
//! mapping that the process makes.
//!
//! A preloaded library is in front by its name: it exports `malloc` and the rest. In a process that was not started with
//! it, the relocations of every loaded object are written instead (`patch`); no code is changed. Once in front the hook
//! stays: at rest it passes everything on.
//!
//! Never here: an allocation in the host's heap, a lock that the host may hold, code of the host's.

#[cfg(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod guests;
mod maps;
mod names;
mod next;
mod patch;
mod profile;
mod record;
pub mod shims;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

use leakline_probing::sampler::lock::Lock;
use leakline_probing::sampler::marks::Marks;
use leakline_probing::sampler::recorder::{Bounds, Recorder};

use maps::Regions;
use next::Functions;
use record::Path;

#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub use guests::become_guest;
pub(crate) use next::behind;

/// Elsewhere its blocks come from the host's malloc, as everybody's.
#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
pub fn become_guest() {}
pub(crate) use patch::{Patched, come_in_front, is_unfinished, sees_mappings};
pub(crate) use profile::Reader;

/// What the hook knows.
pub(crate) struct Tables {
    /// The samples that are live.
    heap: Recorder<Path, ()>,
    /// The mappings that are live.
    maps: Regions,
}

/// Held for well under a microsecond by a thread that allocates, and around forks.
static TABLES: Lock<Tables> = Lock::new(Tables { heap: Recorder::new(()), maps: Regions::new() });
/// What is a sample, or was.
static MARKS: Marks = Marks::new();
/// What each malloc and each free looks at, in one place, so that only one address is looked up.
static HOT: Hot = Hot { simple_below: AtomicUsize::new(0), next: Functions::first() };

struct Hot {
    /// Allocations below this size need nothing but to be counted, as long as they are no samples: all sizes, and none
    /// while the hook rests.
    simple_below: AtomicUsize,
    /// What is called in the end.
    next: Functions,
}

/// Mean bytes between two samples, as the table has it.
static MEAN: AtomicU64 = AtomicU64::new(0);
/// How many frames of a path are kept.
static FRAMES: AtomicU16 = AtomicU16::new(0);
/// Counts how often objects were seen to have been unloaded: an address may have another meaning since.
static OBJECTS_EPOCH: AtomicU64 = AtomicU64::new(0);
/// Something went wrong inside; the hook never wakes again.
static FAILED: AtomicBool = AtomicBool::new(false);

/// What is sampled, and what it may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sampling {
    pub(crate) mean: u64,
    pub(crate) frames: u16,
    pub(crate) max_live: usize,
    pub(crate) max_paths: usize,
}

/// Comes in front of malloc, unless it is there, and begins to sample. The error is why it cannot be.
pub(crate) fn sample(sampling: Sampling) -> Result<Patched, String> {
    if FAILED.load(SeqCst) {
        return Err("the hook has failed before, and stays at rest".to_owned());
    }
    if !MARKS.reserve() {
        return Err("no address space for the marks of sampled pointers".to_owned());
    }
    let patched = patch::come_in_front()?;
    survive_forks();
    rest();
    FRAMES.store(sampling.frames.clamp(1, record::MAX_FRAMES as u16), SeqCst);
    let bounds = Bounds {
        mean: sampling.mean.max(1),
        max_live: sampling.max_live,
        max_stacks: sampling.max_paths.max(2),
    };
    record::with_tables(|tables| {
        tables.heap.start(bounds, (), Path::shared());
        tables.maps.start();
    });
    MEAN.store(bounds.mean, SeqCst);
    HOT.simple_below.store(usize::MAX, SeqCst);
    Ok(patched)
}

/// Puts the hook to rest, and forgets what it knew.
pub(crate) fn rest() {
    HOT.simple_below.store(0, SeqCst);
    record::with_tables(|tables| {
        tables.heap.stop(());
        tables.maps.stop();
        MARKS.clear_all();
    });
}

/// Whether it samples.
pub(crate) fn is_sampling() -> bool {
    !rests()
}

/// Comes in front in what was loaded since, and forgets what was unloaded.
pub(crate) fn look_again() {
    static UNLOADED: Mutex<Option<u64>> = Mutex::new(None);
    if let Ok(mut seen) = UNLOADED.lock() {
        let now = leakline_probing::loader::unloaded();
        if seen.replace(now) != Some(now) {
            OBJECTS_EPOCH.fetch_add(1, SeqCst);
            crate::unwind::forget();
        }
    }
    if is_sampling() {
        let _ = patch::come_in_front();
    }
}

/// Whether it does nothing.
#[inline]
fn rests() -> bool {
    HOT.simple_below.load(Relaxed) == 0
}

/// From any thread, in any state.
fn rest_for_good() {
    FAILED.store(true, SeqCst);
    HOT.simple_below.store(0, SeqCst);
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
    record::before_fork(&TABLES);
}

extern "C" fn in_parent() {
    record::after_fork(&TABLES);
}

extern "C" fn in_child() {
    HOT.simple_below.store(0, SeqCst);
    record::after_fork(&TABLES);
}
