//! Whether a series rises at all: a straight line's slope against its noise, and the chance of it without growth.
//! Never gives the rate that is told: that is `slope`'s, which outliers move less.
//!
//! Points that stand alone far from both neighbours are put between them. Noise that lasts from one point to the next counts
//! as fewer points: its likeness is taken at the upper end of what the points allow, because too low an estimate
//! is how wandering noise passes for growth. Linear in the number of points.

use super::slope::Point;

/// With fewer points, likeness of neighbours cannot be told from chance.
const ENOUGH_FOR_LIKENESS: usize = 9;
/// Beyond this it is taken for growth or steps, which the rest of the judgement tells.
const MOST_LIKE: f64 = 0.95;
/// Standard errors of the likeness that are added before a leak is called.
pub(super) const DOUBT: f64 = 1.0;
/// A point this many median changes away from both neighbours, on the same side, is an outlier.
const SPIKE: f64 = 6.0;

/// A bend of so many standard errors is there for sure.
const PLAIN: f64 = 4.0;

/// A straight line through points, and how sure its direction is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Trend {
    /// Bytes per second.
    pub(super) slope: f64,
    /// The chance of a slope this far from zero, to its own side, if there were none.
    pub(super) chance: f64,
    /// Standard deviation around the line, bytes.
    pub(super) noise: f64,
    /// The share of the squares that the straight line explains.
    pub(super) straight: f64,
    /// The bend in standard errors: below zero, it slows down.
    pub(super) bend: f64,
}

/// `None` with fewer than four points, or without time between them.
pub(super) fn trend(points: &[Point]) -> Option<Trend> {
    let count = points.len();
    if count < 4 {
        return None;
    }
    let line = Line::through(points)?;
    let straight: Vec<f64> = points.iter().map(|point| point.1 - line.at(point.0)).collect();
    let beside: f64 = straight.iter().map(|rest| rest * rest).sum();
    let explained = line.slope * line.slope * line.spread;
    let (bend, curved) = bend(points, &straight);
    // What a plain curve explains is no noise.
    let (rest, used) = if bend.abs() > PLAIN { (curved, 3.0) } else { (straight, 2.0) };
    let squares: f64 = rest.iter().map(|rest| rest * rest).sum();
    let inflation = inflation(&rest, DOUBT);
    let noise = (squares / (count as f64 - used)).sqrt();
    let error = noise * (inflation / line.spread).sqrt();
    let worth = count as f64 / inflation - used;
    let freedom =
        if inflation > 1.0 { worth.max((count as f64 - used) / 2.0) } else { count as f64 - used } as u32;
    // Counted bytes: a line without any noise is not surer than a byte.
    let score = line.slope.abs() / error.max(line.slope.abs() * 1e-9).max(f64::MIN_POSITIVE);
    let chance = if line.slope == 0.0 { 0.5 } else { beyond(score, freedom) };
    Some(Trend {
        slope: line.slope,
        chance,
        straight: explained / (explained + beside).max(f64::MIN_POSITIVE),
        noise,
        bend,
    })
}

impl Trend {
    /// The same slope of `points`, judged by the noise around a line through `before`, too: a stretch that was chosen for its
    /// straightness tells too little of noise.
    #[must_use]
    pub(super) fn with_noise_of(self, before: &[Point], points: &[Point]) -> Self {
        let lines = [before, points].map(|part| Line::through(part).map(|line| (part, line)));
        let [Some(before), Some(now)] = lines else { return self };
        let rest = |(part, line): &(&[Point], Line)| -> Vec<f64> {
            part.iter().map(|point| point.1 - line.at(point.0)).collect()
        };
        let rests = [rest(&before), rest(&now)].concat();
        let Some(freedom) = rests.len().checked_sub(4).filter(|freedom| *freedom > 2) else { return self };
        let inflation = inflation(&rests, DOUBT);
        let noise = (rests.iter().map(|rest| rest * rest).sum::<f64>() / freedom as f64).sqrt();
        let error = noise * (inflation / now.1.spread).sqrt();
        let score = self.slope.abs() / error.max(self.slope.abs() * 1e-9).max(f64::MIN_POSITIVE);
        let worth = (freedom as f64 / inflation).max(freedom as f64 / 2.0).max(2.0) as u32;
        Self { chance: beyond(score, worth), noise, ..self }
    }
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

/// By how much the variance of a slope grows because what is left beside the line lasts; `doubt` is how many standard
/// errors of the likeness are added to it.
pub(super) fn inflation(rest: &[f64], doubt: f64) -> f64 {
    let count = rest.len() as f64;
    let squares: f64 = rest.iter().map(|rest| rest * rest).sum();
    if rest.len() < ENOUGH_FOR_LIKENESS || squares <= 0.0 {
        return 1.0;
    }
    let likeness = rest.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / squares;
    // The line takes some of the likeness with it, about (2 + 4 r) / n.
    let likeness = (likeness + 2.0 / count) / (1.0 - 4.0 / count) + doubt / count.sqrt();
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

    pub(super) fn at(&self, seconds: f64) -> f64 {
        self.mean.1 + self.slope * (seconds - self.mean.0)
    }
}

/// The curvature's own score, and what is left beside the curve: `rest` against the part of the squared time that a line
/// does not explain.
fn bend(points: &[Point], rest: &[f64]) -> (f64, Vec<f64>) {
    let flat = || (0.0, rest.to_vec());
    let origin = points.first().map_or(0.0, |point| point.0);
    let squared: Vec<Point> = points.iter().map(|point| (point.0, (point.0 - origin).powi(2))).collect();
    let Some(line) = Line::through(&squared) else { return flat() };
    let curve: Vec<f64> = squared.iter().map(|point| point.1 - line.at(point.0)).collect();
    let spread: f64 = curve.iter().map(|curve| curve * curve).sum();
    let together: f64 = curve.iter().zip(rest).map(|(curve, rest)| curve * rest).sum();
    let all: f64 = rest.iter().map(|rest| rest * rest).sum();
    if spread <= 0.0 || all <= 0.0 || points.len() < ENOUGH_FOR_LIKENESS {
        return flat();
    }
    let left: Vec<f64> =
        curve.iter().zip(rest).map(|(curve, rest)| rest - together / spread * curve).collect();
    let squares = left.iter().map(|left| left * left).sum::<f64>().max(all * 1e-9);
    let freedom = points.len() as f64 - 3.0;
    (together / (spread * squares / freedom * inflation(&left, DOUBT)).sqrt(), left)
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
        assert!(trend(&points).unwrap().bend < -3.0);
    }
}
