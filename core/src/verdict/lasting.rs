//! A straight line beside which the noise lasts by an unknown share: what its slope may be. The share is not
//! estimated but averaged over: too low an estimate is how wandering noise passes for growth, and few points tell little
//! of it.
//!
//! For each share the line is that of least squares once the part that lasts is taken off (stationary first-order
//! autoregression, restricted likelihood), and its slope has Student's t. The shares weigh by how likely they make the
//! points. How large noise usually is counts like a few readings more (scaled inverse chi-squared priors):
//! with five points and nothing but them, no test is both silent about noise that lasts and sure of a leak that is plain to see
//! (the best of all that know no scale misses a third of those that the benchmark asks for at one false alarm in a thousand).
//! Linear in the number of points.

use super::slope::Point;
use super::trend::beyond;

/// What may last from one point to the next, each as likely as the next beforehand. Both ends are close to what can be: noise that
/// turns about each time, and a level that hardly comes back.
const SHARES: [f64; 14] = [-0.75, -0.6, -0.45, -0.3, -0.1, 0.1, 0.25, 0.4, 0.55, 0.7, 0.82, 0.9, 0.95, 0.985];

/// What is taken for granted of noise of which it is known how large it usually is: with few points, that decides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prior {
    /// What is known is as good as so many readings.
    pub(super) worth: f64,
    /// How large it may be beside what is usual, and how likely that is beforehand. Where all that was read lies far closer to its
    /// line than is usual, the noise is less. So few points that happen to lie on a line are not taken for noise that is next to
    /// nothing, and a series that has none is believed all the same.
    scales: &'static [(f64, f64)],
    /// No more of it lasts.
    most: f64,
}

/// To tell growth from noise. What a look is allowed is chosen for this.
pub(super) const FOR_GROWTH: Prior =
    Prior { worth: 4.0, scales: &[(1.0, 0.97), (0.1, 0.01), (0.01, 0.01), (0.001, 0.01)], most: 1.0 };
/// To tell a rate: an interval is wrong as often as it says where the noise is twice what is usual, too, as far as a few points tell.
const FOR_RATES: Prior = Prior {
    worth: 3.0,
    scales: &[(1.9, 0.08), (0.95, 0.8), (0.47, 0.09), (0.1, 0.01), (0.01, 0.01), (0.001, 0.01)],
    most: 0.95,
};
/// A level of which more than this lasts wanders so far that fewer points than so many could never tell it from growth.
const WANDERS: f64 = 0.9;
const MANY_POINTS: u32 = 40;
/// What weighs less does not move the ends of an interval.
const TOO_LIGHT: f64 = 1e-4;
/// Up to here Student's t is summed up, beyond it is near enough to a normal distribution's.
const MANY: u32 = 20;

/// A line for one share.
#[derive(Debug, Clone, Copy)]
struct Line {
    slope: f64,
    /// What is left beside it, squared; how many points that is worth; and what the slope's variance has of it.
    squares: f64,
    freedom: f64,
    lever: f64,
    /// The logarithm of the determinants.
    spread: f64,
}

/// The slope for one share.
#[derive(Debug, Clone, Copy)]
struct Slope {
    share: f64,
    /// How likely it makes the points, as a part of one.
    likely: f64,
    slope: f64,
    error: f64,
}

/// What the slope may be.
#[derive(Debug, Clone)]
pub(super) struct Slopes {
    slopes: Vec<Slope>,
    freedom: u32,
}

impl Slopes {
    /// `usual` is the standard deviation that such noise usually has, bytes; 0: nobody knows. `None` with fewer than four points,
    /// or without time between them.
    pub(super) fn of(points: &[Point], usual: f64) -> Option<Self> {
        Self::beside(points, &[], usual)
    }

    /// The same, to tell how fast it rises.
    pub(super) fn of_rate(points: &[Point], usual: f64) -> Option<Self> {
        Self::with(FOR_RATES, points, &[], usual)
    }

    /// The slope of `points`, judged by the noise of those `before`, too: a stretch that was chosen for its straightness tells
    /// too little of it.
    pub(super) fn beside(points: &[Point], before: &[Point], usual: f64) -> Option<Self> {
        Self::with(FOR_GROWTH, points, before, usual)
    }

    fn with(prior: Prior, points: &[Point], before: &[Point], usual: f64) -> Option<Self> {
        let gap = typical_gap(points)?;
        let mut freedom = 0.0;
        let mut slopes = Vec::with_capacity(SHARES.len() * prior.scales.len());
        for share in SHARES.into_iter().filter(|share| *share <= prior.most) {
            let line = fit(points, gap, share)?;
            let earlier = fit(before, gap, share);
            let squares = line.squares + earlier.map_or(0.0, |earlier| earlier.squares);
            let spread = line.spread + earlier.map_or(0.0, |earlier| earlier.spread);
            let own = line.freedom + earlier.map_or(0.0, |earlier| earlier.freedom);
            freedom = if usual > 0.0 { own + prior.worth } else { own };
            // The logarithm of how likely a scale makes the points, until all are there.
            let mut add = |squares: f64, scale: f64| {
                let likely = scale - (spread + freedom * squares.ln()) / 2.0;
                let error = (squares / freedom * line.lever).sqrt();
                slopes.push(Slope { share, likely, slope: line.slope, error });
            };
            if usual > 0.0 {
                for (scale, chance) in prior.scales {
                    let known = prior.worth * (scale * usual).powi(2);
                    add(squares + known, chance.ln() + prior.worth / 2.0 * known.ln());
                }
            } else {
                add(squares, 0.0);
            }
        }
        let best = slopes.iter().map(|slope| slope.likely).fold(f64::MIN, f64::max);
        slopes.iter_mut().for_each(|slope| slope.likely = (slope.likely - best).exp());
        let all: f64 = slopes.iter().map(|slope| slope.likely).sum();
        slopes.iter_mut().for_each(|slope| slope.likely /= all);
        Some(Self { slopes, freedom: freedom as u32 })
    }

    /// The chance of a slope of zero or less. Few points are not asked whether the level itself wanders.
    pub(super) fn chance_of_none(&self) -> f64 {
        let most = if self.freedom < MANY_POINTS { WANDERS } else { 1.0 };
        let likely = || self.slopes.iter().filter(|slope| slope.share <= most);
        let below = |slope: &Slope| {
            let beyond = beyond((slope.slope / slope.error).abs(), self.freedom);
            slope.likely * if slope.slope > 0.0 { beyond } else { 1.0 - beyond }
        };
        likely().map(below).sum::<f64>() / likely().map(|slope| slope.likely).sum::<f64>()
    }

    /// How far the 95 % interval reaches below and above the middle.
    pub(super) fn reach(&self) -> (f64, f64) {
        let [low, middle, high] = [0.025, 0.5, 0.975].map(|part| self.quantile(part));
        (middle - low, high - middle)
    }

    /// Where `part` of the chance lies below.
    fn quantile(&self, part: f64) -> f64 {
        let ends = |sign: f64| self.slopes.iter().map(move |s| s.slope + sign * 40.0 * s.error);
        let (mut low, mut high) = (ends(-1.0).fold(f64::MAX, f64::min), ends(1.0).fold(f64::MIN, f64::max));
        // Halved until it is nearer than anybody reads.
        for _ in 0..40 {
            let middle = f64::midpoint(low, high);
            if self.below(middle) < part { low = middle } else { high = middle }
        }
        f64::midpoint(low, high)
    }

    /// The chance of a slope below `limit`.
    fn below(&self, limit: f64) -> f64 {
        let heavy = || self.slopes.iter().filter(|slope| slope.likely > TOO_LIGHT);
        let below: f64 = heavy()
            .map(|slope| slope.likely * students((limit - slope.slope) / slope.error, self.freedom))
            .sum();
        below / heavy().map(|slope| slope.likely).sum::<f64>()
    }
}

/// The median time between points.
fn typical_gap(points: &[Point]) -> Option<f64> {
    let mut gaps: Vec<f64> = points.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    if gaps.is_empty() {
        return None;
    }
    let middle = gaps.len() / 2;
    Some(*gaps.select_nth_unstable_by(middle, f64::total_cmp).1).filter(|gap| *gap > 0.0)
}

/// What of the noise is left after `gaps` typical gaps. Noise that turns about does so from one point to the next only.
fn left(share: f64, gaps: f64) -> f64 {
    if share > 0.0 {
        share.powf(gaps)
    } else if gaps < 1.5 {
        share
    } else {
        0.0
    }
}

/// The line of least squares once `share` of the noise is taken to last; `None` with fewer than four points.
fn fit(points: &[Point], gap: f64, share: f64) -> Option<Line> {
    if points.len() < 4 {
        return None;
    }
    let count = points.len() as f64;
    let mean = points.iter().fold((0.0, 0.0), |sum, p| (sum.0 + p.0 / count, sum.1 + p.1 / count));
    // Sums over the points without what lasts: of ones, times, bytes, and of their products.
    let (mut oo, mut ot, mut tt, mut ob, mut tb, mut bb) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    let mut spread = 0.0;
    let mut before: Option<Point> = None;
    for point in points {
        let (time, bytes) = ((point.0 - mean.0) / gap, point.1 - mean.1);
        let (one, time_left, bytes_left) = match before {
            None => (1.0, time, bytes),
            Some((earlier, held)) => {
                let left = left(share, time - earlier);
                let rest = (1.0 - left * left).max(1e-9);
                spread += rest.ln();
                let scale = rest.sqrt();
                ((1.0 - left) / scale, (time - left * earlier) / scale, (bytes - left * held) / scale)
            }
        };
        oo += one * one;
        ot += one * time_left;
        tt += time_left * time_left;
        ob += one * bytes_left;
        tb += time_left * bytes_left;
        bb += bytes_left * bytes_left;
        before = Some((time, bytes));
    }
    let determinant = oo * tt - ot * ot;
    if determinant <= 0.0 {
        return None;
    }
    let level = (tt * ob - ot * tb) / determinant;
    let slope = (oo * tb - ot * ob) / determinant;
    // Counted bytes: a line without any noise is not surer than a thousandth of a byte, or than its own rounding.
    let squares = (bb - level * ob - slope * tb).max(bb * 1e-12).max(1e-6);
    Some(Line {
        slope: slope / gap,
        squares,
        freedom: count - 2.0,
        lever: oo / determinant / (gap * gap),
        spread: spread + determinant.ln(),
    })
}

/// The chance of Student's t below `score`.
fn students(score: f64, freedom: u32) -> f64 {
    let beyond = if freedom <= MANY { beyond(score.abs(), freedom) } else { nearly(score.abs(), freedom) };
    if score > 0.0 { 1.0 - beyond } else { beyond }
}

/// The chance beyond `score` of Student's t with many degrees of freedom: as that of a normal distribution (Wallace,
/// Annals of Mathematical Statistics 30, 1959), to seven places (Abramowitz and Stegun, 26.2.17).
fn nearly(score: f64, freedom: u32) -> f64 {
    let freedom = f64::from(freedom);
    let normal =
        (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0) * (freedom * (score * score / freedom).ln_1p()).sqrt();
    let t = 1.0 / (1.0 + 0.231_641_9 * normal);
    let series = t
        * (0.319_381_530
            + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    (-normal * normal / 2.0).exp() / std::f64::consts::TAU.sqrt() * series
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::Random;

    #[test]
    fn many_degrees_of_freedom_are_nearly_a_normal_distribution() {
        for freedom in [21, 50, 200] {
            for score in [0.0, 0.1, 1.0, 2.0, 3.0, 4.0] {
                let (found, exact) = (nearly(score, freedom), beyond(score, freedom));
                assert!((found - exact).abs() < 1e-4, "{score} {freedom}: {found}, not {exact}");
            }
        }
    }

    /// How often an interval of `count` points holds the truth when so much of the noise lasts, in per cent: where nobody knows how
    /// large it usually is, where that is what it is, and where it is half of that.
    fn check(count: u32, lasts: f64, least: f64, most: f64) {
        check_beside(0.0, count, lasts, least, most);
        check_beside(1000.0, count, lasts, least - 1.0, most + 1.0);
        check_beside(500.0, count, lasts, least - 5.0, most + 1.0);
    }

    fn check_beside(usual: f64, count: u32, lasts: f64, least: f64, most: f64) {
        let covers = |seed: u64| {
            let mut random = Random::new(seed);
            let mut noise = random.normal();
            let points: Vec<Point> = (0..count)
                .map(|at| {
                    let point = (f64::from(at), 1000.0 * (f64::from(at) + noise));
                    noise = lasts * noise + (1.0_f64 - lasts * lasts).sqrt() * random.normal();
                    point
                })
                .collect();
            let slopes = Slopes::of_rate(&points, usual).unwrap();
            slopes.quantile(0.025) <= 1000.0 && 1000.0 <= slopes.quantile(0.975)
        };
        let covered = (0..1000).filter(|seed| covers(*seed)).count() as f64 / 10.0;
        assert!((least..=most).contains(&covered), "{usual} {count} {lasts}: {covered} %");
    }

    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        check(12, 0.0, 95.0, 99.0);
        check(24, 0.0, 94.0, 98.0);
        check(12, 0.5, 92.0, 97.0);
        check(24, 0.5, 93.0, 98.0);
        check(48, 0.8, 92.0, 98.0);
        check(144, 0.8, 93.0, 98.0);
    }
}
