//! What of the Java heap is live where no collection has looked at its old generation: there, garbage that was promoted grows
//! just as a leak does. The probe follows references instead, to the objects that it has sampled. So it knows of what was
//! allocated since it began how much something still leads to, and how much nothing does though young collections left it.
//! Both are estimates from samples of the same kind; what counts is their proportion, and a fault of the sampling itself (seen:
//! three times too many samples, HotSpot 17 with a young generation of 2 MiB) does no harm to that.

use super::judge::{Bar, Judged, judge, span};
use super::series::Series;
use super::slope::{Point, rate, slope};
use super::{Kind, Rate};
use crate::model::{Snapshot, names};

/// With fewer figures nothing is said, for so many readings since the first; and with this many, if they do not tell, they never
/// will.
const MIN_FIGURES: usize = 4;
const MANY_FIGURES: u32 = 16;
/// A heap leaks if at least this share of its growth is live for sure, in the later half, too: not so with a cache that filled.
const LIVE: f64 = 0.1;
/// What is less than this share for sure is no leak.
const GARBAGE: f64 = 0.25;
/// For sure: by so many standard errors. There are many looks.
const SURE: f64 = 2.5;

/// The live part of the Java heap, and the garbage that young collections left, each beside a constant.
#[derive(Debug)]
pub(super) struct Reached {
    live: Series,
    garbage: Series,
    /// Readings of the JVM since the first figure: it is left out where it would stop the program for too long.
    since: u32,
    /// Bytes that one sample stands for, as far as the last figure tells; 0: not known.
    sample: f64,
    /// Standard error of the last figure of what is live, bytes.
    error: f64,
}

/// The part of the heap's growth that is live, with its standard error.
#[derive(Debug, Clone, Copy)]
struct Share {
    part: f64,
    error: f64,
}

impl Share {
    fn low(self) -> f64 {
        self.part - SURE * self.error
    }

    fn high(self) -> f64 {
        self.part + SURE * self.error
    }
}

impl Reached {
    pub(super) fn new(most: usize) -> Self {
        Self { live: Series::new(most), garbage: Series::new(most), since: 0, sample: 0.0, error: 0.0 }
    }

    pub(super) fn push(&mut self, seconds: f64, snapshot: &Snapshot) {
        if self.live.seen() > 0 && snapshot.gauge(names::JVM_HEAP_USED).is_some() {
            self.since = self.since.saturating_add(1);
        }
        let Some(reached) = snapshot.gauge(names::JVM_REACHED) else { return };
        // What is not in the heap is counted, and live as far as anybody can tell.
        let beside = [names::JVM_DIRECT, names::JVM_METASPACE_COMMITTED]
            .map(|name| snapshot.gauge(name).unwrap_or(0.0));
        self.live.push(seconds, reached + beside.iter().sum::<f64>());
        self.garbage.push(seconds, snapshot.gauge(names::JVM_PROMOTED_GARBAGE).unwrap_or(0.0));
        if let Some(error) = snapshot.gauge(names::JVM_REACHED_ERROR)
            && reached > 0.0
        {
            self.sample = error * error / reached;
            self.error = error;
        }
    }

    /// What a heap is that was `judged` to leak by what young collections leave: a leak if what is live grows as well. `None`
    /// where nothing is known of that.
    pub(super) fn review(&self, judged: &Judged, floor: f64) -> Option<Judged> {
        let (live, garbage) = (self.live.points(), self.garbage.points());
        if live.is_empty() {
            return None;
        }
        if live.len() < MIN_FIGURES {
            return (self.since < MANY_FIGURES).then_some(Judged::UNSURE);
        }
        let unsure = || (self.live.seen() < MANY_FIGURES).then_some(Judged::UNSURE);
        let (early, late) = live.split_at(live.len() / 2);
        let (early_garbage, late_garbage) = garbage.split_at(live.len() / 2);
        let whole = self.share(&live, &garbage);
        let (early, late) = (self.share(early, early_garbage), self.share(late, late_garbage));
        if whole.low() > LIVE && late.low() > LIVE {
            let rate = judged.rate.map(|rate| self.live_rate(rate, whole, &live));
            return Some(Judged { rate, ..judged.clone() });
        }
        if whole.high() > GARBAGE && late.high() > GARBAGE {
            return unsure();
        }
        // What grows still is garbage, and a collection will take it.
        let kind = if early.low() > LIVE { Kind::Plateau } else { Kind::Sawtooth };
        Some(Judged { kind, ..judge(&live, Bar::at(self.live.seen(), floor, 0.0)) })
    }

    /// The rate of what is live, of a heap that grows by `heap`: by the share that is live; or by what is live itself, where that is
    /// surer, or surely less, as not all garbage is found.
    fn live_rate(&self, heap: Rate, whole: Share, live: &[Point]) -> Rate {
        let by_share = if whole.part < 1.0 { times(heap, whole) } else { heap };
        let error = self.error / span(live).max(f64::MIN_POSITIVE);
        let Some(by_size) = rate(live).map(|rate| rate.with_error(error)) else { return by_share };
        let is_surer = whole.part < 1.0 && error < whole.error * heap.bytes_per_second;
        let is_less = by_size.bytes_per_second + SURE * error < by_share.low;
        if is_surer || is_less { by_size } else { by_share }
    }

    /// Whether what is live stays as it is. With nothing to collect, there may never be a collection to tell by.
    pub(super) fn is_still(&self, floor: f64) -> bool {
        let live = self.live.points();
        live.len() > MIN_FIGURES && rate(&live).is_some_and(|rate| rate.high * span(&live) < floor)
    }

    /// How fast what is live grows.
    pub(super) fn rate(&self) -> Option<Rate> {
        rate(&self.live.points())
    }

    /// How much of what grows is live.
    fn share(&self, live: &[Point], garbage: &[Point]) -> Share {
        let grown = |points: &[Point]| (slope(points).unwrap_or(0.0) * span(points)).max(0.0);
        let (live, garbage) = (grown(live), grown(garbage));
        // In samples; one more, so that a few of one kind only are no proof.
        let samples = if self.sample > 0.0 { 1.0 + (live + garbage) / self.sample } else { 1.0 };
        let part = live / (live + garbage).max(f64::MIN_POSITIVE);
        Share { part, error: ((part * (1.0 - part) + 1.0 / samples) / samples).sqrt() }
    }
}

/// The part of a rate that is live.
fn times(rate: Rate, share: Share) -> Rate {
    let Share { part, error } = share;
    let Rate { bytes_per_second, low, high } = rate;
    let own = Rate { bytes_per_second: bytes_per_second * part, low: low * part, high: high * part };
    own.with_error(error * bytes_per_second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Gauge, testing::snapshot_of};

    const MIB: f64 = 1_048_576.0;

    /// A heap that grows by 10 MiB a minute, of which `live` MiB are found to be live at one reading after the other, and
    /// `garbage` MiB not, with one sample for so many MiB: the kind, and MiB a minute.
    fn check(live: &[u64], garbage: &[u64], sample: u64, expected: Option<(Kind, i64)>) {
        let mut reached = Reached::new(144);
        for (minute, (live, garbage)) in live.iter().zip(garbage).enumerate() {
            let error = ((live * sample) as f64).sqrt() * MIB;
            let gauges = vec![
                Gauge::bytes(names::JVM_REACHED, live << 20),
                Gauge::bytes(names::JVM_PROMOTED_GARBAGE, garbage << 20),
                Gauge::bytes(names::JVM_REACHED_ERROR, error as u64),
            ];
            reached.push(60.0 * minute as f64, &snapshot_of(minute as u64, gauges));
        }
        let rate = Rate { bytes_per_second: MIB / 6.0, low: MIB / 7.0, high: MIB / 5.0 };
        let heap = Judged { kind: Kind::SteadyLeak, rate: Some(rate), chance: Some(0.0), lasting: None };
        let told = reached.review(&heap, MIB).map(|told| {
            let rate = told.rate.map_or(0.0, |rate| rate.bytes_per_second);
            (told.kind, (rate * 60.0 / MIB).round() as i64)
        });
        assert_eq!(told, expected, "{live:?} {garbage:?}");
    }

    #[test]
    fn a_heap_leaks_if_what_is_live_grows() {
        let rising = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110];
        check(&[], &[], 1, None);
        check(&[10, 20, 30], &[0; 3], 1, Some((Kind::NotEnoughData, 0)));
        check(&rising, &[0; 12], 1, Some((Kind::SteadyLeak, 10)));
        check(&[50, 51, 50, 50, 51, 50, 50, 51], &rising, 1, Some((Kind::Sawtooth, 0)));
        let filled = [0, 10, 20, 30, 40, 50, 51, 50, 51, 50, 51, 50];
        check(&filled, &[0, 0, 0, 0, 0, 0, 10, 20, 30, 40, 50, 60], 1, Some((Kind::Plateau, 0)));
    }

    #[test]
    fn too_few_samples_are_no_proof_and_after_many_looks_never_will_be() {
        check(&[0, 2, 4, 6, 8, 10], &[0; 6], 5, Some((Kind::NotEnoughData, 0)));
        check(&[0; 6], &[0, 2, 4, 6, 8, 10], 5, Some((Kind::NotEnoughData, 0)));
        check(&[0; 15], &[0; 15], 1, Some((Kind::NotEnoughData, 0)));
        check(&[0; 16], &[0; 16], 1, None);
    }

    #[test]
    fn the_rate_is_that_of_the_heap_unless_garbage_is_a_part_of_it() {
        // Three times too many samples of both.
        check(&[0, 33, 54, 96, 120, 153, 170], &[0, 0, 1, 0, 1, 0, 1], 3, Some((Kind::SteadyLeak, 10)));
        // Less is live than grows, though no garbage was found.
        check(&[0, 3, 6, 9, 12, 15, 18, 21, 24, 27], &[0; 10], 1, Some((Kind::SteadyLeak, 3)));
        let half = [0, 5, 10, 16, 20, 25, 29, 35, 40, 46];
        check(&half, &half, 1, Some((Kind::SteadyLeak, 5)));
    }

    #[test]
    fn figures_that_do_not_come_any_more_are_not_waited_for() {
        let mut reached = Reached::new(144);
        let rate = Rate { bytes_per_second: MIB, low: MIB, high: MIB };
        let heap = Judged { kind: Kind::SteadyLeak, rate: Some(rate), chance: Some(0.0), lasting: None };
        for minute in 0..20_u64 {
            let mut gauges = vec![Gauge::bytes(names::JVM_HEAP_USED, minute << 20)];
            if minute < 2 {
                gauges.push(Gauge::bytes(names::JVM_REACHED, minute << 20));
            }
            reached.push(60.0 * minute as f64, &snapshot_of(minute, gauges));
            let told = reached.review(&heap, MIB).map(|told| told.kind);
            let expected = (minute < u64::from(MANY_FIGURES)).then_some(Kind::NotEnoughData);
            assert_eq!(told, expected, "{minute}");
        }
    }

    #[test]
    fn what_is_live_may_be_still_without_a_collection() {
        let still = |live: &[u64]| {
            let mut reached = Reached::new(144);
            for (minute, live) in live.iter().enumerate() {
                let gauges = vec![Gauge::bytes(names::JVM_REACHED, live << 20)];
                reached.push(60.0 * minute as f64, &snapshot_of(minute as u64, gauges));
            }
            reached.is_still(MIB)
        };
        assert!(still(&[3; 8]));
        assert!(!still(&[3; 4]), "too few");
        assert!(!still(&[3, 4, 5, 6, 7, 8, 9, 10]));
    }
}
