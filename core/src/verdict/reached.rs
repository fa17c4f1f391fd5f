//! What of the Java heap is live where no collection has looked at its old generation: there, garbage that was promoted grows
//! just as a leak does. The probe follows references instead, to the objects that it has sampled, and so knows of what was
//! allocated since it began how much anything still leads to. Of what was there before, nothing can grow.

use super::judge::{Bar, Judged, judge};
use super::series::Series;
use super::slope::rate;
use super::{Kind, judge::span};
use crate::model::{Snapshot, names};

/// The live part of the Java heap, beside a constant.
#[derive(Debug)]
pub(super) struct Reached {
    series: Series,
    /// Standard error of the newest figure, bytes.
    error: f64,
}

impl Reached {
    pub(super) fn new(most: usize) -> Self {
        Self { series: Series::new(most), error: 0.0 }
    }

    pub(super) fn push(&mut self, seconds: f64, snapshot: &Snapshot) {
        let Some(reached) = snapshot.gauge(names::JVM_REACHED) else { return };
        self.series.push(seconds, reached + snapshot.gauge(names::JVM_DIRECT).unwrap_or(0.0));
        self.error = snapshot.gauge(names::JVM_REACHED_ERROR).unwrap_or(0.0);
    }

    /// What a heap is that was `judged` to leak by what young collections leave: a leak if what is live grows as well. `None`
    /// where nothing is known of that.
    pub(super) fn review(&self, judged: &Judged, floor: f64) -> Option<Judged> {
        let points = self.series.points();
        if points.is_empty() {
            return None;
        }
        let live = judge(&points, Bar::at(self.series.seen(), floor));
        if live.kind == Kind::NotEnoughData {
            return Some(live);
        }
        // Samples that a point shares with the one before err alike: what that adds is not seen beside the line.
        let own =
            rate(&points).map(|rate| rate.with_error(self.error / span(&points).max(f64::MIN_POSITIVE)));
        let heap = judged.rate.filter(|heap| {
            own.is_some_and(|own| (own.low..=own.high).contains(&heap.bytes_per_second)) && live.kind.leaks()
        });
        // The heap's own figures are not estimated from samples: where garbage is no part of them, they are better.
        Some(if heap.is_some() { judged.clone() } else { Judged { rate: own, ..live } })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rate;
    use super::*;
    use crate::model::{Gauge, testing::snapshot_of};

    const MIB: f64 = 1_048_576.0;

    /// A heap that grows by 10 MiB a minute, of which `live` MiB are found to be live at one reading after the other, ± `error`:
    /// the kind, and MiB a minute.
    fn check(live: &[u64], error: u64, expected: Option<(Kind, i64)>) {
        let mut reached = Reached::new(144);
        for (minute, mib) in live.iter().enumerate() {
            let gauges = vec![
                Gauge::bytes(names::JVM_REACHED, mib << 20),
                Gauge::bytes(names::JVM_REACHED_ERROR, error << 20),
            ];
            reached.push(60.0 * minute as f64, &snapshot_of(minute as u64, gauges));
        }
        let rate = Rate { bytes_per_second: MIB / 6.0, low: MIB / 7.0, high: MIB / 5.0 };
        let heap = Judged { kind: Kind::SteadyLeak, rate: Some(rate), chance: Some(0.0), lasting: None };
        let told = reached.review(&heap, MIB).map(|told| {
            let rate = told.rate.map_or(0.0, |rate| rate.bytes_per_second);
            (told.kind, (rate * 60.0 / MIB).round() as i64)
        });
        assert_eq!(told, expected, "{live:?}");
    }

    #[test]
    fn a_heap_leaks_if_what_is_live_grows() {
        check(&[], 0, None);
        check(&[10, 20, 30], 0, Some((Kind::NotEnoughData, 0)));
        check(&[50, 51, 50, 50, 51, 50, 50, 51], 1, Some((Kind::Quiet, 0)));
        check(&[0, 20, 38, 52, 61, 65, 66, 65, 66, 65, 66, 65, 66, 65], 1, Some((Kind::Plateau, 2)));
    }

    #[test]
    fn the_rate_is_that_of_the_heap_unless_garbage_is_a_part_of_it() {
        check(&[0, 11, 18, 32, 40, 51, 58, 71, 80, 92], 3, Some((Kind::SteadyLeak, 10)));
        check(&[0, 5, 10, 16, 20, 25, 29, 35, 40, 46], 3, Some((Kind::SteadyLeak, 5)));
    }
}
