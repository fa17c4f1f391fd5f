//! The process's malloc with leakline's hook in front of it: samples of what is allocated, with call paths, and every
//! mapping that the process makes.
//!
//! A preloaded library is in front by its name: it exports `malloc` and the rest. In a process that was not started with
//! it, the relocations of every loaded object are written instead (`patch`); no code is changed. Once in front the hook
//! stays: at rest it passes everything on.
//!
//! What it knows lies in tables that another process may read (`table`). A child of the host has them too, and rests: the
//! kernel empties a word in it, so no fork waits for anything, and nothing is done after one.
//!
//! Never here: an allocation in the host's heap, a lock that the host may hold, code of the host's, a system call but for
//! a futex and, where a stack is not known yet, `rt_sigprocmask`.

mod asking;
mod child;
#[cfg(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod guests;
mod maps;
mod names;
mod next;
mod objects;
mod patch;
mod profile;
mod record;
pub mod shims;
mod table;

use std::sync::atomic::{
    AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::Release, Ordering::SeqCst,
};
use std::sync::{Mutex, OnceLock, PoisonError};

use leakline_probing::sampler::lock::Lock;
use leakline_probing::shared::{self, Sharing};

use next::Functions;
use table::Room;
use table::write::Tables;

pub use asking::answer_now;
pub(crate) use asking::{ask, host_is_asked_by_page, ready};
pub use child::{begin_in_child, on_call_in_child};
#[cfg(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub use guests::{become_guest, guests_survive_forks};
pub use names::pass_over;
pub(crate) use next::behind;
pub(crate) use patch::{Patched, come_in_front, is_unfinished, needs_looks, sees_mappings};
pub(crate) use profile::Reader;

/// What the host's threads write. Held for well under a microsecond by a thread that allocates.
static TABLES: Lock<Tables> = Lock::new(Tables::new());
/// What each malloc and each free looks at first.
static GATE: Gate = Gate::new();
/// What is called in the end. Not in the gate: what stands there may be this process's only.
static HOT: Hot = Hot { next: Functions::first() };

struct Hot {
    next: Functions,
}

/// On a page of its own, so that a watcher can have the very same: it asks for malloc's numbers here.
#[repr(C, align(4096))]
struct Gate {
    /// Allocations below this size need nothing but to be counted, as long as they are no samples: all sizes, [`ASKED`]
    /// while somebody waits for the next call, and none while the hook rests.
    simple_below: AtomicUsize,
    asking: asking::Page,
}

impl Gate {
    const fn new() -> Self {
        Self { simple_below: AtomicUsize::new(0), asking: asking::Page::new() }
    }
}

/// See [`Gate::simple_below`]: a call of malloc or free is to be noticed.
const ASKED: usize = 1;

/// Elsewhere the blocks of leakline's threads come from the host's malloc, as everybody's.
#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
pub fn become_guest() {
    leakline_probing::sampler::thread::Thread::current().leave_out();
}

/// There are none.
#[cfg(not(all(
    target_os = "linux",
    target_env = "gnu",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
pub fn guests_survive_forks() {}

/// Mean bytes between two samples, as the table has it.
static MEAN: AtomicU64 = AtomicU64::new(0);
/// How many frames of a path are kept.
static FRAMES: AtomicU16 = AtomicU16::new(0);
/// Counts how often objects were seen to have been unloaded: an address may have another meaning since.
static OBJECTS_EPOCH: AtomicU64 = AtomicU64::new(0);
/// Something went wrong inside; the hook never wakes again.
static FAILED: AtomicBool = AtomicBool::new(false);

/// How it samples beside a watcher; for children that get one of their own.
static BESIDE_WATCHER: OnceLock<Sampling> = OnceLock::new();

/// What is sampled, and what it may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sampling {
    pub(crate) mean: u64,
    pub(crate) frames: u16,
    pub(crate) max_live: usize,
    pub(crate) max_paths: usize,
    pub(crate) sharing: Sharing,
}

/// Comes in front of malloc, unless it is there, and begins to sample. The error is why it cannot be.
pub(crate) fn sample(sampling: Sampling) -> Result<Patched, String> {
    if FAILED.load(SeqCst) {
        return Err("the hook has failed before, and stays at rest".to_owned());
    }
    let patched = patch::come_in_front()?;
    // In a forked child that begins on its own: what was the parent's stays the parent's.
    let is_child = !shared::is_first_process();
    if is_child {
        asking::take_back_page();
        TABLES.after_fork();
    }
    rest_in_children();
    rest();
    if sampling.sharing == Sharing::WithWatcher {
        asking::share_page();
        BESIDE_WATCHER.set(sampling).ok();
    }
    FRAMES.store(sampling.frames.clamp(1, record::MAX_FRAMES as u16), SeqCst);
    let room = Room { samples: sampling.max_live, paths: sampling.max_paths };
    let mean = sampling.mean.max(1);
    let is_there = record::with_tables(|tables| {
        let is_there = tables.map(room, sampling.sharing, is_child);
        tables.start(mean);
        is_there
    });
    if !is_there {
        return Err("no address space for the tables of samples".to_owned());
    }
    MEAN.store(mean, SeqCst);
    table::write::set_state(table::State::Samples);
    GATE.simple_below.store(usize::MAX, SeqCst);
    // So that there is an answer of a process that calls malloc no more.
    answer_now();
    Ok(patched)
}

/// Puts the hook to rest, and forgets what it knew.
pub(crate) fn rest() {
    GATE.simple_below.store(0, SeqCst);
    record::with_tables(Tables::stop);
}

/// A hook that was put to rest for a while.
#[derive(Debug)]
pub struct Paused {
    simple_below: usize,
}

/// Puts the hook to rest until [`go_on`], with what it knows. Never waits.
pub fn pause() -> Paused {
    Paused { simple_below: GATE.simple_below.swap(0, SeqCst) }
}

/// Goes on where [`pause`] was called, unless the hook has begun or failed since.
pub fn go_on(paused: Paused) {
    if !FAILED.load(SeqCst) {
        let _ = GATE.simple_below.compare_exchange(0, paused.simple_below, SeqCst, SeqCst);
    }
}

/// Whether it samples.
pub(crate) fn is_sampling() -> bool {
    !rests()
}

/// Why the hook of the process whose tables these are rests, as far as it stands in them; `None`: it does not.
pub(crate) fn rests_because() -> Option<&'static str> {
    match table::write::table().map(|table| table.header.state()) {
        Some(table::State::Samples) => None,
        Some(table::State::Failed) => Some("the hook failed and rests, please report this"),
        Some(table::State::Rests) | None => Some("the hook rests"),
    }
}

/// Comes in front in what was loaded since, and forgets what was unloaded.
pub(crate) fn look_again() {
    static UNLOADED: Mutex<Option<u64>> = Mutex::new(None);
    if let Ok(mut seen) = UNLOADED.lock() {
        let now = leakline_probing::loader::unloaded();
        if seen.replace(now) != Some(now) {
            unloaded();
        }
    }
    if is_sampling() {
        let _ = patch::come_in_front();
    }
}

/// An object may have been unloaded.
fn unloaded() {
    OBJECTS_EPOCH.fetch_add(1, SeqCst);
    crate::unwind::forget();
}

/// Whether it does nothing: because it was told so, or because this is a child.
#[inline]
fn rests() -> bool {
    GATE.simple_below.load(Relaxed) == 0 || !shared::is_first_process()
}

/// As [`rests`], for an allocation on a thread of the host's: a child that allocates may be one that is to be watched.
#[inline]
fn rests_here() -> bool {
    rests() && {
        child::looks();
        true
    }
}

/// From any thread, in any state.
fn rest_for_good() {
    FAILED.store(true, SeqCst);
    GATE.simple_below.store(0, SeqCst);
    table::write::set_state(table::State::Failed);
}

/// Rests in children from now on: what a child does is not what is watched. Where the kernel cannot tell them apart (before
/// 4.14), a handler puts the hook to rest, which has its own page then.
fn rest_in_children() {
    static DONE: Mutex<bool> = Mutex::new(false);
    let mut done = DONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !shared::tell_forks_apart() && !*done {
        // SAFETY: a function of a library that is never unloaded.
        *done = unsafe { libc::pthread_atfork(None, None, Some(in_child)) } == 0;
    }
}

extern "C" fn in_child() {
    asking::take_back_page();
    GATE.simple_below.store(0, Release);
}
