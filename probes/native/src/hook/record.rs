//! What the hook does when an allocation is a sample, and when a sampled block is freed: walks the stack, and hands both
//! to the tables. Never lets a panic out: the first one puts the hook to rest for good.
//!
//! A signal handler of the host's may allocate and free on a thread that holds the tables' lock. What it allocates is not
//! sampled then; what it frees is noted on the thread, which sees to it before it lets go of the lock.

use std::cell::Cell;
use std::panic::catch_unwind;
use std::sync::atomic::Ordering::Relaxed;

use leakline_probing::joined::{self, Joined, RawFrame};
use leakline_probing::sampler::thread::Thread;
use leakline_probing::shared::Sharing;

use super::table::write::{self, Freed, Tables, Walked};
use super::{FRAMES, MEAN, OBJECTS_EPOCH, TABLES, rest_for_good};
use crate::unwind::{self, End, Registers, ThreadStack};

/// Most frames of a path: they are collected on the stack of the thread that allocates.
pub(super) const MAX_FRAMES: usize = 64;
/// Most frames of a runtime that continue a native path.
const MAX_JOINED: usize = 32;
/// Frees of one signal handler that are noted.
const PENDING: usize = 4;

/// What the hook keeps for a thread beside its countdown.
struct Local {
    holds: Cell<bool>,
    pending: [Cell<usize>; PENDING],
    kind: Cell<Kind>,
    stack: ThreadStack,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unknown,
    Host,
    /// One of leakline's own: what it allocates is not the host's doing.
    Own,
}

thread_local! {
    static LOCAL: Local = const {
        Local {
            holds: Cell::new(false),
            pending: [const { Cell::new(0) }; PENDING],
            kind: Cell::new(Kind::Unknown),
            stack: ThreadStack::new(),
        }
    };
}

/// A stack that was walked.
pub(super) struct Walk<'a> {
    native: &'a [usize],
    joined: Option<(u32, &'static Joined, &'a [RawFrame])>,
    truncated: bool,
    hash: u64,
    objects_epoch: u64,
}

impl Walk<'_> {
    /// What is kept of it, with the numbers of the runtime's frames.
    fn walked<'a>(&'a self, numbers: &'a [u64], is_mapping: bool) -> Walked<'a> {
        Walked {
            // A path that maps and allocates is kept as two.
            hash: if is_mapping { self.hash.rotate_left(32) } else { self.hash } | 1,
            native: self.native,
            numbers,
            runtime: self.joined.map_or(0, |(index, _, _)| index),
            is_truncated: self.truncated,
            is_mapping,
            objects_epoch: self.objects_epoch,
        }
    }
}

/// Walks this thread's stack from where `from` was taken, and gives the walk without that first frame to `work`, outside
/// of any lock.
#[inline(always)]
pub(super) fn walk<T>(from: Registers, work: impl FnOnce(Walk<'_>) -> T) -> T {
    let mut addresses = [0; MAX_FRAMES + 1];
    let mut frames: [RawFrame; MAX_JOINED] = [[0; 2]; MAX_JOINED];
    let most = usize::from(FRAMES.load(Relaxed)).min(MAX_FRAMES) + 1;
    let room = addresses.get_mut(..most).unwrap_or_default();
    let walked = LOCAL.with(|local| unwind::walk(from, &local.stack, room));
    let native = addresses.get(1..walked.frames).unwrap_or_default();
    let mut truncated = walked.end != End::Root;
    let joined = match walked.end {
        End::Runtime(index) => joined::all().nth(index as usize).and_then(|runtime| {
            // SAFETY: the room is as long as it is said to be.
            let found =
                unsafe { (runtime.walk)(native.as_ptr(), native.len(), frames.as_mut_ptr(), MAX_JOINED) };
            let found = found.min(MAX_JOINED);
            truncated = found == MAX_JOINED;
            (found > 0).then(|| (index, runtime, frames.get(..found).unwrap_or_default()))
        }),
        _ => None,
    };
    let objects_epoch = OBJECTS_EPOCH.load(Relaxed);
    let mut hash = Hash::new(objects_epoch << 1 | u64::from(truncated));
    native.iter().for_each(|address| hash.add(*address as u64));
    joined.iter().flat_map(|(_, _, frames)| frames.iter()).for_each(|[one, other]| {
        hash.add(one.wrapping_mul(Hash::B).rotate_left(23) ^ other);
    });
    work(Walk { native, joined, truncated, hash: hash.finish(), objects_epoch })
}

/// Whether the thread whose registers are `from` is in a signal handler, as far as its stack tells.
pub(super) fn is_in_handler(from: Registers) -> bool {
    let mut addresses = [0; MAX_FRAMES];
    LOCAL.with(|local| unwind::walk(from, &local.stack, &mut addresses)).passed_signal
}

/// A block was allocated that is due for a sample.
#[cold]
#[inline(never)]
pub(super) fn allocated(address: usize, size: usize, from: Registers) {
    let thread = Thread::current();
    if is_busy() {
        count_interrupted();
        return;
    }
    let Some(_inside) = thread.enter() else { return };
    if !thread.is_due(size, MEAN.load(Relaxed)) || is_own_thread() {
        return;
    }
    guarded((), || {
        walk(from, |walk| {
            keep(&walk, false, |tables, walked| {
                tables.allocated(address, size, walked);
                MEAN.store(tables.mean(), Relaxed);
            });
        });
    });
}

/// Has `add` add something to the tables. The numbers of a runtime's frames are asked for without the lock: the runtime may
/// take locks of its own for them.
pub(super) fn keep(walk: &Walk<'_>, is_mapping: bool, mut add: impl FnMut(&mut Tables, Walked<'_>)) {
    let without = walk.walked(&[], is_mapping);
    let Some((_, runtime, frames)) = walk.joined else {
        with_tables(|tables| add(tables, without));
        return;
    };
    let is_kept = with_tables(|tables| {
        let needs_none = tables.needs_no_path(without.hash);
        if needs_none {
            add(tables, without);
        }
        needs_none
    });
    if !is_kept {
        let mut numbers = [0; MAX_JOINED];
        let count = frames.len().min(MAX_JOINED);
        // SAFETY: the frames were just read by the same runtime's `walk` on this thread, and there is room for as many
        // numbers.
        unsafe { (runtime.keep)(frames.as_ptr(), count, numbers.as_mut_ptr()) };
        let numbers = numbers.get(..count).unwrap_or_default();
        with_tables(|tables| add(tables, walk.walked(numbers, is_mapping)));
    }
}

/// A block that may be a sample is about to be freed.
#[cold]
#[inline(never)]
pub(super) fn freed(address: usize) -> Option<Freed> {
    // At rest, what is known is of the past; in a child, of the parent.
    if super::rests() {
        return None;
    }
    guarded(None, || {
        if is_busy() {
            note(address);
            return None;
        }
        with_tables(|tables| tables.freed(address))
    })
}

/// It was not freed after all.
#[cold]
pub(super) fn put_back(address: usize, taken: Option<Freed>) {
    let Some(freed) = taken.filter(|_| !is_busy() && !super::rests()) else { return };
    with_tables(|tables| tables.put_back(address, freed));
}

fn count_interrupted() {
    if let Some(table) = write::table().filter(|_| !super::rests()) {
        table.header.counts.interrupted.fetch_add(1, Relaxed);
    }
}

/// Runs `work` with the tables, and sees to what signal handlers freed meanwhile on this thread.
pub(super) fn with_tables<T>(work: impl FnOnce(&mut Tables) -> T) -> T {
    LOCAL.with(|local| {
        local.holds.set(true);
        let outcome = TABLES.with(|tables| {
            let outcome = work(tables);
            for pending in &local.pending {
                let address = pending.take();
                if address != 0 {
                    tables.freed(address);
                }
            }
            outcome
        });
        local.holds.set(false);
        outcome
    })
}

/// Whether this thread holds the tables' lock: then this is a signal handler, or what leakline itself maps.
pub(super) fn is_busy() -> bool {
    LOCAL.with(|local| local.holds.get())
}

fn note(address: usize) {
    LOCAL.with(|local| {
        // With no room left, the block stays known until something else is allocated in its place.
        if let Some(place) = local.pending.iter().find(|place| place.get() == 0) {
            place.set(address);
        }
    });
}

/// Whether this thread is one of leakline's, by its name.
pub(super) fn is_own_thread() -> bool {
    LOCAL.with(|local| {
        if local.kind.get() == Kind::Unknown {
            // Beside a watcher the few threads that leakline has in the host are left out by themselves.
            if write::table().is_some_and(|table| table.sharing == Sharing::WithWatcher) {
                local.kind.set(Kind::Host);
                return false;
            }
            let mut name = [0_u8; 16];
            // SAFETY: the kernel writes at most 16 bytes into ours.
            let outcome = unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
            let own = outcome == 0 && name.starts_with(b"leakline");
            local.kind.set(if own { Kind::Own } else { Kind::Host });
        }
        local.kind.get() == Kind::Own
    })
}

/// Runs `work`, and leaves errno as it was, and what is left until the next sample: in a program that leakline is linked
/// into, `work` itself allocates with the malloc that is hooked. A panic puts the hook to rest for good.
#[inline(always)]
pub(super) fn guarded<T>(otherwise: T, work: impl FnOnce() -> T) -> T {
    let (errno, left) = (errno(), Thread::current().left());
    // SAFETY: it is this thread's own number.
    let before = unsafe { *errno };
    let outcome = catch_unwind(std::panic::AssertUnwindSafe(work));
    Thread::current().put_left(left);
    // SAFETY: as above.
    unsafe { *errno = before };
    outcome.unwrap_or_else(|_| {
        rest_for_good();
        otherwise
    })
}

/// Runs `work`, and leaves errno as it was.
pub(super) fn with_errno(work: impl FnOnce()) {
    let errno = errno();
    // SAFETY: it is this thread's own number.
    let before = unsafe { *errno };
    work();
    // SAFETY: as above.
    unsafe { *errno = before };
}

fn errno() -> *mut libc::c_int {
    #[cfg(target_os = "android")]
    // SAFETY: it has no preconditions.
    return unsafe { libc::__errno() };
    #[cfg(not(target_os = "android"))]
    // SAFETY: it has no preconditions.
    return unsafe { libc::__errno_location() };
}

/// Of the frames, in their order.
struct Hash(u64);

impl Hash {
    const A: u64 = 0x9E37_79B9_7F4A_7C15;
    const B: u64 = 0xD6E8_FEB8_6659_FD93;

    fn new(seed: u64) -> Self {
        Self(0x2545_F491_4F6C_DD1D ^ seed)
    }

    #[inline(always)]
    fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(Self::A).rotate_left(31);
    }

    fn finish(self) -> u64 {
        let hash = (self.0 ^ self.0 >> 29).wrapping_mul(Self::B);
        hash ^ hash >> 32
    }
}
