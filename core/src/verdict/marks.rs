//! Whether a layer's growth goes with a host's marks rather than with time: so many bytes for each `reconnect`.
//! Says nothing where marks come as evenly as readings do: then the two cannot be told apart.
//!
//! Least squares of what came between one reading and the next by the time and the marks in between. Told only when the
//! marks' part is beyond chance and makes up most of the growth.

use serde::{Deserialize, Serialize};

use super::slope::Point;
use super::trend::beyond;

/// With fewer changes between readings, or fewer marks in them, nothing is said.
const FEWEST: usize = 6;
const FEWEST_MARKS: usize = 3;
/// The chance of marks that have nothing to do with it.
const CHANCE: f64 = 1e-3;
/// The share of all growth that the marks make up at least.
const MOST_OF_IT: f64 = 0.5;

/// Growth with each mark of one name.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GrowthPerMark {
    /// Bytes with each.
    pub bytes: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Marks between the first reading and the last.
    pub count: usize,
}

/// What of the growth of `points` (seconds and bytes, in order) goes with `marks` (seconds, in order).
pub fn growth_per_mark(points: &[(f64, f64)], marks: &[f64]) -> Option<GrowthPerMark> {
    let changes: Vec<[f64; 3]> = points.windows(2).map(|pair| change(pair[0], pair[1], marks)).collect();
    let count = changes.iter().map(|change| change[1]).sum::<f64>();
    if changes.len() < FEWEST || count < FEWEST_MARKS as f64 {
        return None;
    }
    let sum = |of: &dyn Fn(&[f64; 3]) -> f64| changes.iter().map(of).sum::<f64>();
    let (tt, mm) = (sum(&|c| c[0] * c[0]), sum(&|c| c[1] * c[1]));
    let (tm, tb, mb) = (sum(&|c| c[0] * c[1]), sum(&|c| c[0] * c[2]), sum(&|c| c[1] * c[2]));
    let determinant = tt * mm - tm * tm;
    // As even as time, to a thousandth.
    if determinant <= 1e-3 * tt * mm {
        return None;
    }
    let per_second = (mm * tb - tm * mb) / determinant;
    let bytes = (tt * mb - tm * tb) / determinant;
    let rest = sum(&|c| (c[2] - per_second * c[0] - bytes * c[1]).powi(2));
    let freedom = u32::try_from(changes.len() - 2).ok()?;
    // Counted bytes: no surer than one.
    let error = ((rest / f64::from(freedom)).max(1.0) * tt / determinant).sqrt();
    let grown = points.last()?.1 - points.first()?.1;
    if bytes <= 0.0 || beyond(bytes / error, freedom) > CHANCE || bytes * count < MOST_OF_IT * grown {
        return None;
    }
    let half = quantile(freedom) * error;
    Some(GrowthPerMark { bytes, low: bytes - half, high: bytes + half, count: count as usize })
}

/// Seconds, marks and bytes between two readings.
fn change(from: Point, to: Point, marks: &[f64]) -> [f64; 3] {
    let until = |end: f64| marks.partition_point(|mark| *mark <= end);
    [to.0 - from.0, (until(to.0) - until(from.0)) as f64, to.1 - from.1]
}

/// Student's t that leaves 2.5 % above it.
fn quantile(freedom: u32) -> f64 {
    let (mut low, mut high) = (0.0, 1000.0);
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        if beyond(middle, freedom) > 0.025 { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::Random;

    /// Twenty readings, so many bytes with each mark and with each second; marks at the given seconds.
    fn check(per_mark: f64, per_second: f64, marks: &[f64], expected: Option<f64>) {
        let mut random = Random::new(7);
        let points: Vec<Point> = (0..20)
            .map(|tick| {
                let time = f64::from(tick) * 10.0;
                let marked = marks.iter().filter(|mark| **mark <= time).count() as f64;
                (time, per_mark * marked + per_second * time + 500.0 * random.normal())
            })
            .collect();
        let found = growth_per_mark(&points, marks);
        assert_eq!(found.map(|found| (found.bytes / 1000.0).round() * 1000.0), expected, "{found:?}");
        if let Some(found) = found {
            assert!(found.low <= per_mark && per_mark <= found.high, "{found:?}");
        }
    }

    #[test]
    fn growth_goes_with_marks_that_come_unevenly() {
        let uneven = [12.0, 13.0, 14.0, 55.0, 91.0, 92.0, 133.0, 134.0, 135.0, 136.0];
        check(40_000.0, 0.0, &uneven, Some(40_000.0));
        check(40_000.0, 100.0, &uneven, Some(40_000.0));
        // Time makes up most of it.
        check(2000.0, 1000.0, &uneven, None);
        check(0.0, 1000.0, &uneven, None);
        check(-40_000.0, 0.0, &uneven, None);
    }

    #[test]
    fn marks_as_even_as_time_or_too_few_say_nothing() {
        let even: Vec<f64> = (0..20).map(|tick| f64::from(tick) * 10.0 - 5.0).collect();
        check(40_000.0, 0.0, &even, None);
        check(40_000.0, 0.0, &[12.0, 91.0], None);
    }
}
