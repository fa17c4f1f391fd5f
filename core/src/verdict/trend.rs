//! What a series looks like beside a straight line: how straight it is, how it bends, which points stand alone.
//! Never says whether it rises for sure (that is `lasting`'s), nor the rate that is told (`slope`'s, which outliers move less).
//!
//! Points that stand alone far from both neighbours are put between them. Linear in the number of points.

use super::lasting::FOR_GROWTH;
use super::slope::Point;

/// With fewer points, likeness of neighbours cannot be told from chance.
const ENOUGH_FOR_LIKENESS: usize = 9;
/// With fewer, there is no bend to speak of, even where it is known how large noise usually is.
const ENOUGH_BESIDE_USUAL: usize = 5;
/// Beyond this it is taken for growth or steps, which the rest of the judgement tells.
const MOST_LIKE: f64 = 0.95;
/// Standard errors of the likeness that are added to it.
const DOUBT: f64 = 1.0;
/// A point this many median changes away from both neighbours, on the same side, is an outlier.
const SPIKE: f64 = 6.0;

/// A bend of so many standard errors is there for sure.
const PLAIN: f64 = 4.0;

/// A straight line through points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Trend {
    /// Bytes per second.
    pub(super) slope: f64,
    /// The share of the squares that the straight line explains.
    pub(super) straight: f64,
    /// The bend in standard errors: below zero, it slows down.
    pub(super) bend: f64,
}

/// `usual` is the standard deviation that such noise usually has, bytes; 0: nobody knows, and then few points have no bend.
/// `None` with fewer than four points, or without time between them.
pub(super) fn trend(points: &[Point], usual: f64) -> Option<Trend> {
    if points.len() < 4 {
        return None;
    }
    let line = Line::through(points)?;
    let beside = line.squares(points);
    let explained = line.slope * line.slope * line.spread;
    Some(Trend {
        slope: line.slope,
        straight: explained / (explained + beside).max(f64::MIN_POSITIVE),
        bend: curve(points, usual).map_or(0.0, |(bend, _)| bend),
    })
}

/// `points` without what a plain curve explains, if they rise ever faster: that is no noise.
pub(super) fn straightened(points: &[Point], usual: f64) -> Vec<Point> {
    match curve(points, usual) {
        Some((bend, curve)) if bend > PLAIN => {
            points.iter().zip(curve).map(|(point, curve)| (point.0, point.1 - curve)).collect()
        }
        _ => points.to_vec(),
    }
}

fn rests(points: &[Point], line: &Line) -> Vec<f64> {
    points.iter().map(|point| point.1 - line.at(point.0)).collect()
}

/// The chance of changes like these, all together upwards, from a level that wanders without a direction.
pub(super) fn increments_chance(points: &[Point]) -> f64 {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return 0.5 };
    let (seconds, changes) = (last.0 - first.0, points.len() as u32 - 1);
    if changes < 2 || seconds <= 0.0 || last.1 <= first.1 {
        return 0.5;
    }
    let mean = (last.1 - first.1) / seconds;
    // A wandering level's variance grows with time: a gap is one change of a larger one.
    let squares: f64 = points
        .windows(2)
        .map(|pair| (pair[1].0 - pair[0].0, pair[1].1 - pair[0].1))
        .filter(|(time, _)| *time > 0.0)
        .map(|(time, change)| (change - mean * time).powi(2) / time)
        .sum();
    let error = (squares / f64::from(changes - 1) / seconds).sqrt();
    beyond(mean / error.max(mean * 1e-9), changes - 1)
}

/// By how much the variance of a slope or a bend grows because what is left beside it lasts. The likeness of neighbours is
/// taken at the upper end of what the points allow.
pub(super) fn inflation(rest: &[f64]) -> f64 {
    let count = rest.len() as f64;
    let squares: f64 = rest.iter().map(|rest| rest * rest).sum();
    if rest.len() < ENOUGH_FOR_LIKENESS || squares <= 0.0 {
        return 1.0;
    }
    let likeness = rest.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / squares;
    // The line takes some of the likeness with it, about (2 + 4 r) / n.
    let likeness = (likeness + 2.0 / count) / (1.0 - 4.0 / count) + DOUBT / count.sqrt();
    let likeness = likeness.clamp(0.0, (1.0 - 4.0 / count).min(MOST_LIKE));
    (1.0 + likeness) / (1.0 - likeness)
}

/// `points` without those that stand alone far from both neighbours.
pub(super) fn without_spikes(points: &[Point]) -> Vec<Point> {
    let mut changes: Vec<f64> = points.windows(2).map(|pair| (pair[1].1 - pair[0].1).abs()).collect();
    let mut clean = points.to_vec();
    if changes.len() < ENOUGH_FOR_LIKENESS {
        return clean;
    }
    let middle = changes.len() / 2;
    let (_, typical, _) = changes.select_nth_unstable_by(middle, f64::total_cmp);
    let far = SPIKE * *typical;
    for (index, three) in points.windows(3).enumerate() {
        let (rise, fall) = (three[1].1 - three[0].1, three[1].1 - three[2].1);
        if rise * fall > 0.0 && rise.abs().min(fall.abs()) > far {
            clean[index + 1].1 = f64::midpoint(three[0].1, three[2].1);
        }
    }
    clean
}

/// Least squares.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) slope: f64,
    mean: Point,
    /// Sum of the squared distances from the mean time.
    pub(super) spread: f64,
}

impl Line {
    pub(super) fn through(points: &[Point]) -> Option<Self> {
        let count = points.len() as f64;
        let sum = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        let mean = (sum.0 / count, sum.1 / count);
        let (mut spread, mut together) = (0.0, 0.0);
        for point in points {
            spread += (point.0 - mean.0) * (point.0 - mean.0);
            together += (point.0 - mean.0) * (point.1 - mean.1);
        }
        (spread > 0.0).then(|| Self { slope: together / spread, mean, spread })
    }

    /// What is left beside it, squared.
    pub(super) fn squares(&self, points: &[Point]) -> f64 {
        points.iter().map(|point| (point.1 - self.at(point.0)).powi(2)).sum()
    }

    pub(super) fn at(&self, seconds: f64) -> f64 {
        self.mean.1 + self.slope * (seconds - self.mean.0)
    }
}

/// The curvature in standard errors, and the curve: the part of the squared time that a line does not explain, as much of it
/// as fits. `None` where there is nothing to tell it from.
fn curve(points: &[Point], usual: f64) -> Option<(f64, Vec<f64>)> {
    let origin = points.first()?.0;
    let squared: Vec<Point> = points.iter().map(|point| (point.0, (point.0 - origin).powi(2))).collect();
    let curve = rests(&squared, &Line::through(&squared)?);
    let rest = rests(points, &Line::through(points)?);
    let spread: f64 = curve.iter().map(|curve| curve * curve).sum();
    let together: f64 = curve.iter().zip(&rest).map(|(curve, rest)| curve * rest).sum();
    let all: f64 = rest.iter().map(|rest| rest * rest).sum();
    let enough = if usual > 0.0 { ENOUGH_BESIDE_USUAL } else { ENOUGH_FOR_LIKENESS };
    if spread <= 0.0 || all <= 0.0 || points.len() < enough {
        return None;
    }
    let fitted: Vec<f64> = curve.iter().map(|curve| together / spread * curve).collect();
    let left: Vec<f64> = fitted.iter().zip(&rest).map(|(fitted, rest)| rest - fitted).collect();
    let squares = left.iter().map(|left| left * left).sum::<f64>().max(all * 1e-9);
    let known = if usual > 0.0 { FOR_GROWTH.worth } else { 0.0 };
    let (squares, freedom) = (squares + known * usual * usual, points.len() as f64 - 3.0 + known);
    Some((together / (spread * squares / freedom * inflation(&left)).sqrt(), fitted))
}

/// The chance of Student's t beyond `score`, one side (the finite series of Abramowitz and Stegun, 26.7.3 and 26.7.4).
pub(super) fn beyond(score: f64, freedom: u32) -> f64 {
    let freedom = freedom.max(1);
    let angle = (score / f64::from(freedom).sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let mut term = if freedom % 2 == 1 { cosine } else { 1.0 };
    let mut sum = if freedom == 1 { 0.0 } else { term };
    let mut step = if freedom % 2 == 1 { 3 } else { 2 };
    while step < freedom {
        term *= cosine * cosine * f64::from(step - 1) / f64::from(step);
        sum += term;
        step += 2;
    }
    let inside =
        if freedom % 2 == 1 { std::f64::consts::FRAC_2_PI * (angle + sine * sum) } else { sine * sum };
    // Below this the sum's own rounding speaks.
    ((1.0 - inside) / 2.0).clamp(1e-13, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn students_t_is_as_in_the_tables() {
        for (score, freedom, chance) in [
            (3.182, 3, 0.025),
            (10.215, 3, 0.001),
            (2.776, 4, 0.025),
            (1.372, 10, 0.1),
            (31.82, 1, 0.01),
            (2.0, 120, 0.0239),
        ] {
            let found = beyond(score, freedom);
            assert!((found / chance - 1.0).abs() < 0.01, "{score} {freedom}: {found}");
        }
    }

    #[test]
    fn one_odd_point_is_put_between_its_neighbours_and_a_step_stays() {
        let series =
            |values: &[f64]| values.iter().enumerate().map(|(at, v)| (at as f64, *v)).collect::<Vec<_>>();
        let odd = without_spikes(&series(&[1.0, 2.0, 3.0, 2.0, 90.0, 3.0, 2.0, 3.0, 4.0, 3.0]));
        assert_eq!(odd[4].1, 2.5);
        let step = series(&[1.0, 2.0, 3.0, 2.0, 90.0, 91.0, 90.0, 91.0, 90.0, 92.0]);
        assert_eq!(without_spikes(&step), step);
    }

    #[test]
    fn a_curve_that_slows_down_has_a_negative_bend() {
        let points: Vec<Point> = (0..24).map(|at| (f64::from(at), f64::from(at).sqrt())).collect();
        assert!(trend(&points, 0.0).unwrap().bend < -3.0);
    }
}
