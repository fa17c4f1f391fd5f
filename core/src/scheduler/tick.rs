//! One tick: asks every lane, waits for the answers until the deadline, and makes a snapshot of what is there.

use std::sync::Arc;
use std::time::Duration;

use super::alignment::{jump_nanos, nanos};
use super::engine::Engine;
use super::slot::Slot;
use crate::clock::{Clock, Timestamp};
use crate::lane::{Answer, Gate, Gated};
use crate::model::{Cause, OwnCost, Reading, ReadingStatus, SkewNanos, Snapshot, Tick};
use crate::sink::Record;
use crate::verdict::Verdict;

impl Engine {
    /// Takes a snapshot that belongs to `at` and is begun at `now`; lanes have `allowed` for their answers.
    pub(super) async fn take(
        &mut self,
        cause: Cause,
        at: Timestamp,
        now: Timestamp,
        allowed: Duration,
    ) -> Arc<Snapshot> {
        let tick = Tick { cause, at, deadline_boot_nanos: now.boot_nanos.saturating_add(nanos(allowed)) };
        self.read_gauges(tick, allowed).await;
        // Asked here, where the sinks' lanes cannot disturb the gauges any more, for the snapshot's own cost.
        self.fanout.want_stats();
        self.read_details(tick).await;

        let snapshot = Arc::new(self.snapshot(tick, now));
        let verdicts: Arc<[Verdict]> = (self.judge)(&snapshot).into();
        let closer = self.closer.as_mut().and_then(|closer| closer.push(&snapshot, &verdicts));
        if let Some(request) = closer {
            self.note_request(request);
        }
        self.shared.publish(&snapshot, Arc::clone(&verdicts));
        self.fanout.push(&Record::Snapshot { snapshot: Arc::clone(&snapshot), verdicts });
        snapshot
    }

    /// All gauges close together: first those that may have to wait for a lock, then the rest, who are woken meanwhile.
    async fn read_gauges(&mut self, tick: Tick, allowed: Duration) {
        let now = self.clock.now().boot_nanos;
        let (first, others) = (Arc::new(Gate::default()), Arc::new(Gate::default()));
        let wait = self.options.first_reader_wait.min(allowed);
        // All are counted in before any is asked.
        let mut gates: Vec<Gated> = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            gates.push(match slot.identity.reads_first {
                true => Gated::First { others: Arc::clone(&others), done: first.opener() },
                false => Gated::Waits { ready: others.opener(), first: Arc::clone(&first), longest: wait },
            });
        }
        // What is not asked drops its part and holds up nobody.
        for (slot, gated) in self.slots.iter_mut().zip(gates) {
            slot.ask_gauges(tick, now, gated);
        }
        let wait = wait.saturating_add(self.options.gauges_wait).min(allowed);
        self.answers_until(wait, |slots| !slots.iter().any(Slot::gauges_pending)).await;
    }

    /// Details on all lanes at once. A lane whose gauges come only now is asked for its details when they do.
    async fn read_details(&mut self, tick: Tick) {
        let now = self.clock.now().boot_nanos;
        self.slots.iter_mut().for_each(|slot| slot.ask_details(tick, now));
        while self.slots.iter().any(Slot::pending) {
            let limit = self.shared.limit(tick.cause, tick.deadline_boot_nanos);
            if self.clock.now().boot_nanos >= limit {
                break;
            }
            let deadline = until_boot(Arc::clone(&self.clock), limit);
            tokio::pin!(deadline);
            loop {
                let answer = tokio::select! {
                    biased;
                    Some(answer) = self.answers.recv() => answer,
                    // The limit has changed, or it is here.
                    () = self.shared.wake.notified() => break,
                    () = &mut deadline => break,
                };
                let lane = answer.lane;
                self.answered(answer);
                let now = self.clock.now().boot_nanos;
                if let Some(slot) = self.slots.get_mut(lane) {
                    slot.ask_details(tick, now);
                }
                if !self.slots.iter().any(Slot::pending) {
                    break;
                }
            }
        }
    }

    /// Takes answers until `done`, for at most `wait`; not longer once the agent is stopped.
    pub(super) async fn answers_until(&mut self, wait: Duration, done: impl Fn(&[Slot]) -> bool) {
        let timeout = tokio::time::sleep(wait);
        tokio::pin!(timeout);
        while !done(&self.slots) && !self.shared.stopping() {
            tokio::select! {
                biased;
                Some(answer) = self.answers.recv() => self.answered(answer),
                () = self.shared.wake.notified() => {}
                () = &mut timeout => return,
            }
        }
    }

    pub(super) fn answered(&mut self, answer: Answer) {
        let now = self.clock.now().boot_nanos;
        if let Some(slot) = self.slots.get_mut(answer.lane) {
            slot.answered(answer, now);
        }
    }

    fn snapshot(&mut self, tick: Tick, begun: Timestamp) -> Snapshot {
        let now = self.clock.now();
        let slots = self.slots.iter_mut().filter(|slot| !slot.is_new());
        let readings: Vec<Reading> = slots.map(|slot| slot.reading(tick, now.boot_nanos)).collect();
        let number = self.number;
        self.number += 1;
        if tick.cause == Cause::Baseline {
            self.baseline = number;
        }
        let before = self.last_begun.replace(begun).unwrap_or(begun);
        Snapshot {
            number,
            tick,
            interval: self.interval,
            baseline: self.baseline,
            missed_ticks: self.alignment.take_missed(),
            clock_jump_nanos: jump_nanos(before, begun),
            skew_nanos: skew(&readings),
            readings,
            own: self.own_cost(now),
        }
    }

    fn own_cost(&self, now: Timestamp) -> OwnCost {
        let lanes: Duration = self.slots.iter().map(Slot::cpu_total).sum();
        OwnCost {
            cpu: lanes + self.fanout.cpu() + self.clock.thread_cpu().unwrap_or_default(),
            wall: Duration::from_nanos(now.boot_nanos.saturating_sub(self.started.boot_nanos)),
            held_bytes: (self.own.held_bytes)(),
            longest_stall: self.slots.iter().map(Slot::longest_stall).max().unwrap_or_default(),
            sinks: self.fanout.stats(),
        }
    }
}

/// Between the first and the last gauges that were read, if they are of two layers or more.
fn skew(readings: &[Reading]) -> Option<SkewNanos> {
    let read =
        || readings.iter().filter(|reading| reading.status == ReadingStatus::Ok && reading.taken.is_some());
    let layer = read().next()?.layer;
    if read().all(|reading| reading.layer == layer) {
        return None;
    }
    let instants = || read().filter_map(|reading| reading.taken).map(|taken| taken.boot_nanos);
    Some(instants().max()?.saturating_sub(instants().min()?))
}

/// Waits until `boot_nanos`, by a clock that can only wait for the wall clock, which somebody may set meanwhile.
async fn until_boot(clock: Arc<dyn Clock>, boot_nanos: u64) {
    loop {
        let now = clock.now();
        let left = boot_nanos.saturating_sub(now.boot_nanos);
        if left == 0 {
            return;
        }
        // tokio's timer stands still in suspend, the wall clock jumps: whichever is first, and then look again.
        tokio::select! {
            () = clock.sleep_until(now.unix_nanos.saturating_add(left)) => {}
            () = tokio::time::sleep(Duration::from_nanos(left)) => {}
        }
        tokio::task::yield_now().await;
    }
}
