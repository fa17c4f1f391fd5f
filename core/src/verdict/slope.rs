//! How fast a series rises: the Theil–Sen slope (Sen, JASA 63, 1968), which single odd points do not move, with a 95 %
//! interval from the noise beside it, of which an unknown share lasts from one point to the next (`lasting`).

use super::Rate;
use super::lasting::Slopes;
use super::trend::without_spikes;

/// One reading of a series: seconds and bytes.
pub(super) type Point = (f64, f64);

/// With fewer points nothing is said.
pub(super) const MIN_POINTS: u32 = 5;
/// Of a normal distribution: 2.5 % lie above.
pub(super) const NORMAL_QUANTILE: f64 = 1.959_964;

/// The rate of `points` with its interval; `None` with fewer than [`MIN_POINTS`].
pub(super) fn rate(points: &[Point]) -> Option<Rate> {
    rate_beside(points, 0.0)
}

/// The same, of what usually has noise of this standard deviation, bytes.
pub(super) fn rate_beside(points: &[Point], usual: f64) -> Option<Rate> {
    if points.len() < MIN_POINTS as usize {
        return None;
    }
    let clean = without_spikes(points);
    let bytes_per_second = slope(&clean)?;
    let (below, above) = Slopes::of_rate(&clean, usual)?.reach();
    Some(Rate { bytes_per_second, low: bytes_per_second - below, high: bytes_per_second + above })
}

/// The slope alone; `None` with fewer than two points at different times.
pub(super) fn slope(points: &[Point]) -> Option<f64> {
    median(&mut slopes(points))
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

fn median(values: &mut [f64]) -> Option<f64> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let is_odd = values.len() % 2 == 1;
    let (below, high, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let low = below.iter().copied().max_by(f64::total_cmp).filter(|_| !is_odd);
    Some(low.map_or(*high, |low| f64::midpoint(low, *high)))
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
            // Without a sign where it rounds to nothing.
            let [low, high] = [rate.low, rate.high].map(|end| (end * 10.0).round() / 10.0 + 0.0);
            format!("{:.1} [{low:.1}, {high:.1}]", rate.bytes_per_second)
        });
        assert_eq!(found, expected, "{values}");
    }

    #[test]
    fn four_points_have_no_interval() {
        check("1 2 3 4", "-");
        check("1 2 3 4 5", "1.0 [1.0, 1.0]");
        check("0 2 2 6 8", "2.0 [0.4, 3.6]");
    }

    #[test]
    fn one_outlier_does_not_move_the_slope() {
        check("0 1 2 3 900 5 6 7 8 9", "1.0 [1.0, 1.0]");
    }

    #[test]
    fn a_flat_series_has_no_slope() {
        check("5 5 5 5 5 5", "0.0 [0.0, 0.0]");
    }
}
