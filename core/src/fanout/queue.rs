//! The bounded queue in front of one sink: takes records from any thread, drops the oldest when full, counts what it drops.
//! Never waits on the sink's behalf, and never keeps a loss to itself.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::model::{Loss, Snapshot};
use crate::sink::{Record, SinkStats};
use crate::verdict::Verdict;

/// How much a queue holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueLimits {
    pub(crate) snapshots: usize,
    pub(crate) bytes: u64,
    pub(crate) marks: usize,
}

/// What the sink's lane does next.
#[derive(Debug)]
pub(super) enum Work {
    /// Deliver this, then call `settle`.
    Record(Record),
    /// Tell the sink's numbers.
    Stats,
    /// Everything is delivered and nothing more will come.
    Close,
}

#[derive(Debug)]
pub(super) struct SinkQueue {
    name: String,
    limits: QueueLimits,
    state: Mutex<State>,
    /// Wakes the lane; it is the only one that waits here.
    work: Notify,
    /// Wakes threads that flush.
    settled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    snapshots: usize,
    marks: usize,
    bytes: u64,
    pushed: u64,
    in_flight: Option<InFlight>,
    /// Lost so far, and the part of it that the sink does not know of yet.
    lost: Loss,
    untold: Loss,
    closing: bool,
    ended: bool,
    stats_wanted: bool,
    stats: SinkStats,
    last_error: String,
    cpu: Duration,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    record: Record,
    bytes: u64,
}

#[derive(Debug)]
struct InFlight {
    number: Option<u64>,
    loss: Loss,
}

impl SinkQueue {
    pub(super) fn new(name: &str, limits: QueueLimits) -> Self {
        let stats = SinkStats { sink: name.to_owned().into(), ..SinkStats::default() };
        Self {
            name: name.to_owned(),
            limits,
            state: Mutex::new(State { stats, ..State::default() }),
            work: Notify::new(),
            settled: Condvar::new(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Queues `record`, dropping older ones to make room. The newest snapshot is kept whatever its size.
    pub(super) fn push(&self, record: Record, bytes: u64) {
        let mut state = self.lock();
        if state.ended || state.closing {
            state.lose(Loss { snapshots: u64::from(is_snapshot(&record)), bytes });
            return;
        }
        if is_snapshot(&record) {
            while state.snapshots > 0
                && (state.snapshots >= self.limits.snapshots || state.bytes + bytes > self.limits.bytes)
            {
                state.drop_oldest(is_snapshot);
            }
            state.snapshots += 1;
        } else {
            while state.marks > 0 && state.marks >= self.limits.marks {
                state.drop_oldest(|record| !is_snapshot(record));
            }
            state.marks += 1;
        }
        state.bytes += bytes;
        let number = state.pushed;
        state.pushed += 1;
        state.entries.push_back(Entry { number, record, bytes });
        drop(state);
        self.work.notify_one();
    }

    /// Drops all snapshots that wait but the newest.
    pub(super) fn shed(&self) {
        let mut state = self.lock();
        while state.snapshots > 1 {
            state.drop_oldest(is_snapshot);
        }
        drop(state);
        self.settled.notify_all();
    }

    /// Asks the lane for the sink's own numbers, for the next `stats`.
    pub(super) fn want_stats(&self) {
        let mut state = self.lock();
        if !state.ended {
            state.stats_wanted = true;
            drop(state);
            self.work.notify_one();
        }
    }

    /// What the sink last told, with the queue's losses and bytes added.
    pub(super) fn stats(&self) -> SinkStats {
        let state = self.lock();
        let mut stats = state.stats.clone();
        stats.sink = self.name.clone().into();
        stats.held_bytes = stats.held_bytes.saturating_add(state.bytes);
        stats.lost.snapshots = stats.lost.snapshots.saturating_add(state.lost.snapshots);
        stats.lost.bytes = stats.lost.bytes.saturating_add(state.lost.bytes);
        if !state.last_error.is_empty() {
            stats.last_error.clone_from(&state.last_error);
        }
        stats
    }

    /// CPU time of the lane's thread, as of its last call.
    pub(super) fn cpu(&self) -> Duration {
        self.lock().cpu
    }

    /// Records that were neither delivered nor lost.
    pub(super) fn waiting(&self) -> usize {
        let state = self.lock();
        state.entries.len() + usize::from(state.in_flight.is_some())
    }

    /// Takes nothing more; the lane delivers what is here, closes its sink and ends.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.work.notify_one();
    }

    /// Waits until everything that was pushed before this call is delivered or lost; `false` at `until`.
    pub(super) fn flush(&self, until: Instant) -> bool {
        let mut state = self.lock();
        let pushed = state.pushed;
        loop {
            let flying = state.in_flight.as_ref().and_then(|record| record.number);
            let oldest = flying.or_else(|| state.entries.front().map(|entry| entry.number));
            if state.ended || oldest.is_none_or(|oldest| oldest >= pushed) {
                return true;
            }
            let Some(left) = until.checked_duration_since(Instant::now()) else { return false };
            state = match self.settled.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// The lane's next work. Losses come first: they are older than all that is still here.
    pub(super) async fn next(&self) -> Work {
        loop {
            if let Some(work) = self.lock().next() {
                return work;
            }
            self.work.notified().await;
        }
    }

    /// The record from `next` was delivered, or not.
    pub(super) fn settle(&self, result: Result<(), String>) {
        let mut state = self.lock();
        let flight = state.in_flight.take();
        match result {
            Ok(()) => state.last_error.clear(),
            Err(error) => {
                state.last_error = error;
                match flight {
                    // Word of a loss that did not get through: told again, but lost only once.
                    Some(InFlight { number: None, loss }) => add(&mut state.untold, loss),
                    Some(InFlight { loss, .. }) => state.lose(loss),
                    None => {}
                }
            }
        }
        drop(state);
        self.settled.notify_all();
    }

    /// A call besides `deliver` went well, or not.
    pub(super) fn report(&self, error: String) {
        self.lock().last_error = error;
    }

    /// Takes down what the sink tells of itself and what its lane has cost.
    pub(super) fn refresh(&self, stats: Option<SinkStats>, cpu: Option<Duration>) {
        let mut state = self.lock();
        state.stats_wanted = false;
        state.stats = stats.unwrap_or_else(|| state.stats.clone());
        state.cpu = cpu.unwrap_or(state.cpu);
    }

    /// Waits for `time`, but not once the queue is closing.
    pub(super) async fn pause(&self, time: Duration) {
        let wait = async {
            while !self.closing() {
                self.work.notified().await;
            }
        };
        let _ = tokio::time::timeout(time, wait).await;
    }

    pub(super) fn closing(&self) -> bool {
        self.lock().closing
    }

    /// The sink is not called again: what is here and what still comes counts as lost.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        if let Some(InFlight { number: Some(_), loss }) = state.in_flight.take() {
            state.lose(loss);
        }
        while let Some(entry) = state.entries.pop_front() {
            state.lose(Loss { snapshots: u64::from(is_snapshot(&entry.record)), bytes: entry.bytes });
        }
        (state.snapshots, state.marks, state.bytes) = (0, 0, 0);
        drop(state);
        self.settled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&mut self) -> Option<Work> {
        if self.stats_wanted {
            return Some(Work::Stats);
        }
        // A failed word of a loss is not tried again at the end: it would fail for ever.
        if self.untold != Loss::default() && (self.last_error.is_empty() || !self.closing) {
            let loss = std::mem::take(&mut self.untold);
            self.in_flight = Some(InFlight { number: None, loss });
            return Some(Work::Record(Record::Lost(loss)));
        }
        if let Some(entry) = self.entries.pop_front() {
            let loss = self.forget(&entry);
            self.in_flight = Some(InFlight { number: Some(entry.number), loss });
            return Some(Work::Record(entry.record));
        }
        self.closing.then_some(Work::Close)
    }

    fn drop_oldest(&mut self, kind: fn(&Record) -> bool) {
        let Some(index) = self.entries.iter().position(|entry| kind(&entry.record)) else { return };
        if let Some(entry) = self.entries.remove(index) {
            let loss = self.forget(&entry);
            self.lose(loss);
        }
    }

    /// Takes `entry` out of the sums, and says what is lost with it.
    fn forget(&mut self, entry: &Entry) -> Loss {
        let snapshot = is_snapshot(&entry.record);
        if snapshot {
            self.snapshots -= 1;
        } else {
            self.marks -= 1;
        }
        self.bytes -= entry.bytes;
        Loss { snapshots: u64::from(snapshot), bytes: entry.bytes }
    }

    fn lose(&mut self, loss: Loss) {
        add(&mut self.lost, loss);
        add(&mut self.untold, loss);
    }
}

fn add(sum: &mut Loss, loss: Loss) {
    sum.snapshots = sum.snapshots.saturating_add(loss.snapshots);
    sum.bytes = sum.bytes.saturating_add(loss.bytes);
}

fn is_snapshot(record: &Record) -> bool {
    matches!(record, Record::Snapshot { .. })
}

/// What a record keeps alive while it waits, roughly: call paths are shared and counted nowhere.
pub(super) fn estimated_bytes(record: &Record) -> u64 {
    let bytes = match record {
        Record::Snapshot { snapshot, verdicts } => {
            size_of::<Snapshot>() + reading_bytes(snapshot) + verdicts.len() * size_of::<Verdict>()
        }
        Record::Mark(mark) => size_of_val(mark) + mark.name.len(),
        Record::Lost(loss) => size_of_val(loss),
    };
    bytes as u64
}

fn reading_bytes(snapshot: &Snapshot) -> usize {
    snapshot
        .readings
        .iter()
        .map(|reading| {
            size_of_val(reading)
                + size_of_val(reading.gauges.as_slice())
                + reading.notes.iter().map(|note| size_of_val(note) + note.len()).sum::<usize>()
                + reading.profiles.iter().map(|profile| size_of_val(profile.sites())).sum::<usize>()
                + reading.holders.iter().map(|held| size_of_val(held) + held.holder.len()).sum::<usize>()
                + reading
                    .cycles
                    .iter()
                    .map(|cycle| size_of_val(cycle) + cycle.python.len() + cycle.java.len())
                    .sum::<usize>()
        })
        .sum()
}
