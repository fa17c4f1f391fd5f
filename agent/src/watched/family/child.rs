//! The host's side: a forked child becomes a host of its own.
//!
//! Called in the middle of an allocation of the host's, whatever locks it holds: so nothing here calls the host's malloc, the
//! loader or a runtime, and the wait for the watcher is short. A child for which there is none stays as it was, with its hooks
//! at rest.

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use leakline_core::Clock as _;
use leakline_probing::heap;
use leakline_probing::shared::anew;

use super::desk::{Desk, Wish};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::threads;
use crate::watched::confined::is_confined;

/// How long a child may stand still for its watcher: that takes a millisecond, unless the machine is busy.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// After one that did not come, the next is asked for later.
const TRIES: u32 = 3;

/// This is no child, or one that was looked at.
const DONE: u32 = 0;
/// A child that is to be looked at.
const WAITS: u32 = 1;
const BUSY: u32 = 2;

static STATE: AtomicU32 = AtomicU32::new(DONE);
static TRIED: AtomicU32 = AtomicU32::new(0);
/// By boot time.
static SETTLED_AT: AtomicU64 = AtomicU64::new(0);
static SETTLE: AtomicU64 = AtomicU64::new(0);
static DESK: AtomicPtr<Desk> = AtomicPtr::new(std::ptr::null_mut());

/// From now on forked children are watched. To be called in the host, once, while there is one thread, after
/// [`count_programs`].
pub(in crate::watched) fn prepare(config: &Config) {
    SETTLE.store(nanos(config.children_settle), Ordering::Relaxed);
    heap::OwnHeap::survive_forks();
    leakline_native::guests_survive_forks();
    leakline_native::on_call_in_child(look);
    // SAFETY: a function of a library that is never unloaded.
    unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
}

/// From now on it is known where programs are counted. To be called in the host, once.
pub(in crate::watched) fn count_programs(desk: &'static Desk) {
    DESK.store(std::ptr::from_ref(desk).cast_mut(), Ordering::Release);
}

/// Whether a program that this process, or a child of it by `fork` or `vfork`, becomes or starts is to be watched.
pub(crate) fn may_watch_program() -> bool {
    desk().is_some_and(|desk| desk.may_watch_program(SystemClock.now().boot_nanos))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn desk() -> Option<&'static Desk> {
    // SAFETY: null, or one that is mapped for good.
    unsafe { DESK.load(Ordering::Acquire).as_ref() }
}

/// Called after each fork, in the child.
extern "C" fn in_child() {
    let Some(desk) = desk().filter(|_| !is_confined()) else { return };
    desk.forked(std::process::id());
    TRIED.store(0, Ordering::Relaxed);
    wait_for(SETTLE.load(Ordering::Relaxed));
}

fn wait_for(nanos: u64) {
    SETTLED_AT.store(SystemClock.now().boot_nanos.saturating_add(nanos), Ordering::Relaxed);
    STATE.store(WAITS, Ordering::Release);
}

/// A child allocates.
fn look() {
    if STATE.load(Ordering::Relaxed) != WAITS
        || SystemClock.now().boot_nanos < SETTLED_AT.load(Ordering::Relaxed)
        || STATE.compare_exchange(WAITS, BUSY, Ordering::AcqRel, Ordering::Relaxed).is_err()
    {
        return;
    }
    if is_confined() || heap::is_out_of_memory() {
        STATE.store(DONE, Ordering::Release);
        return;
    }
    // A panic must not reach the host; without a watcher the hooks stay at rest. No handler of the host's runs meanwhile.
    let begun = catch_unwind(|| threads::with_signals_blocked(begin)).unwrap_or(true);
    if begun || TRIED.fetch_add(1, Ordering::Relaxed) + 1 >= TRIES {
        STATE.store(DONE, Ordering::Release);
    } else {
        wait_for(SETTLE.load(Ordering::Relaxed).max(nanos(Duration::from_secs(1))));
    }
}

/// False: it may be tried again.
fn begin() -> bool {
    let Some(desk) = desk() else { return true };
    // No memory, no descriptor, or a limit of the size of files.
    let Ok(memory) = anew::renew() else { return false };
    let wish = Wish { process: std::process::id(), file: memory.number(), identity: memory.identity() };
    let is_watched = desk.ask(wish, LONGEST_WAIT);
    drop(memory);
    if is_watched {
        crate::watched::begin_in_child();
    }
    is_watched
}
