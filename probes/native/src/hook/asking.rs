//! Malloc's own numbers for another process. Only the host can ask for them, and a host in C has no thread of leakline's:
//! so the watcher makes a word ask for the next call of malloc or free, in the page that both have, and the thread of the
//! host that calls then answers in passing, after its own call.
//!
//! - Whoever wants to know decides how often: an answer takes as long as malloc has free blocks.
//! - After an answer the next call is noticed once more, so that it is known whether the answer still holds.
//! - Never from a signal handler, which may have interrupted malloc itself, with its lock held.

use std::ffi::c_void;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
    Ordering::SeqCst,
};
use std::time::Duration;

use leakline_probing::sampler::thread::Thread;
use leakline_probing::shared::{self, Sharing};

use super::table::{begin_change, end_change, stable};
use super::{ASKED, GATE, Gate, record};
use crate::mallinfo::{Counts, Source};
use crate::unwind::Registers;

const PAGE: usize = 4096;
const _: () = assert!(size_of::<Gate>() == PAGE, "it is replaced as one page");

/// Nobody wants to know; malloc may have been called since the last answer.
const IDLE: u32 = 0;
/// The next call is to answer.
const WANTED: u32 = 1;
/// A thread is at it.
const ANSWERING: u32 = 2;
/// The answer holds: neither malloc nor free was called since.
const HOLDS: u32 = 3;

/// What both sides write.
#[repr(C)]
pub(super) struct Page {
    state: AtomicU32,
    /// Whether another thread called while one was answering.
    is_stale: AtomicU32,
    /// Odd while the answer is being written; counts the answers.
    change: AtomicU64,
    live: AtomicU64,
    free: AtomicU64,
    /// Plus one; 0: malloc does not tell.
    mapped: AtomicU64,
    cost_nanos: AtomicU64,
}

impl Page {
    pub(super) const fn new() -> Self {
        Self {
            state: AtomicU32::new(IDLE),
            is_stale: AtomicU32::new(0),
            change: AtomicU64::new(0),
            live: AtomicU64::new(0),
            free: AtomicU64::new(0),
            mapped: AtomicU64::new(0),
            cost_nanos: AtomicU64::new(0),
        }
    }
}

/// Whom the host's threads ask; found before there is anybody who wants to know.
static SOURCE: OnceLock<Option<Source>> = OnceLock::new();
/// Whether the page is the watcher's, too.
static IS_SHARED: AtomicBool = AtomicBool::new(false);

/// What malloc answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Counts the answers.
    pub(crate) number: u64,
    /// Whether neither malloc nor free was called since.
    pub(crate) holds: bool,
    pub(crate) counts: Counts,
    /// How long it took.
    pub(crate) cost: Duration,
}

/// Makes the page one that processes which are forked from now on have, too. On the only thread there is.
pub(super) fn share_page() {
    SOURCE.get_or_init(|| Source::find().ok());
    if !IS_SHARED.load(Relaxed) && replace_page(Sharing::WithWatcher) {
        shared::anew::is_renewed(std::ptr::from_ref(&GATE) as usize, PAGE);
        IS_SHARED.store(true, Relaxed);
    }
}

/// Makes the page this process's own again.
pub(super) fn take_back_page() {
    if IS_SHARED.load(Relaxed) && replace_page(Sharing::Private) {
        IS_SHARED.store(false, Relaxed);
    }
}

/// Whether a watcher can ask: where pages are larger than 4 KiB, the word has none of its own.
pub(crate) fn host_is_asked_by_page() -> bool {
    IS_SHARED.load(Relaxed)
}

fn replace_page(sharing: Sharing) -> bool {
    /// As in linux/mman.h.
    const MREMAP_MAYMOVE_FIXED: usize = 1 | 2;
    if crate::process::page_bytes() as usize != PAGE {
        return false;
    }
    let gate = std::ptr::from_ref(&GATE).cast::<u8>();
    let Some(page) = shared::map(PAGE, sharing) else { return false };
    for word in 0..PAGE / size_of::<usize>() {
        // SAFETY: inside of the page.
        let from = unsafe { gate.cast::<AtomicUsize>().add(word) };
        // SAFETY: aligned; everything in it are atomic words and what lies between them.
        let value = unsafe { &*from }.load(Relaxed);
        // SAFETY: inside of the new page.
        let to = unsafe { page.cast::<usize>().add(word) };
        // SAFETY: aligned, and nobody else's.
        unsafe { to.write(value) };
    }
    // By a system call: the C library's is hooked by this very library.
    // SAFETY: the page of the static is replaced at once by one with the same content.
    let moved =
        unsafe { libc::syscall(libc::SYS_mremap, page.as_ptr(), PAGE, PAGE, MREMAP_MAYMOVE_FIXED, gate) };
    moved == gate.cast::<c_void>() as libc::c_long
}

/// In the watcher: has the next call of malloc or free answer.
pub(crate) fn ask() {
    let page = &GATE.asking;
    let _ = page.state.compare_exchange(IDLE, WANTED, SeqCst, SeqCst);
    if page.state.load(SeqCst) == WANTED {
        let _ = GATE.simple_below.compare_exchange(usize::MAX, ASKED, SeqCst, SeqCst);
    }
}

/// In the host, when it begins and before it ends, and on a lane's thread: answers now, unless malloc was slow to answer before. The thread that
/// ends then waits for the watcher, so that the answer holds.
pub fn answer_now() {
    /// With a million free blocks an answer takes some 200 ms.
    const MOST: Duration = Duration::from_millis(100);
    let page = &GATE.asking;
    let is_slow = Duration::from_nanos(page.cost_nanos.load(Relaxed)) > MOST;
    if !is_slow && !super::rests() && IS_SHARED.load(Relaxed) {
        ask();
        if page.state.load(SeqCst) == WANTED {
            // A lane's thread is inside for good, and has nothing to do with malloc right now.
            let _inside = Thread::current().enter();
            answer(page, Registers::here());
        }
    }
}

/// In the watcher: the last answer.
pub(crate) fn ready() -> Option<Answer> {
    let page = &GATE.asking;
    let answer = stable(&page.change, || Answer {
        number: page.change.load(Relaxed) / 2,
        holds: page.state.load(Acquire) == HOLDS,
        counts: Counts {
            live: page.live.load(Relaxed),
            free: page.free.load(Relaxed),
            mapped: page.mapped.load(Relaxed).checked_sub(1),
        },
        cost: Duration::from_nanos(page.cost_nanos.load(Relaxed)),
    });
    answer.filter(|answer| answer.number > 0)
}

/// Whether a call of malloc or free is to be noticed.
#[inline(always)]
pub(super) fn is_wanted() -> bool {
    GATE.simple_below.load(Relaxed) == ASKED
}

/// A call of malloc or free was made, by a thread whose registers are `from`.
#[cold]
#[inline(never)]
pub(super) fn noticed(from: Registers) {
    let page = &GATE.asking;
    match page.state.load(Acquire) {
        WANTED => {
            if let Some(_inside) = Thread::current().enter() {
                answer(page, from);
            }
        }
        ANSWERING => page.is_stale.store(1, Relaxed),
        HOLDS => {
            let _ = page.state.compare_exchange(HOLDS, IDLE, SeqCst, SeqCst);
            done();
        }
        _ => done(),
    }
}

fn done() {
    let _ = GATE.simple_below.compare_exchange(ASKED, usize::MAX, SeqCst, SeqCst);
}

fn answer(page: &Page, from: Registers) {
    let Some(source) = SOURCE.get().copied().flatten() else { return done() };
    if record::is_busy() || record::is_in_handler(from) {
        // The next call, then.
        return;
    }
    if page.state.compare_exchange(WANTED, ANSWERING, SeqCst, SeqCst).is_err() {
        return;
    }
    page.is_stale.store(0, Relaxed);
    record::guarded((), || {
        let before = nanos();
        let Counts { live, free, mapped } = source.ask();
        let cost = nanos().saturating_sub(before);
        begin_change(&page.change);
        page.live.store(live, Relaxed);
        page.free.store(free, Relaxed);
        page.mapped.store(mapped.map_or(0, |bytes| bytes.saturating_add(1)), Relaxed);
        page.cost_nanos.store(cost, Relaxed);
        end_change(&page.change);
    });
    let is_stale = page.is_stale.load(Relaxed) != 0;
    page.state.store(if is_stale { IDLE } else { HOLDS }, Release);
    if is_stale {
        done();
    }
}

/// Without a system call, where the C library has the kernel's page of clocks.
fn nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is ours to write.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}
