//! Tells whether what is free inside malloc, and not what is live, explains the growth of the resident size.
//! Pure: no clock, no I/O. What could be given back is an upper bound: nobody counts free bytes in pages that are partly used.

use serde::{Deserialize, Serialize};

use super::series::Series;
use super::slope::{rate, slope};
use super::{Rate, Share, interval_per_minute};
use crate::model::{Snapshot, names};
use crate::text::{bytes, signed_bytes};

const MAX_POINTS: usize = 144;
const MIN_POINTS: usize = 5;
/// Growth of less is not worth a word.
const FLOOR_BYTES: f64 = 1_048_576.0;
/// Free bytes must explain so much of the growth, and more than live ones do.
const MOST_OF_IT: f64 = 0.5;
/// Free bytes that have slowed to less than this share of their rate do not grow any more.
const STILL_GROWING: f64 = 0.25;
/// More arenas than this are worth limiting; two are what glibc's own advice begins with.
const MANY_ARENAS: f64 = 8.0;
const FEW_ARENAS: u32 = 2;

/// What would help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// `malloc_trim(0)` would give back at most so many bytes.
    Trim {
        /// Upper bound.
        at_most_bytes: u64,
    },
    /// Fewer arenas: `MALLOC_ARENA_MAX`, or `mallopt(M_ARENA_MAX)`.
    LimitArenas {
        /// How many there are.
        now: u32,
        /// How many would do.
        suggested: u32,
    },
}

/// Free bytes explain the growth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fragmentation {
    /// Free inside malloc now.
    pub free_bytes: u64,
    /// The share of the resident size's growth that free bytes explain, from 0 to 1.
    pub share: f64,
    /// How fast free bytes grow.
    pub rate: Rate,
    /// How fast the resident size grows.
    pub resident_rate: Rate,
    /// What would help; may be empty.
    pub remedies: Vec<Remedy>,
}

/// Follows malloc's free and live bytes beside the resident size.
#[derive(Debug)]
pub struct FragmentationWatch {
    resident: Series,
    free: Series,
    live: Series,
    baseline: u64,
    arenas: Option<f64>,
    trimmable: Option<f64>,
}

impl Default for FragmentationWatch {
    fn default() -> Self {
        let series = || Series::new(MAX_POINTS);
        Self {
            resident: series(),
            free: series(),
            live: series(),
            baseline: 0,
            arenas: None,
            trimmable: None,
        }
    }
}

impl FragmentationWatch {
    /// Takes the next snapshot; one without malloc's numbers counts for nothing.
    pub fn push(&mut self, snapshot: &Snapshot) {
        if self.baseline != snapshot.baseline {
            *self = Self { baseline: snapshot.baseline, ..Self::default() };
        }
        let read = |name| snapshot.gauge(name).filter(|value| value.is_finite());
        let (Some(resident), Some(free), Some(live)) =
            (read(names::RESIDENT), read(names::MALLOC_FREE), read(names::MALLOC_LIVE))
        else {
            return;
        };
        let seconds = snapshot.tick.at.boot_nanos as f64 / 1e9;
        self.resident.push(seconds, resident);
        self.free.push(seconds, free);
        self.live.push(seconds, live);
        self.arenas = read(names::MAP_MALLOC_ARENAS);
        self.trimmable = read(names::MALLOC_TRIMMABLE);
    }

    /// `None` where live bytes, or something else, explain the growth, or there is none.
    pub fn mark(&self) -> Option<Fragmentation> {
        let points = self.resident.points();
        if points.len() < MIN_POINTS {
            return None;
        }
        let span = points.last()?.0 - points.first()?.0;
        let resident = slope(&points)?;
        let (free, live) = (slope(&self.free.points())?, slope(&self.live.points())?);
        let share = (free / resident).clamp(0.0, 1.0);
        if resident * span < FLOOR_BYTES || share < MOST_OF_IT || free <= live {
            return None;
        }
        // What an allocator keeps for the next time is no fragmentation: that goes on.
        let later = self.free.points().split_off(points.len() / 2);
        if slope(&later)? < STILL_GROWING * free {
            return None;
        }
        let (rate, resident_rate) = (rate(&self.free.points())?, rate(&points)?);
        // A share that is not known explains nothing.
        Share::of(rate, resident_rate)?;
        let free_bytes = self.free.last()? as u64;
        let limit = self.arenas.filter(|arenas| *arenas > MANY_ARENAS);
        let trim = self.trimmable.map(|bytes| Remedy::Trim { at_most_bytes: bytes as u64 });
        let limit = limit.map(|now| Remedy::LimitArenas { now: now as u32, suggested: FEW_ARENAS });
        let remedies = trim.into_iter().chain(limit).collect();
        Some(Fragmentation { free_bytes, share, rate, resident_rate, remedies })
    }

    /// The mark in one line.
    pub fn line(&self) -> Option<String> {
        let Fragmentation { free_bytes, share, rate, resident_rate, remedies } = self.mark()?;
        let free = bytes(free_bytes as f64);
        let [own, all] = [rate, resident_rate].map(|rate| signed_bytes(rate.bytes_per_second * 60.0));
        let mut line = format!(
            "native: {free} free inside malloc explain {:.0} % of the growth, {own} (95 %: {}) of {all} a minute: \
             fragmentation, not a leak",
            share * 100.0,
            interval_per_minute(&rate),
        );
        for remedy in remedies {
            line.push_str(&match remedy {
                Remedy::Trim { at_most_bytes } => {
                    format!("; malloc_trim(0) would give back at most {}", bytes(at_most_bytes as f64))
                }
                Remedy::LimitArenas { now, suggested } => {
                    format!("; {now} arenas: MALLOC_ARENA_MAX={suggested} would limit them")
                }
            });
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Gauge;
    use crate::model::testing::snapshot_of;

    /// MiB per minute of the resident size, of free and of live bytes.
    fn check(rates: [u64; 3], arenas: u64, expected: Option<usize>) {
        let mut watch = FragmentationWatch::default();
        for minute in 0..8 {
            let [resident, free, live] = rates.map(|rate| (100 + rate * minute) << 20);
            let gauges = vec![
                Gauge::bytes(names::RESIDENT, resident),
                Gauge::bytes(names::MALLOC_FREE, free),
                Gauge::bytes(names::MALLOC_LIVE, live),
                Gauge::count(names::MAP_MALLOC_ARENAS, arenas),
                Gauge::bytes(names::MALLOC_TRIMMABLE, free),
            ];
            watch.push(&snapshot_of(minute, gauges));
        }
        assert_eq!(watch.mark().map(|mark| mark.remedies.len()), expected, "{:?}", watch.line());
    }

    #[test]
    fn growth_of_free_bytes_is_fragmentation_and_growth_of_live_ones_is_not() {
        check([10, 9, 1], 1, Some(1));
        check([10, 9, 1], 64, Some(2));
        check([10, 1, 9], 64, None);
        check([10, 1, 1], 64, None);
        check([0, 9, 0], 64, None);
    }

    #[test]
    fn the_line_has_the_numbers_that_it_rests_on() {
        let mut watch = FragmentationWatch::default();
        for minute in 0..8 {
            let gauges = vec![
                Gauge::bytes(names::RESIDENT, (100 + 10 * minute) << 20),
                Gauge::bytes(names::MALLOC_FREE, (3 + 9 * minute) << 20),
                Gauge::bytes(names::MALLOC_LIVE, 10 << 20),
            ];
            watch.push(&snapshot_of(minute, gauges));
        }
        let expected = "native: 66.0 MiB free inside malloc explain 90 % of the growth, +9.0 MiB (95 %: 9.00 to 9.00) of \
            +10.0 MiB a minute: fragmentation, not a leak";
        assert_eq!(watch.line().as_deref(), Some(expected));
    }

    #[test]
    fn what_an_allocator_keeps_once_is_no_fragmentation() {
        let mut watch = FragmentationWatch::default();
        for minute in 0..12 {
            let free = (4 * minute.min(4)) << 20;
            let gauges = vec![
                Gauge::bytes(names::RESIDENT, (100 << 20) + free),
                Gauge::bytes(names::MALLOC_FREE, free),
                Gauge::bytes(names::MALLOC_LIVE, 10 << 20),
            ];
            watch.push(&snapshot_of(minute, gauges));
            assert!(minute < 9 || watch.mark().is_none(), "{minute}: {:?}", watch.line());
        }
    }
}
