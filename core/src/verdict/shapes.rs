//! Shapes of a series that are no straight line: steps, sawteeth, tides, rises that ended.
//! Never says whether any of them leaks.

use super::slope::Point;
use super::trend::{Line, beyond, inflation};

/// Jumps make up this share of the growth of a series that rises in steps, or jumped once.
pub(super) const MOST_OF_IT: f64 = 0.7;
/// A jump is so many times the typical change.
pub(super) const JUMP: f64 = 6.0;
/// What comes and goes between readings falls by this part of all that it moves in, so often at least.
const FALL: f64 = 0.25;
const FALLS: usize = 3;
/// A tide's wave makes up this share of the squares, is met so often at least, and no oftener than is looked for.
const WAVE: f64 = 0.6;
const FEWEST_WAVES: f64 = 2.5;
const MOST_WAVES: f64 = 12.0;
const READINGS_PER_WAVE: f64 = 4.0;
/// A rise that ended takes so many points at least to be seen, and its chance without one is below this.
const ENOUGH_FOR_KNEE: usize = 10;
const KNEE: f64 = 1e-3;

/// Three jumps or more, with rest between them, make up the growth.
pub(super) fn in_steps(points: &[Point]) -> bool {
    let far = JUMP * typical_change(points);
    let (mut jumps, mut bytes, mut back) = (0_usize, 0.0, 0.0);
    let mut latest = 0;
    for (at, change) in changes_of(points).enumerate() {
        if change > far {
            // One jump may take some readings, as a start-up does.
            jumps += usize::from(jumps == 0 || at > latest + 1);
            bytes += change;
            latest = at;
        } else if change < -far {
            back -= change;
        }
    }
    let rise = points.last().zip(points.first()).map_or(0.0, |(last, first)| last.1 - first.1);
    let goes_on = latest >= points.len() / 2;
    jumps >= 3 && 3 * jumps <= points.len() && goes_on && bytes > MOST_OF_IT * rise && back < 0.2 * bytes
}

/// Falls again and again by a good part of all that it moves in, however it got up again: what is collected between two
/// readings, which meet it anywhere between full and empty.
pub(super) fn comes_and_goes(points: &[Point], floor: f64) -> bool {
    let range = usual_range(points);
    range > floor && changes_of(points).filter(|change| -change >= FALL * range).count() >= FALLS
}

/// Rises for some points and falls at once, twice at least, each time by half of what it moves in, a few extremes apart. Noise
/// rises as often as it falls.
pub(super) fn is_sawtooth(points: &[Point], floor: f64) -> bool {
    let range = usual_range(points);
    if range <= floor {
        return false;
    }
    let falls = changes_of(points).filter(|change| -change >= 0.5 * range).count();
    let (down, up) = (
        changes_of(points).filter(|change| *change < -0.1 * range).count(),
        changes_of(points).filter(|change| *change > 0.1 * range).count(),
    );
    falls >= 2 && 5 * up >= 9 * down
}

/// How far it moves, a tenth at either end apart.
fn usual_range(points: &[Point]) -> f64 {
    let mut sorted: Vec<f64> = points.iter().map(|point| point.1).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let usual = sorted.get(sorted.len() / 10..sorted.len() - sorted.len() / 10).unwrap_or_default();
    usual.last().zip(usual.first()).map_or(0.0, |(last, first)| last - first)
}

/// Rises and falls slowly, again and again: a load that follows the day. One wave explains most of what it moves by; noise has
/// no wave of its own, and what wanders has one that is longer than it was watched for.
pub(super) fn is_tide(points: &[Point], floor: f64) -> bool {
    let count = points.len() as f64;
    let span = points.last().zip(points.first()).map_or(0.0, |(last, first)| last.0 - first.0);
    if range(points) <= floor || span <= 0.0 {
        return false;
    }
    let mean = points.iter().map(|point| point.1).sum::<f64>() / count;
    let all: f64 = points.iter().map(|point| (point.1 - mean).powi(2)).sum();
    let most = (count / READINGS_PER_WAVE).min(MOST_WAVES);
    let waves = (0..).map(|step| FEWEST_WAVES + 0.5 * f64::from(step)).take_while(|waves| *waves <= most);
    waves.into_iter().any(|waves| wave(points, mean, std::f64::consts::TAU * waves / span) >= WAVE * all)
}

/// The squares that a wave of so many radians per second explains.
fn wave(points: &[Point], mean: f64, speed: f64) -> f64 {
    let (mut cc, mut cs, mut ss, mut cb, mut sb) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for point in points {
        // Not by `sin_cos`: the compiler makes a call of it that not every C library has.
        let phase = speed * point.0;
        let (sine, cosine) = ((phase - std::f64::consts::FRAC_PI_2).cos(), phase.cos());
        let bytes = point.1 - mean;
        cc += cosine * cosine;
        cs += cosine * sine;
        ss += sine * sine;
        cb += cosine * bytes;
        sb += sine * bytes;
    }
    let determinant = cc * ss - cs * cs;
    if determinant <= 0.0 {
        return 0.0;
    }
    (ss * cb * cb - 2.0 * cs * cb * sb + cc * sb * sb) / determinant
}

/// By how much it rose before it levelled off, if it surely did: a straight rise up to some point in the first half, and none
/// from there on, fits better than noise about a level would.
pub(super) fn levelled_rise(points: &[Point]) -> Option<f64> {
    if points.len() < ENOUGH_FOR_KNEE {
        return None;
    }
    let start = points.first()?.0;
    let knees = points.len() / 2;
    let fits = points.iter().take(knees).skip(1).filter_map(|knee| {
        let bent: Vec<Point> = points.iter().map(|point| (point.0.min(knee.0), point.1)).collect();
        let line = Line::through(&bent)?;
        let rest: Vec<f64> = bent.iter().map(|point| point.1 - line.at(point.0)).collect();
        let squares: f64 = rest.iter().map(|rest| rest * rest).sum();
        Some((squares, line, knee.0, rest))
    });
    let (squares, line, knee, rest) = fits.min_by(|one, other| one.0.total_cmp(&other.0))?;
    let freedom = points.len() as f64 - 3.0;
    let explained = line.slope * line.slope * line.spread;
    // A byte of noise, as for cuts.
    let noise = (squares / freedom).max(1.0) * inflation(&rest);
    let chance = knees as f64 * beyond((explained / noise).sqrt(), freedom as u32);
    (line.slope > 0.0 && chance < KNEE).then_some(line.slope * (knee - start))
}

/// From the lowest to the highest.
pub(super) fn range(points: &[Point]) -> f64 {
    let ends = points.iter().fold((f64::MAX, f64::MIN), |ends, p| (ends.0.min(p.1), ends.1.max(p.1)));
    (ends.1 - ends.0).max(0.0)
}

pub(super) fn changes_of(points: &[Point]) -> impl Iterator<Item = f64> {
    points.windows(2).map(|pair| pair[1].1 - pair[0].1)
}

/// The median change from one point to the next, whichever way.
pub(super) fn typical_change(points: &[Point]) -> f64 {
    let mut changes: Vec<f64> = changes_of(points).map(f64::abs).collect();
    let middle = changes.len() / 2;
    if changes.is_empty() { 0.0 } else { *changes.select_nth_unstable_by(middle, f64::total_cmp).1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{Random, Recipe};

    /// Of 200 series of 25 points of `recipe`, how many are tides, and how many rose and levelled off.
    fn count(recipe: Recipe) -> (usize, usize) {
        let series = |seed| {
            let points = recipe.series(24, &mut Random::new(seed));
            points.into_iter().map(|(tick, bytes)| (f64::from(tick), bytes)).collect::<Vec<Point>>()
        };
        let all: Vec<_> = (0..200).map(series).collect();
        let of = |is: &dyn Fn(&[Point]) -> bool| all.iter().filter(|points| is(points)).count();
        (of(&|points| is_tide(points, 1.0)), of(&|points| levelled_rise(points).is_some()))
    }

    #[test]
    fn noise_is_no_tide_and_no_rise_that_ended() {
        let noise = Recipe { noise: 100.0, ..Recipe::default() };
        let (tides, rises) = count(noise);
        assert!(tides == 0 && rises <= 1, "{tides} {rises}");
        let (tides, rises) = count(Recipe { lasts: 0.5, ..noise });
        assert!(tides <= 2 && rises <= 2, "{tides} {rises}");
    }

    #[test]
    fn a_cache_that_filled_has_risen_and_levelled_off() {
        let fills = Recipe { noise: 100.0, warm_up: Some((1000.0, 3.0)), ..Recipe::default() };
        let (tides, rises) = count(fills);
        assert!(tides == 0 && rises > 170, "{tides} {rises}");
        let points: Vec<Point> =
            (0..24).map(|at| (f64::from(at), f64::from(at.min(6) * 100 + at % 2))).collect();
        let rise = levelled_rise(&points).unwrap();
        assert!((rise - 600.0).abs() < 5.0, "{rise}");
    }

    #[test]
    fn a_first_tooth_that_is_higher_hides_no_sawtooth() {
        let after_collections = [
            4952, 6728, 8696, 1388, 3188, 5196, 1636, 3636, 5620, 2324, 4436, 6564, 3149, 5269, 1741, 3733,
            5789, 2365, 4405, 6389, 3292, 5372,
        ];
        let points: Vec<Point> = (0..).map(f64::from).zip(after_collections.map(f64::from)).collect();
        assert!(is_sawtooth(&points, 1024.0));
    }

    #[test]
    fn a_load_that_follows_the_day_is_a_tide_beside_noise() {
        let mut random = Random::new(1);
        let points: Vec<Point> = (0..25)
            .map(|at| (f64::from(at), 500.0 * (f64::from(at) * 0.785).sin() + 150.0 * random.normal()))
            .collect();
        assert!(is_tide(&points, 100.0));
    }
}
