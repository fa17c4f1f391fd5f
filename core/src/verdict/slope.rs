//! How fast a series rises: the Theil–Sen slope (Sen, JASA 63, 1968) with a 95 % interval from Kendall's distribution.
//! Robust against outliers and steps of single points. Noise that lasts from one point to the next widens the interval.

use super::Rate;

/// One reading of a series: seconds and bytes.
pub(super) type Point = (f64, f64);

/// With fewer there is no 95 % interval: four points are in a rising order by chance once in 24.
pub(super) const MIN_POINTS: u32 = 5;
/// Above this many points Kendall's distribution is as good as normal.
const EXACT_UP_TO: usize = 20;
/// With fewer, likeness of neighbours cannot be told from chance.
const ENOUGH_FOR_DEPENDENCE: usize = 8;
const TAIL: f64 = 0.025;
const NORMAL_QUANTILE: f64 = 1.959_964;

/// The rate of `points` with its interval; `None` with fewer than [`MIN_POINTS`].
pub(super) fn rate(points: &[Point]) -> Option<Rate> {
    let mut slopes = slopes(points);
    slopes.sort_unstable_by(f64::total_cmp);
    let bytes_per_second = median_of_sorted(&slopes)?;
    let outside = slopes_outside(points.len(), slopes.len(), dependence(points, bytes_per_second))?;
    Some(Rate {
        bytes_per_second,
        low: *slopes.get(outside)?,
        high: *slopes.get(slopes.len().checked_sub(1 + outside)?)?,
    })
}

/// The slope alone; `None` with fewer than two points at different times.
pub(super) fn slope(points: &[Point]) -> Option<f64> {
    let mut slopes = slopes(points);
    slopes.sort_unstable_by(f64::total_cmp);
    median_of_sorted(&slopes)
}

fn slopes(points: &[Point]) -> Vec<f64> {
    let pairs = points
        .iter()
        .enumerate()
        .flat_map(|(i, early)| points[i + 1..].iter().map(move |late| (early, late)));
    pairs
        .filter(|(early, late)| late.0 > early.0)
        .map(|(early, late)| (late.1 - early.1) / (late.0 - early.0))
        .collect()
}

fn median_of_sorted(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let high = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 { Some(high) } else { Some((sorted.get(middle - 1)? + high) / 2.0) }
}

/// How many of the sorted slopes lie outside of the interval at each end. The variance of their number is `dependence`
/// times that of independent points.
fn slopes_outside(points: usize, slopes: usize, dependence: f64) -> Option<usize> {
    let n = points as f64;
    let deviation = (dependence * n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
    let normal = ((slopes as f64 - NORMAL_QUANTILE * deviation) / 2.0).floor().max(0.0) as usize;
    if points > EXACT_UP_TO {
        return Some(normal);
    }
    // The number of slopes below the true one is distributed like the inversions of a random permutation.
    let mut below = 0.0;
    let allowed = inversions(points).into_iter().take_while(|share| {
        below += share;
        below <= TAIL
    });
    let exact = allowed.count().checked_sub(1)?;
    Some(if dependence > 1.0 { exact.min(normal) } else { exact })
}

/// By how much the variance grows because points that follow each other are alike (a cache that fills and empties, a
/// heap that wanders): after Hamed and Rao (J. Hydrol. 204, 1998), from the ranks of what is left when `slope` is taken
/// off. Only likeness that is plain counts, and only up to the first lag without it. 1 for too few points to tell.
fn dependence(points: &[Point], slope: f64) -> f64 {
    if points.len() < ENOUGH_FOR_DEPENDENCE {
        return 1.0;
    }
    let n = points.len() as f64;
    let ranks =
        centred_ranks(&points.iter().map(|(seconds, bytes)| bytes - slope * seconds).collect::<Vec<_>>());
    let variance: f64 = ranks.iter().map(|rank| rank * rank).sum();
    if variance <= 0.0 {
        return 1.0;
    }
    let weighted: f64 = (1..points.len() / 2)
        .map(|lag| {
            let together: f64 = ranks.iter().zip(&ranks[lag..]).map(|(early, late)| early * late).sum();
            (lag as f64, together / variance)
        })
        .take_while(|(_, likeness)| *likeness > NORMAL_QUANTILE / n.sqrt())
        .map(|(lag, likeness)| (n - lag) * (n - lag - 1.0) * (n - lag - 2.0) * likeness)
        .sum();
    1.0 + 2.0 * weighted / (n * (n - 1.0) * (n - 2.0))
}

/// The rank of each value, ties in the middle of their ranks, less the mean rank.
fn centred_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mean = (values.len() as f64 - 1.0) / 2.0;
    let mut ranks = vec![0.0; values.len()];
    let mut begin = 0;
    for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = begin as f64 + (equal.len() as f64 - 1.0) / 2.0 - mean;
        equal.iter().for_each(|index| ranks[*index] = rank);
        begin += equal.len();
    }
    ranks
}

/// The share of the permutations of `n` things that have 0, 1, 2, … inversions.
fn inversions(n: usize) -> Vec<f64> {
    let mut shares = vec![1.0];
    for size in 2..=n {
        let longer = shares.len() + size - 1;
        let mut next = vec![0.0; longer];
        for (inversions, share) in shares.iter().enumerate() {
            for slot in &mut next[inversions..inversions + size] {
                *slot += share / size as f64;
            }
        }
        shares = next;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values at 0, 1, 2, … seconds; the answer is slope and interval, rounded, or `-`.
    fn check(values: &str, expected: &str) {
        let points: Vec<Point> = values
            .split_whitespace()
            .enumerate()
            .map(|(i, value)| (i as f64, value.parse().unwrap()))
            .collect();
        let found = rate(&points).map_or("-".to_owned(), |rate| {
            format!("{:.1} [{:.1}, {:.1}]", rate.bytes_per_second, rate.low, rate.high)
        });
        assert_eq!(found, expected, "{values}");
    }

    #[test]
    fn four_points_have_no_interval_and_five_have_the_widest() {
        check("1 2 3 4", "-");
        check("1 2 3 4 5", "1.0 [1.0, 1.0]");
        check("0 2 2 6 8", "2.0 [0.0, 4.0]");
    }

    #[test]
    fn one_outlier_does_not_move_the_slope() {
        check("0 1 2 3 900 5 6 7 8 9", "1.0 [1.0, 1.0]");
    }

    #[test]
    fn a_flat_series_has_no_slope() {
        check("5 5 5 5 5 5", "0.0 [0.0, 0.0]");
    }

    #[test]
    fn the_exact_distribution_is_kendalls() {
        // 4 things: 1, 3, 5, 6, 5, 3, 1 of 24 permutations.
        let shares: Vec<f64> = inversions(4).iter().map(|share| (share * 24.0).round()).collect();
        assert_eq!(shares, [1.0, 3.0, 5.0, 6.0, 5.0, 3.0, 1.0]);
        // Kendall's table: with 10 points, 11 inversions or fewer have probability 0.023.
        assert_eq!(slopes_outside(10, 45, 1.0), Some(11));
    }

    /// Normal noise from a fixed seed: sums of twelve uniform numbers.
    struct Noise(u64);

    impl Noise {
        fn next(&mut self) -> f64 {
            (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
        }

        fn uniform(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64
        }
    }

    #[test]
    fn the_interval_covers_the_true_slope_about_as_often_as_it_says() {
        let mut noise = Noise(7);
        for points in [6, 12, 24, 48] {
            let covered = (0..600)
                .filter(|_| {
                    let series: Vec<Point> = (0..points)
                        .map(|i| (f64::from(i), 3.0 * f64::from(i) + 5.0 * noise.next()))
                        .collect();
                    rate(&series).is_some_and(|rate| rate.low <= 3.0 && 3.0 <= rate.high)
                })
                .count();
            assert!((560..=600).contains(&covered), "{covered} of 600 with {points} points");
        }
    }
}
