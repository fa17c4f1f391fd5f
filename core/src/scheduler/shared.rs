//! What the scheduler's thread and the host's threads both see. Locks are held for a few instructions only.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::own::Ending;
use crate::model::{Cause, GaugeKind, Snapshot};
use crate::verdict::Verdict;

/// Names of gauges whose peaks are kept. leakline's own are some forty; a probe that makes up names without end
/// must not fill the host's memory.
const MAX_PEAKS: usize = 1024;

/// A host's thread that waits for a snapshot.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) cause: Cause,
    /// When the waiting thread gives up.
    pub(super) until: Instant,
    pub(super) reply: SyncSender<Arc<Snapshot>>,
}

#[derive(Debug)]
pub(super) struct Shared {
    seen: Mutex<Seen>,
    stopping: AtomicBool,
    /// A probe that had attached was stuck, and so was not detached.
    undetached: AtomicBool,
    ended: AtomicBool,
    /// Why the agent ended by itself.
    ending: Mutex<Option<Ending>>,
    /// Until when the tick in hand may take, by boot time, because the host is about to end.
    hurry: AtomicU64,
    /// How long probes may take to detach.
    detach_until: Mutex<Option<Instant>>,
    /// Wakes the scheduler; it is the only one that waits here.
    pub(super) wake: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    latest: Option<Arc<Snapshot>>,
    baseline: Option<Arc<Snapshot>>,
    last: Option<Arc<Snapshot>>,
    verdicts: Option<Arc<[Verdict]>>,
    peaks: HashMap<String, f64>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            seen: Mutex::default(),
            stopping: AtomicBool::new(false),
            undetached: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            ending: Mutex::new(None),
            hurry: AtomicU64::new(u64::MAX),
            detach_until: Mutex::new(None),
            wake: Notify::new(),
        }
    }

    pub(super) fn publish(&self, snapshot: &Arc<Snapshot>, verdicts: Arc<[Verdict]>) {
        let mut seen = lock(&self.seen);
        for gauge in snapshot.readings.iter().flat_map(|reading| &reading.gauges) {
            if gauge.kind != GaugeKind::Level || gauge.value.is_nan() {
                continue;
            }
            if let Some(peak) = seen.peaks.get_mut(gauge.name.as_ref()) {
                *peak = peak.max(gauge.value);
            } else if seen.peaks.len() < MAX_PEAKS {
                seen.peaks.insert(gauge.name.to_string(), gauge.value);
            }
        }
        match snapshot.tick.cause {
            Cause::Baseline => seen.baseline = Some(Arc::clone(snapshot)),
            Cause::Final => seen.last = Some(Arc::clone(snapshot)),
            Cause::Tick | Cause::Requested => {}
        }
        seen.latest = Some(Arc::clone(snapshot));
        seen.verdicts = Some(verdicts);
    }

    pub(super) fn latest(&self) -> Option<Arc<Snapshot>> {
        lock(&self.seen).latest.clone()
    }

    pub(super) fn baseline(&self) -> Option<Arc<Snapshot>> {
        lock(&self.seen).baseline.clone()
    }

    /// The snapshot that was taken because the host ends.
    pub(super) fn last(&self) -> Option<Arc<Snapshot>> {
        lock(&self.seen).last.clone()
    }

    pub(super) fn verdicts(&self) -> Arc<[Verdict]> {
        lock(&self.seen).verdicts.clone().unwrap_or_default()
    }

    pub(super) fn peaks(&self) -> HashMap<String, f64> {
        lock(&self.seen).peaks.clone()
    }

    /// Lets the tick in hand go out by `boot_nanos`, whoever is missing then.
    pub(super) fn hurry(&self, boot_nanos: u64) {
        self.hurry.fetch_min(boot_nanos, Ordering::AcqRel);
        self.wake.notify_one();
    }

    pub(super) fn no_hurry(&self) {
        self.hurry.store(u64::MAX, Ordering::Release);
    }

    /// Until when a tick for `cause` may take: a snapshot for the host's end is in no hurry but its own.
    pub(super) fn limit(&self, cause: Cause, deadline: u64) -> u64 {
        match cause {
            _ if self.stopping() => 0,
            Cause::Final => deadline,
            Cause::Baseline | Cause::Tick | Cause::Requested => {
                deadline.min(self.hurry.load(Ordering::Acquire))
            }
        }
    }

    /// Ends the scheduler; `patience` is how long probes may take to detach.
    pub(super) fn stop(&self, patience: Duration) {
        let now = Instant::now();
        lock(&self.detach_until).get_or_insert(now.checked_add(patience).unwrap_or(now));
        self.stopping.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    pub(super) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(super) fn detach_until(&self) -> Instant {
        lock(&self.detach_until).unwrap_or_else(Instant::now)
    }

    pub(super) fn left_undetached(&self) {
        self.undetached.store(true, Ordering::Release);
    }

    pub(super) fn undetached(&self) -> bool {
        self.undetached.load(Ordering::Acquire)
    }

    /// The scheduler has ended, however it came.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(super) fn end_by_itself(&self, ending: Ending) {
        lock(&self.ending).get_or_insert(ending);
    }

    pub(super) fn ending(&self) -> Option<Ending> {
        *lock(&self.ending)
    }

    pub(super) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire) || self.stopping()
    }
}

/// Nothing is half done under these locks, so a poisoned one is as good as another.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
