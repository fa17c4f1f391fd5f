//! The exact window: for a bounded time, every allocation is recorded, as tracemalloc does it.
//! Closes itself when its time is over, when it holds too much, or when it takes too large a share of a core; what was
//! recorded until then stays to be read.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use leakline_probing::sampler::recorder::{Bounds, Recorded};

use leakline_python::kept::paths::{Codes, Path};

use super::{DOES, RECORDING, TABLES, does};

/// What a window is opened with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) frames: usize,
    pub(crate) max_traces: usize,
    pub(crate) max_paths: usize,
    pub(crate) max_path_bytes: usize,
    /// Zero: until it is closed.
    pub(crate) duration: Duration,
    /// Most percent of a core that recording may take, on average since the opening; 0: any.
    pub(crate) max_percent: u32,
    /// Whether one that is open is left as it is.
    pub(crate) go_on: bool,
}

/// Why no more is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Closed {
    Time = 1,
    Traces = 2,
    Share = 3,
    Asked = 4,
    /// The hook was taken away, and frees went by unseen.
    Unhooked = 5,
}

/// What is known of the window that is open, or was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct State {
    pub(crate) closed: Option<Closed>,
    /// Allocations that were recorded.
    pub(crate) recorded: u64,
    /// What that took, estimated from one in 256.
    pub(crate) took: Duration,
    /// Since it was opened, or as long as it was open.
    pub(crate) lasted: Duration,
}

const TIMED: u64 = 256;
/// Before that, a share of a core says nothing.
const FIRST_JUDGED: u64 = 500_000_000;

static OPEN: AtomicU8 = AtomicU8::new(0);
static CLOSED: AtomicU8 = AtomicU8::new(0);
static FRAMES: AtomicUsize = AtomicUsize::new(0);
static OPENED_AT: AtomicU64 = AtomicU64::new(0);
static CLOSED_AT: AtomicU64 = AtomicU64::new(0);
static LASTS: AtomicU64 = AtomicU64::new(0);
static MAX_PERCENT: AtomicU32 = AtomicU32::new(0);
static RECORDED: AtomicU64 = AtomicU64::new(0);
static TOOK: AtomicU64 = AtomicU64::new(0);

/// Opens a window; one that is open already is begun anew. The hook must have been set.
pub(crate) fn open(window: Window) {
    if window.go_on && DOES.load(SeqCst) & RECORDING != 0 {
        return;
    }
    does(DOES.load(SeqCst) & !RECORDING);
    let bounds = Bounds { mean: 0, max_live: window.max_traces, max_stacks: window.max_paths.max(2) };
    let codes = Codes::within(window.max_path_bytes);
    TABLES.with(|tables| tables.exact.start(bounds, codes, Path::shared()));
    FRAMES.store(window.frames.clamp(1, super::record::MAX_FRAMES), Relaxed);
    LASTS.store(window.duration.as_nanos() as u64, Relaxed);
    MAX_PERCENT.store(window.max_percent, Relaxed);
    OPENED_AT.store(now(), Relaxed);
    for counter in [&CLOSED_AT, &RECORDED, &TOOK] {
        counter.store(0, Relaxed);
    }
    CLOSED.store(0, Relaxed);
    OPEN.store(1, Relaxed);
    does(DOES.load(SeqCst) | RECORDING);
}

/// Closes it, and forgets what was recorded.
pub(crate) fn close() {
    does(DOES.load(SeqCst) & !RECORDING);
    forget();
}

/// Forgets what was recorded.
pub(super) fn forget() {
    if OPEN.swap(0, Relaxed) != 0 {
        TABLES.with(|tables| tables.exact.stop(Codes::new()));
    }
}

/// The window that is open, or that closed itself and was not read yet.
pub(crate) fn window() -> Option<State> {
    if OPEN.load(Relaxed) == 0 {
        return None;
    }
    let closed = match CLOSED.load(Relaxed) {
        0 => None,
        1 => Some(Closed::Time),
        2 => Some(Closed::Traces),
        3 => Some(Closed::Share),
        4 => Some(Closed::Asked),
        _ => Some(Closed::Unhooked),
    };
    let end = if closed.is_some() { CLOSED_AT.load(Relaxed) } else { now() };
    let lasted = end.saturating_sub(OPENED_AT.load(Relaxed));
    if closed.is_none() && is_over(lasted) {
        stop(Closed::Time);
        return window();
    }
    Some(State {
        closed,
        recorded: RECORDED.load(Relaxed),
        took: Duration::from_nanos(TOOK.load(Relaxed)),
        lasted: Duration::from_nanos(lasted),
    })
}

/// Records no more.
pub(super) fn stop(why: Closed) {
    does(DOES.load(SeqCst) & !RECORDING);
    if CLOSED.compare_exchange(0, why as u8, SeqCst, SeqCst).is_ok() {
        CLOSED_AT.store(now(), Relaxed);
    }
}

/// Frames that are kept.
#[inline(always)]
pub(super) fn frames() -> usize {
    FRAMES.load(Relaxed)
}

/// Begins to record one allocation: when it began, if it is one of those that are timed.
///
/// Counted without a locked instruction: nearly all come from threads with the GIL, and a lost count changes nothing.
#[inline(always)]
pub(super) fn begin() -> Option<u64> {
    let recorded = RECORDED.load(Relaxed).wrapping_add(1);
    RECORDED.store(recorded, Relaxed);
    recorded.is_multiple_of(TIMED).then(now)
}

/// It is recorded, or could not be.
#[inline(always)]
pub(super) fn end(begun: Option<u64>, recorded: Recorded) {
    if recorded == Recorded::Full {
        stop(Closed::Traces);
    }
    if let Some(begun) = begun {
        judge(begun);
    }
}

#[cold]
fn judge(begun: u64) {
    let now = now();
    let took = TOOK.load(Relaxed).saturating_add(now.saturating_sub(begun).saturating_mul(TIMED));
    TOOK.store(took, Relaxed);
    let lasted = now.saturating_sub(OPENED_AT.load(Relaxed));
    let percent = u64::from(MAX_PERCENT.load(Relaxed));
    if is_over(lasted) {
        stop(Closed::Time);
    } else if percent > 0
        && lasted > FIRST_JUDGED
        && took.saturating_mul(100) > lasted.saturating_mul(percent)
    {
        stop(Closed::Share);
    }
}

fn is_over(lasted: u64) -> bool {
    let lasts = LASTS.load(Relaxed);
    lasts > 0 && lasted >= lasts
}

fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is ours to write.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}
