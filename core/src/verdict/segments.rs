//! Where a series changes: a start-up that ends, a leak that begins, a jump. At most four stretches, each a straight line.
//! Never decides whether a stretch leaks.
//!
//! A cut must explain more than noise could: the fall of the squared residuals, as an F with the variance of noise that
//! lasts (see `trend`), beyond [`CUT`]. The best cut is taken first, then the best inside of each half.

use super::slope::Point;
use super::trend::{Line, inflation};

/// Shorter stretches have no slope to speak of.
pub(super) const SHORTEST: usize = 5;
const CUT: f64 = 14.0;
const DEPTH: u32 = 2;

/// Indices at which `points` change, in order.
pub(super) fn changes(points: &[Point]) -> Vec<usize> {
    let mut found = Vec::new();
    cut(points, 0, DEPTH, &mut found);
    found.sort_unstable();
    found
}

fn cut(points: &[Point], offset: usize, depth: u32, found: &mut Vec<usize>) {
    if depth == 0 || points.len() < 2 * SHORTEST + 2 {
        return;
    }
    let sums = Sums::of(points);
    let whole = sums.squares(0, points.len());
    let best = (SHORTEST..=points.len() - SHORTEST)
        .map(|at| (sums.squares(0, at) + sums.squares(at, points.len()), at))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    let Some((left, at)) = best else { return };
    let (early, late) = points.split_at(at);
    let rest = |part: &[Point]| -> Vec<f64> {
        Line::through(part).map_or(Vec::new(), |line| part.iter().map(|p| p.1 - line.at(p.0)).collect())
    };
    let rests = [rest(early), rest(late)].concat();
    let freedom = points.len() as f64 - 5.0;
    // A byte of noise: a series without any is cut where it changes by more than its rounding.
    let score = (whole - left) / 3.0 / ((left / freedom).max(1.0) * inflation(&rests));
    if score < CUT {
        return;
    }
    found.push(offset + at);
    cut(early, offset, depth - 1, found);
    cut(late, offset + at, depth - 1, found);
}

/// Running sums, so that the squares of any stretch take no time.
struct Sums(Vec<[f64; 5]>);

impl Sums {
    fn of(points: &[Point]) -> Self {
        // Around the mean, or the differences drown in rounding.
        let count = points.len().max(1) as f64;
        let mean = points.iter().fold((0.0, 0.0), |sum, p| (sum.0 + p.0 / count, sum.1 + p.1 / count));
        let mut sums = vec![[0.0; 5]];
        let mut sum = [0.0; 5];
        for point in points {
            let (x, y) = (point.0 - mean.0, point.1 - mean.1);
            for (slot, value) in sum.iter_mut().zip([x, y, x * x, x * y, y * y]) {
                *slot += value;
            }
            sums.push(sum);
        }
        Self(sums)
    }

    /// Squares beside the best line through points `from..to`.
    fn squares(&self, from: usize, to: usize) -> f64 {
        let (Some(first), Some(last)) = (self.0.get(from), self.0.get(to)) else { return 0.0 };
        let count = (to - from) as f64;
        let of = |index: usize| last[index] - first[index];
        let (x, y) = (of(0), of(1));
        let (xx, xy, yy) = (of(2) - x * x / count, of(3) - x * y / count, of(4) - y * y / count);
        if xx <= 0.0 { yy.max(0.0) } else { (yy - xy * xy / xx).max(0.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shape: impl Fn(f64) -> f64, expected: &[usize]) {
        // Noise that repeats after seven points, a hundred bytes high.
        let points: Vec<Point> =
            (0..40).map(|at| (f64::from(at), shape(f64::from(at)) + f64::from(at * 3 % 7) * 15.0)).collect();
        let found = changes(&points);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        assert!(found.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= 2), "{found:?}");
    }

    #[test]
    fn lines_are_cut_where_they_change_and_nowhere_else() {
        check(|_| 0.0, &[]);
        check(|at| 100.0 * at, &[]);
        check(|at| if at < 20.0 { 0.0 } else { 2000.0 }, &[20]);
        check(|at| 200.0 * (at - 25.0).max(0.0), &[25]);
        check(|at| 200.0 * at.min(12.0), &[13]);
    }
}
