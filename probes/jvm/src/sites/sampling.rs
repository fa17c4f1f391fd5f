//! The callback for sampled allocations, and the table that it fills: on whatever thread of the host allocates.
//!
//! HotSpot draws, for each thread, how many bytes it allocates until its next sample, from an exponential distribution: an
//! object of `s` bytes is sampled with probability 1 - exp(-s/interval), which is what the recorder's estimates rest on.
//! It draws for all threads from one sequence of random numbers, and each new thread begins that anew, often at the same
//! number: a program in a loop would have the same object of the loop sampled each time, and with few draws between two
//! threads all estimates would err alike (a reading makes a thread, too). So it draws more often than is wanted, as often as
//! is cheap, with an interval that is itself random, and what it tells of is thinned to the mean by our own numbers. That
//! also lets the mean grow, when there are too many samples.
//!
//! A sample is kept by a weak reference. Each callback looks at a few of the oldest, so that what was collected goes out
//! at least as fast as new ones come in, without a thread for it.
//!
//! Never holds the lock while it calls the JVM: any such call may wait for a collection. Never makes a Java object, never
//! leaves an exception behind, never lets a panic out.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::c_void;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::time::Duration;

use jni::sys;
use leakline_probing::joined::RawFrame;
use leakline_probing::sampler::estimate::probability;
use leakline_probing::sampler::live::Class;
use leakline_probing::sampler::lock::Lock;
use leakline_probing::sampler::random::Random;
use leakline_probing::sampler::recorder::{Block, Bounds, Recorded, Recorder};

use super::SitesOptions;
use super::bridged::{self, Bridged};
use super::budget::Budget;
use super::reach::reach;
use super::weak;
use crate::env::Frame;
use crate::error::JvmError;
use crate::jvmti::{Jvmti, StackFrame};
use crate::vm::Vm;

/// Most frames of a path.
pub(super) const MAX_FRAMES: usize = 64;
/// What a path takes beside its frames: what the heap keeps for its block.
const PATH_BYTES: usize = 16;
/// Paths that are looked at for one that holds nothing, for each new one, and that are forgotten for it, at most.
const LOOKED_AT_PATHS: usize = 16;
const FORGOTTEN_PATHS: usize = 4;
/// Older samples that each new one looks at.
const LOOKED_AT: usize = 4;
/// Samples that are swept at a time under the lock.
const SWEPT: usize = 256;
/// An interval of HotSpot's is at least this part of what the spread makes it.
const LEAST_PART: f64 = 0.75;
/// It draws no oftener than that if less is not wanted.
const LEAST_INTERVAL: u64 = 4096;
/// The longest interval that HotSpot takes is 2 GiB.
const MAX_INTERVAL: u64 = 1 << 30;

static ON: AtomicBool = AtomicBool::new(false);
static FAILED: AtomicBool = AtomicBool::new(false);
/// What HotSpot draws with. It draws a thread's next sample before it tells of the last one.
static INTERVAL: AtomicU64 = AtomicU64::new(0);
static MOST_FRAMES: AtomicU64 = AtomicU64::new(0);
static STATE: Lock<State> = Lock::new(State {
    recorder: Recorder::new(PathBytes(0)),
    max_path_bytes: 0,
    entries: VecDeque::new(),
    last_id: 0,
    random: Random::new(0x9E37_79B9_7F4A_7C15),
    budget: Budget::new(),
});

thread_local! {
    /// The interval that this thread's next sample was drawn with; 0: before its first one.
    static DRAWN: Cell<u64> = const { Cell::new(0) };
    /// Whether this thread is leakline's.
    static IS_OWN: Cell<bool> = const { Cell::new(false) };
}

/// A call path as it was met.
#[derive(Debug, Clone, Default)]
pub(super) struct Path {
    /// Methods by the JVM's numbers, with the place in their code; innermost first.
    pub(super) frames: Box<[RawFrame]>,
    pub(super) truncated: bool,
    /// It stands for the paths that there was no room for.
    pub(super) is_shared: bool,
    /// What Python has to do with it.
    pub(super) bridged: Bridged,
}

/// What the kept paths take, beside their places in the recorder.
#[derive(Debug, Clone, Copy)]
pub(super) struct PathBytes(usize);

pub(super) type JavaRecorder = Recorder<Path, PathBytes>;

impl Path {
    fn bytes(&self) -> usize {
        let python = self.bridged.python.as_ref().map_or(0, |python| size_of_val(&*python.numbers));
        PATH_BYTES + size_of_val(&*self.frames) + python
    }
}

/// What the paths of `recorder` take.
fn held_bytes(recorder: &JavaRecorder) -> usize {
    recorder.stacks.held_bytes() + recorder.extra.0
}

/// Forgets one path for which nobody keeps a sample any more.
fn forget(path: Path, held: &mut PathBytes) {
    held.0 = held.0.saturating_sub(path.bytes());
}

struct State {
    recorder: JavaRecorder,
    /// What the paths may take.
    max_path_bytes: usize,
    /// The live samples, the one that was looked at longest ago first.
    entries: VecDeque<Entry>,
    last_id: usize,
    random: Random,
    budget: Budget,
}

/// A sample: its number in the recorder, where it stands for an address, and its object.
#[derive(Debug, Clone, Copy)]
struct Entry {
    id: usize,
    weak: sys::jweak,
}

// SAFETY: a weak global reference belongs to no thread.
unsafe impl Send for Entry {}

impl State {
    /// Whether a sample that was drawn with another interval counts at the mean that is in force.
    fn accepts(&mut self, size: u64, drawn: u64) -> bool {
        let mean = self.recorder.mean();
        drawn >= mean || self.random.uniform() <= probability(size, mean) / probability(size, drawn)
    }

    /// What HotSpot is to draw with next; `None`: stopped.
    fn next_interval(&mut self) -> Option<u64> {
        let part = LEAST_PART + (1.0 - LEAST_PART) * self.random.uniform();
        let mean = self.recorder.mean().min(MAX_INTERVAL);
        let interval = (mean / u64::from(self.budget.spread)).max(LEAST_INTERVAL.min(mean));
        (mean > 0).then(|| ((interval as f64 * part) as u64).max(1))
    }

    /// Counts a draw; where they cost too much, there will be fewer.
    fn count(&mut self, now: u64) {
        for _ in 0..self.budget.drawn(now, process_cpu) {
            self.recorder.thin();
        }
    }

    /// Takes those out that were collected, and puts the others back; `unused` gets what nobody needs any more.
    fn settle(&mut self, looked_at: &[(Entry, bool)], mut unused: impl FnMut(Entry)) {
        for (entry, is_collected) in looked_at {
            if *is_collected {
                let _ = self.recorder.freed(entry.id);
                unused(*entry);
            } else if self.recorder.holds(entry.id) {
                self.entries.push_back(*entry);
            } else {
                // Thinned out.
                unused(*entry);
            }
        }
    }
}

/// Begins. Gives the epoch of what is recorded from now on.
pub(super) fn start(jvmti: Jvmti, options: SitesOptions) -> Result<u64, String> {
    IS_OWN.set(true);
    let mean = options.mean_sample_bytes.clamp(1, MAX_INTERVAL);
    let bounds =
        Bounds { mean, max_live: options.max_samples as usize, max_stacks: options.max_paths as usize };
    let shared = Path { is_shared: true, ..Path::default() };
    let epoch = STATE.with(|state| {
        state.entries.clear();
        state.budget = Budget::new();
        state.max_path_bytes = usize::try_from(options.max_bytes).unwrap_or(usize::MAX) / 2;
        state.recorder.start(bounds, PathBytes(0), shared);
        state.recorder.epoch
    });
    MOST_FRAMES.store(u64::from(options.max_frames.clamp(1, SitesOptions::MAX_FRAMES)), Relaxed);
    INTERVAL.store(mean, Relaxed);
    FAILED.store(false, Relaxed);
    ON.store(true, Release);
    if jvmti.set_sampling_interval(mean) && jvmti.watch_samples(sampled) {
        Ok(epoch)
    } else {
        ON.store(false, Release);
        Err("the JVM refused to tell of sampled allocations".to_owned())
    }
}

/// Forgets everything. `env` is the calling thread's, of the JVM that was sampled; `None`: that has ended.
pub(super) fn stop(env: Option<*mut sys::JNIEnv>) {
    ON.store(false, Release);
    let entries = STATE.with(|state| {
        state.recorder.stop(PathBytes(0));
        std::mem::take(&mut state.entries)
    });
    let Some(env) = env else {
        // They went with the JVM.
        weak::forget();
        bridged::forget();
        return;
    };
    for entry in entries {
        // SAFETY: the caller's promise, and the entry was taken out: nobody else deletes it.
        unsafe { weak::delete(env, entry.weak) };
    }
}

/// Whether a callback panicked.
pub(super) fn has_failed() -> bool {
    FAILED.load(Relaxed)
}

/// The recorder, for as long as `work` runs: the host's threads wait meanwhile if they have a sample.
pub(super) fn with_recorder<R>(work: impl FnOnce(&mut JavaRecorder) -> R) -> R {
    STATE.with(|state| work(&mut state.recorder))
}

/// Forgets the paths that hold nothing, when all of them take more than half of what they may, or are more than half of
/// their number: so there is room for new ones until the next reading, without a search for each.
pub(super) fn forget_unused() {
    STATE.with(|state| {
        let recorder = &mut state.recorder;
        if recorder.stacks.kept() > recorder.bounds().max_stacks / 2
            || held_bytes(recorder) > state.max_path_bytes / 2
        {
            recorder.forget_all(&mut forget);
        }
    });
}

/// Looks at all samples once. `env` is the calling thread's.
pub(super) fn sweep(env: *mut sys::JNIEnv) {
    let mut left = STATE.with(|state| state.entries.len());
    while left > 0 {
        let taken: Vec<Entry> = STATE.with(|state| {
            let count = state.entries.len().min(SWEPT).min(left);
            state.entries.drain(..count).collect()
        });
        if taken.is_empty() {
            break;
        }
        left -= taken.len();
        // SAFETY: they were taken out, so nobody else deletes them.
        let looked_at: Vec<_> =
            taken.into_iter().map(|entry| (entry, unsafe { weak::is_collected(env, entry.weak) })).collect();
        let mut unused = Vec::new();
        STATE.with(|state| state.settle(&looked_at, |entry| unused.push(entry)));
        for entry in unused {
            // SAFETY: as above.
            unsafe { weak::delete(env, entry.weak) };
        }
    }
}

/// Looks for `most` which samples anything still leads to, and takes the others out: nothing will bring them back. Gives the bytes
/// of all objects that are live, and the pause. `frame` is the calling thread's, in `vm`.
pub(super) fn drop_garbage(
    frame: &Frame<'_>,
    vm: Vm,
    most: Duration,
) -> Result<(Option<u64>, Duration), JvmError> {
    let taken: Vec<Entry> = STATE.with(|state| state.entries.drain(..).collect());
    let objects: Vec<sys::jweak> = taken.iter().map(|entry| entry.weak).collect();
    // SAFETY: they were taken out, so nobody else deletes them.
    let reached = unsafe { reach(frame, vm, &objects, most) };
    let is_reached = reached.as_ref().map_or(&[][..], |reached| &reached.is_reached);
    let is_reached = is_reached.iter().copied().chain(std::iter::repeat(true));
    let looked_at: Vec<_> = taken.into_iter().zip(is_reached.map(|is_reached| !is_reached)).collect();
    let mut unused = Vec::new();
    STATE.with(|state| state.settle(&looked_at, |entry| unused.push(entry)));
    for entry in unused {
        // SAFETY: as above.
        unsafe { weak::delete(frame.raw(), entry.weak) };
    }
    reached.map(|reached| (reached.live, reached.pause))
}

/// Called by the JVM.
///
/// # Safety
///
/// As the specification says.
unsafe extern "system" fn sampled(
    env: *mut c_void,
    jni: *mut sys::JNIEnv,
    _thread: sys::jobject,
    object: sys::jobject,
    class: sys::jclass,
    size: i64,
) {
    if !ON.load(Acquire) || IS_OWN.get() || leakline_probing::heap::is_out_of_memory() {
        return;
    }
    // SAFETY: the JVM gave this environment, and it is never disposed of while it has a callback.
    let Some(jvmti) = (unsafe { Jvmti::from_raw(env) }) else { return };
    // SAFETY: the JVM's own arguments.
    let taken = catch_unwind(|| unsafe { take(jvmti, jni, object, class, u64::try_from(size).unwrap_or(0)) });
    if taken.is_err() {
        ON.store(false, Release);
        FAILED.store(true, Relaxed);
    }
}

/// # Safety
///
/// `jni` is the calling thread's, and `object` and `class` are references that are alive.
unsafe fn take(jvmti: Jvmti, jni: *mut sys::JNIEnv, object: sys::jobject, class: sys::jclass, size: u64) {
    let begun = now();
    let interval = INTERVAL.load(Relaxed);
    let drawn = match DRAWN.replace(interval) {
        0 => interval,
        drawn => drawn,
    };
    let mut looked_at = [(Entry { id: 0, weak: std::ptr::null_mut() }, false); LOOKED_AT];
    let (next, wanted) = STATE.with(|state| {
        state.count(begun);
        let wanted = state.accepts(size, drawn).then(|| {
            let count = state.entries.len().min(LOOKED_AT);
            for (place, entry) in looked_at.iter_mut().zip(state.entries.drain(..count)) {
                place.0 = entry;
            }
            count
        });
        (state.next_interval(), wanted)
    });
    if let Some(next) = next {
        INTERVAL.store(next, Relaxed);
        jvmti.set_sampling_interval(next);
    }
    let Some(count) = wanted else { return };
    let cpu = thread_cpu();
    // SAFETY: the caller's promise.
    unsafe { weak::make_room(jni) };
    let looked_at = looked_at.get_mut(..count).unwrap_or_default();
    for (entry, collected) in looked_at.iter_mut() {
        // SAFETY: it was taken out, so nobody else deletes it.
        *collected = unsafe { weak::is_collected(jni, entry.weak) };
    }
    // SAFETY: the caller's promise.
    let weak = unsafe { weak::new(jni, object) };
    let mut frames = [StackFrame::NONE; MAX_FRAMES + 1];
    let most = usize::try_from(MOST_FRAMES.load(Relaxed)).unwrap_or(0).min(MAX_FRAMES);
    let found = if weak.is_null() { 0 } else { jvmti.own_stack(frames.get_mut(..=most).unwrap_or_default()) };
    let met = Met {
        frames: frames.get(..found.min(most)).unwrap_or_default(),
        truncated: found > most,
        // SAFETY: the caller's promise.
        bridged: unsafe { Bridged::of(jvmti, jni, class) },
    };

    let mut unused = [std::ptr::null_mut(); LOOKED_AT + 1];
    let mut places = unused.iter_mut();
    let mut discard = |entry: Entry| {
        if let Some(place) = places.next() {
            *place = entry.weak;
        }
    };
    STATE.with(|state| {
        state.budget.wanted(thread_cpu().saturating_sub(cpu));
        state.settle(looked_at, &mut discard);
        if !weak.is_null() {
            let entry = Entry { id: state.last_id + 1, weak };
            if ON.load(Acquire) && state.keep(entry, size, &met) {
                state.last_id = entry.id;
                state.entries.push_back(entry);
            } else {
                discard(entry);
            }
        }
    });
    for weak in unused.into_iter().filter(|weak| !weak.is_null()) {
        // SAFETY: it was taken out of the table, or never came into it.
        unsafe { weak::delete(jni, weak) };
    }
}

/// A call path in a callback.
struct Met<'a> {
    frames: &'a [StackFrame],
    truncated: bool,
    bridged: Bridged,
}

impl State {
    fn keep(&mut self, entry: Entry, size: u64, met: &Met<'_>) -> bool {
        let block = Block {
            address: entry.id,
            size: usize::try_from(size).unwrap_or(usize::MAX),
            class: Class::Large,
            was_marked: false,
        };
        let path = |held: &mut PathBytes| {
            let path = Path {
                frames: met.frames.iter().map(|frame| [frame.method as u64, frame.place as u64]).collect(),
                truncated: met.truncated,
                is_shared: false,
                bridged: met.bridged.clone(),
            };
            held.0 += path.bytes();
            path
        };
        let hash = met.hash();
        let has_room = self.has_room() || self.recorder.knows(hash) || self.make_room();
        self.recorder.allocated_if(block, hash, |held| has_room.then(|| path(held))) == Recorded::Kept
    }

    fn has_room(&self) -> bool {
        self.recorder.stacks.kept() < self.recorder.bounds().max_stacks
            && held_bytes(&self.recorder) < self.max_path_bytes
    }

    /// Forgets a few paths that hold nothing.
    fn make_room(&mut self) -> bool {
        for _ in 0..FORGOTTEN_PATHS {
            let Some(path) = self.recorder.forget_next(LOOKED_AT_PATHS) else { break };
            forget(path, &mut self.recorder.extra);
            if self.has_room() {
                return true;
            }
        }
        self.has_room()
    }
}

impl Met<'_> {
    /// Never that of the shared path.
    fn hash(&self) -> u64 {
        let mix = |hash: u64, word: u64| {
            let mixed = (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            mixed ^ mixed >> 29
        };
        let start = 0x2545_F491_4F6C_DD1D ^ u64::from(self.truncated);
        let java = self.frames.iter().flat_map(|frame| [frame.method as u64, frame.place as u64]);
        java.chain(self.bridged.words()).fold(start, mix) | 1
    }
}

/// Nanoseconds.
fn now() -> u64 {
    nanos(libc::CLOCK_MONOTONIC)
}

/// Processor time of all threads, nanoseconds: a few microseconds, or as many as there are hundreds of threads.
fn process_cpu() -> u64 {
    nanos(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Processor time of the calling thread, nanoseconds: a thread that is interrupted uses none.
fn thread_cpu() -> u64 {
    nanos(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn nanos(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one `timespec` into ours.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}
