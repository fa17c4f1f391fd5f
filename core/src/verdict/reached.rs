//! What of the Java heap is live where no collection has looked at its old generation: there, garbage that was promoted grows
//! just as a leak does, and so does what a collector leaves unused between what it promotes. The probe counts instead what
//! something leads to. As long as it does, that is what the heap is judged by.

use super::Kind;
use super::judge::{Bar, Judged, judge, span};
use super::series::Series;
use super::slope::MIN_POINTS;
use crate::model::{Snapshot, names};

/// Nothing is said of a heap that grows until there are figures, for so many readings since the first; and with so many, if they
/// do not tell, they never will.
const MANY_FIGURES: u32 = 16;
/// If what is live may grow by this part of what the heap does, a few figures do not tell that it is garbage.
const GARBAGE: f64 = 0.25;

/// The live part of the Java heap.
#[derive(Debug)]
pub(super) struct Reached {
    live: Series,
    /// Readings of the JVM since the first figure: it is left out where it would stop the program for too long.
    since: u32,
}

impl Reached {
    pub(super) fn new(most: usize) -> Self {
        Self { live: Series::new(most), since: 0 }
    }

    pub(super) fn push(&mut self, seconds: f64, snapshot: &Snapshot) {
        if self.live.seen() > 0 && snapshot.gauge(names::JVM_HEAP_USED).is_some() {
            self.since = self.since.saturating_add(1);
        }
        let Some(live) = snapshot.gauge(names::JVM_HEAP_LIVE) else { return };
        // What is not in the heap is counted, and live as far as anybody can tell.
        let beside = [names::JVM_DIRECT, names::JVM_METASPACE_COMMITTED]
            .map(|name| snapshot.gauge(name).unwrap_or(0.0));
        self.live.push(seconds, live + beside.iter().sum::<f64>());
    }

    /// What a heap is of which `heap` tells what young collections leave. `None`: nothing better is known. `usual` is the
    /// standard deviation that its noise usually has, bytes.
    pub(super) fn judge(&self, heap: &Judged, floor: f64, usual: f64) -> Option<Judged> {
        let live = self.live.points();
        let is_waiting = heap.kind.leaks() && !live.is_empty() && self.since < MANY_FIGURES;
        if live.len() < MIN_POINTS as usize {
            return is_waiting.then_some(Judged::UNSURE);
        }
        let found = judge(&live, Bar::at(self.live.seen().saturating_add(1), floor, usual));
        if found.kind.leaks() {
            return Some(found);
        }
        let high = found.rate.map_or(f64::INFINITY, |rate| rate.high);
        if heap.kind.leaks() {
            if is_waiting && high > GARBAGE * heap.rate.map_or(0.0, |rate| rate.bytes_per_second) {
                return Some(Judged::UNSURE);
            }
            // What grows still is garbage, and a collection will take it.
            let kind = if found.kind == Kind::Quiet { Kind::Sawtooth } else { found.kind };
            return Some(Judged { kind, ..found });
        }
        // Before the first collection. With nothing to collect, there may never be one.
        let is_still = found.kind != Kind::Quiet || high * span(&live) < floor;
        (*heap == Judged::UNSURE && is_still).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rate;
    use super::*;
    use crate::model::{Gauge, testing::snapshot_of};

    const MIB: f64 = 1_048_576.0;

    /// Young collections leave 10 MiB more of it each minute.
    fn growing() -> Judged {
        let rate = Rate { bytes_per_second: MIB / 6.0, low: MIB / 7.0, high: MIB / 5.0 };
        Judged { kind: Kind::SteadyLeak, rate: Some(rate), chance: Some(0.0), lasting: None }
    }

    fn reached(live: impl IntoIterator<Item = Option<u64>>) -> Reached {
        let mut reached = Reached::new(144);
        for (minute, live) in live.into_iter().enumerate() {
            let mut gauges = vec![Gauge::bytes(names::JVM_HEAP_USED, 1 << 20)];
            gauges.extend(live.map(|kib| Gauge::bytes(names::JVM_HEAP_LIVE, kib << 10)));
            reached.push(60.0 * minute as f64, &snapshot_of(minute as u64, gauges));
        }
        reached
    }

    /// KiB that are live at one reading after the other: the kind, and MiB a minute, of a heap that grows, and of one that was never
    /// collected.
    fn check(live: &[u64], grows: Option<(Kind, i64)>, uncollected: Option<(Kind, i64)>) {
        let reached = reached(live.iter().map(|kib| Some(*kib)));
        for (heap, expected) in [(growing(), grows), (Judged::UNSURE, uncollected)] {
            let told = reached.judge(&heap, MIB, MIB / 100.0).map(|told| {
                let rate = told.rate.map_or(0.0, |rate| rate.bytes_per_second);
                (told.kind, (rate * 60.0 / MIB).round() as i64)
            });
            assert_eq!(told, expected, "{live:?}");
        }
    }

    #[test]
    fn a_heap_leaks_if_what_is_live_grows() {
        let rising: Vec<u64> = (0..12).map(|minute| 10_240 * minute + minute * 7 % 5).collect();
        check(&[], None, None);
        check(&rising[..4], Some((Kind::NotEnoughData, 0)), None);
        check(&rising, Some((Kind::SteadyLeak, 10)), Some((Kind::SteadyLeak, 10)));
        // Of what young collections leave, a third is live.
        let third: Vec<u64> = rising.iter().map(|kib| kib / 3).collect();
        check(&third, Some((Kind::SteadyLeak, 3)), Some((Kind::SteadyLeak, 3)));
    }

    #[test]
    fn what_grows_beside_what_is_live_is_garbage() {
        let still = [9000, 9010, 9003, 9007, 9001, 9009, 9002, 9008, 9004, 9006];
        check(&still, Some((Kind::Sawtooth, 0)), Some((Kind::Quiet, 0)));
        let filled: Vec<u64> = (0..24).map(|minute: u64| 10_240 * minute.min(9) + minute * 7 % 5).collect();
        check(&filled, Some((Kind::Plateau, 0)), Some((Kind::Plateau, 0)));
    }

    #[test]
    fn figures_that_do_not_come_any_more_are_not_waited_for() {
        for readings in 2..24 {
            let reached = reached((0..readings).map(|at| (at < 2).then_some(1024 * at)));
            let told = reached.judge(&growing(), MIB, MIB).map(|told| told.kind);
            let is_waiting = readings <= u64::from(MANY_FIGURES);
            assert_eq!(told, is_waiting.then_some(Kind::NotEnoughData), "{readings}");
        }
    }
}
