//! What one series looks like: leak or not, of which kind, how fast. A series is looked at again at each tick, and every look
//! is a chance to err; so the looks share one small chance of a false alarm (`allowed`), however long the session.
//! Never knows what the series is about.
//!
//! It leaks when a straight line through all of it, or through its last stretch, rises, which is that
//! - the chance of such a slope without growth is below what this look is allowed (`lasting`: an unknown share of the
//!   noise lasts). As long as too few points tell whether noise lasts, a level that wanders must not explain it either;
//! - it rose by more than `floor` bytes in that time;
//! - it still rises: the later half by at least a quarter of the whole's slope.

use super::lasting::Slopes;
use super::segments::{SHORTEST, changes};
use super::shapes::{
    JUMP, MOST_OF_IT, changes_of, in_steps, is_sawtooth, is_tide, levelled_rise, range, typical_change,
};
use super::slope::{MIN_POINTS, Point, rate_beside, slope};
use super::trend::{Line, Trend, increments_chance, straightened, trend, without_spikes};
use super::{Evidence, Kind, Rate};

/// The chance of a false alarm that a look is allowed: the first one, whose power is wanted, and the one after [`MOST_AT`] points.
/// Twice as many points are allowed a quarter of that: what all looks of a session are allowed adds up to no more than a fifth of a
/// percent, however long it is. Half as many are allowed a sixteenth: with few, little is known of the noise, a start-up is near,
/// and a leak that is worth an early word is told by far less. No look is told from its neighbours: a leak is found as soon where
/// ticks are missed.
const FIRST_LOOK: f64 = 2e-6;
const LOOK: f64 = 4e-5;
const MOST_AT: f64 = 20.0;
/// What was told at one look stays until its chance is above this.
const STAYS: f64 = 1e-3;
/// With this many points or fewer, a level that wanders without a direction must not explain the growth: its chance is at most
/// this, and the series is so straight (a start-up is a curve). The first look is not asked: with so few points, this would be
/// too much.
const FEW_POINTS: usize = 8;
const WANDERS: f64 = 2e-3;
const STRAIGHT: f64 = 0.985;
/// A series that slows down for sure (its bend in standard errors) must rise in its later half by itself. After the first look,
/// few points are asked for less: a start-up is still near, and a leak is seen a reading later.
const SLOWS: f64 = -3.0;
const SLOWS_FIRST: f64 = -2.5;
const SLOWS_EARLY: [(usize, f64); 2] = [(FEW_POINTS, -1.5), (15, -2.0)];
const LATER_HALF_RISES: f64 = 0.01;
/// The chance of a fall that is none, for a series to be called shrinking.
const SHRINKS: f64 = 5e-4;
/// A stretch that was chosen by its looks is believed less, and its chance must be below this by itself.
const CHOSEN: f64 = 0.03;
const BY_ITSELF: f64 = 1e-4;
/// Growth that has slowed to less than this share of its whole rate in the later half is a warm-up that levels off.
const STILL_GROWING: f64 = 0.25;
/// The same while so few points tell little of a bend.
const STILL_GROWING_EARLY: f64 = 0.5;
/// A start is up to so many points, and so many are needed to see one.
const START: usize = 3;
const ENOUGH_AFTER_START: usize = 12;
/// Bends in standard errors: beyond this, growth accelerates.
const BENT: f64 = 5.0;
/// So much more may be left beside one curve than beside several straight lines, which have more to fit with.
const AS_WELL: f64 = 1.5;
/// A stretch of fewer points does not end a rise: a program that is about to exit is quiet, too.
const ENOUGH_TO_END: usize = 7;

/// How a series is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bar {
    /// Growth of less is nothing, bytes.
    pub(super) floor: f64,
    /// The chance of a false alarm that this look is allowed.
    pub(super) allowed: f64,
    /// The standard deviation that noise usually has here, bytes; 0: nobody knows.
    pub(super) usual: f64,
    /// It is the first look.
    pub(super) is_first: bool,
}

impl Bar {
    /// For the `look`-th look at a series, from 1.
    pub(super) fn at(look: u32, floor: f64, usual: f64) -> Self {
        let is_first = look <= MIN_POINTS;
        // The first reading is no point.
        let points = f64::from(look.saturating_sub(1).max(1));
        let away = (points / MOST_AT).powi(4).min((MOST_AT / points).powi(2));
        let allowed = if is_first { FIRST_LOOK } else { LOOK * away };
        Self { floor, allowed, usual, is_first }
    }

    /// For a series that was told to leak at the look before.
    pub(super) fn once_told(self) -> Self {
        Self { allowed: self.allowed.max(STAYS), ..self }
    }
}

/// What a series looks like.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Judged {
    pub(super) kind: Kind,
    pub(super) rate: Option<Rate>,
    /// The chance of a slope like that of the stretch that `rate` is about, if there were no growth.
    pub(super) chance: Option<f64>,
    /// For how many seconds the series has been as it is now; `None`: all the time.
    pub(super) lasting: Option<f64>,
}

impl Judged {
    pub(super) const UNSURE: Self =
        Self { kind: Kind::NotEnoughData, rate: None, chance: None, lasting: None };

    pub(super) fn evidence(&self) -> Evidence {
        Evidence { chance: self.chance, lasting_seconds: self.lasting, explained: None, uncollected: false }
    }
}

/// Judges `points`, of which there are never more than a bound.
pub(super) fn judge(points: &[Point], bar: Bar) -> Judged {
    if points.len() < MIN_POINTS as usize {
        return Judged::UNSURE;
    }
    let all = without_spikes(points);
    let clean = without_start(all.clone());
    let Some(whole) = trend(&clean, bar.usual) else { return Judged::UNSURE };
    let cuts = changes(&clean);
    let last = cuts.last().map_or(&clean[..], |cut| &clean[*cut..]);
    let now = trend(last, bar.usual).unwrap_or(whole);

    // Steps are where it changes, too; they come first.
    let is_steps = rises(&clean, &whole, &[], bar) && in_steps(&clean);
    if !is_steps && !cuts.is_empty() && last.len() >= SHORTEST {
        let chosen = Bar { allowed: bar.allowed * CHOSEN, ..bar };
        let before = &clean[cuts.iter().rev().nth(1).copied().unwrap_or(0)..clean.len() - last.len()];
        // What was before lends it its noise, not its straightness: two odd readings at the cut are no rise.
        let by_itself = Bar { allowed: BY_ITSELF, ..bar };
        let rises = rises(last, &now, before, chosen) && rises(last, &now, &[], by_itself);
        if rises && still_rises(last, &now, bar) {
            let kind = match leak_kind(&clean, &whole) {
                _ if in_steps(&clean) => Kind::LeakInSteps,
                Kind::AcceleratingLeak if bends_all_along(&clean, &cuts, bar) => Kind::AcceleratingLeak,
                _ => leak_kind(last, &now),
            };
            return told(kind, last, true, bar);
        }
    }
    if is_steps || rises(&clean, &whole, &[], bar) {
        if is_steps {
            return told(Kind::LeakInSteps, &clean, false, bar);
        }
        // A few points at the end that may as well rise as the whole does are no plateau.
        let goes_on = || {
            last.len() < ENOUGH_TO_END
                || rate_beside(last, bar.usual).is_some_and(|rate| rate.high >= whole.slope)
        };
        if still_rises(&clean, &whole, bar) && (now.slope > STILL_GROWING * whole.slope || goes_on()) {
            return told(leak_kind(&clean, &whole), &clean, false, bar);
        }
    }
    let mut kind = innocent(&clean, last, &whole, bar);
    if kind == Kind::Quiet && clean.len() + 2 * START <= all.len() && levelled_rise(&all) >= Some(bar.floor) {
        // What takes all the readings that a start may take was more than one.
        kind = Kind::Plateau;
    }
    let stretch = if last.len() >= SHORTEST { last } else { &clean[..] };
    told(kind, stretch, !cuts.is_empty(), bar)
}

/// `points` without the first ones, up to three, where something begins that is none of what comes after: a rise to the next
/// one as none of the others; and without as many again, in which it levels off. With few points, that cannot be told.
fn without_start(mut points: Vec<Point>) -> Vec<Point> {
    if points.len() < ENOUGH_AFTER_START {
        return points;
    }
    let far = JUMP * typical_change(&points);
    let rises: Vec<bool> = changes_of(&points).take(START).map(|change| change > far).collect();
    let begun = rises.iter().rposition(|rises| *rises);
    let is_other = |at: usize| changes_of(&points).skip(at + 1).all(|change| change.abs() < far);
    match begun.filter(|at| is_other(*at)) {
        Some(at) => points.split_off(2 * (at + 1)),
        None => points,
    }
}

fn told(kind: Kind, stretch: &[Point], is_part: bool, bar: Bar) -> Judged {
    let Some(rate) = rate_beside(stretch, bar.usual) else { return Judged::UNSURE };
    let chance = Slopes::of(stretch, bar.usual).map(|slopes| slopes.chance_of_none());
    Judged { kind, rate: Some(rate), chance, lasting: is_part.then(|| span(stretch)) }
}

/// Whether `points` rise beyond chance and beyond what is nothing.
fn rises(points: &[Point], trend: &Trend, before: &[Point], bar: Bar) -> bool {
    trend.slope > 0.0
        && trend.slope * span(points) > bar.floor
        && is_no_wandering(points, trend, bar)
        && Slopes::beside(&straightened(points, bar.usual), before, bar.usual)
            .is_some_and(|slopes| slopes.chance_of_none() <= bar.allowed)
        && rate_beside(points, bar.usual).is_some_and(|rate| rate.low > 0.0)
}

fn is_no_wandering(points: &[Point], trend: &Trend, bar: Bar) -> bool {
    let is_asked = points.len() <= FEW_POINTS && !bar.is_first;
    !is_asked || trend.straight >= STRAIGHT && increments_chance(points) <= WANDERS
}

fn still_rises(points: &[Point], trend: &Trend, bar: Bar) -> bool {
    let whole = slope(points).unwrap_or(0.0);
    let later = &points[points.len() / 2..];
    let least = if points.len() <= FEW_POINTS { STILL_GROWING_EARLY } else { STILL_GROWING };
    let early = || SLOWS_EARLY.iter().find(|(most, _)| points.len() <= *most);
    let slowest = if bar.is_first { SLOWS_FIRST } else { early().map_or(SLOWS, |(_, bend)| *bend) };
    let slows = trend.bend < slowest;
    slope(later).unwrap_or(0.0) > least * whole
        && (!slows
            || Slopes::of(later, bar.usual).is_some_and(|slopes| slopes.chance_of_none() <= LATER_HALF_RISES))
}

fn leak_kind(points: &[Point], trend: &Trend) -> Kind {
    let half = points.len() / 2;
    let (early, late) = (slope(&points[..=half]).unwrap_or(0.0), slope(&points[half..]).unwrap_or(0.0));
    if trend.bend > BENT && late > 1.5 * early { Kind::AcceleratingLeak } else { Kind::SteadyLeak }
}

/// Whether one curve fits about as well as the straight stretches between `cuts`.
fn bends_all_along(points: &[Point], cuts: &[usize], bar: Bar) -> bool {
    let squares = |points: &[Point]| Line::through(points).map_or(0.0, |line| line.squares(points));
    let ends = cuts.iter().copied().chain([points.len()]);
    let starts = [0].into_iter().chain(cuts.iter().copied());
    let straight: f64 = starts.zip(ends).filter_map(|(from, to)| points.get(from..to)).map(squares).sum();
    squares(&straightened(points, bar.usual)) <= AS_WELL * straight
}

/// What a series that does not leak looks like.
fn innocent(points: &[Point], last: &[Point], whole: &Trend, bar: Bar) -> Kind {
    let rise = level(last.len().min(SHORTEST), points.iter().rev()) - level(2, points.iter());
    let shrinks = || {
        slope(&points[points.len() / 2..]).unwrap_or(0.0) < STILL_GROWING * whole.slope
            && Slopes::of(points, bar.usual).is_some_and(|slopes| 1.0 - slopes.chance_of_none() < SHRINKS)
    };
    if whole.slope < 0.0 && -whole.slope * span(points) > bar.floor && shrinks() {
        return Kind::Shrinking;
    }
    if is_sawtooth(points, bar.floor) || is_tide(points, bar.floor) {
        return Kind::Sawtooth;
    }
    let is_plain = rise >= 0.5 * range(points) && rise >= 4.0 * typical_change(points);
    let rise = if is_plain { Some(rise) } else { levelled_rise(points) };
    let Some(rise) = rise.filter(|rise| *rise >= bar.floor) else { return Kind::Quiet };
    // It may still rise, too little to be sure.
    let later = if last.len() < points.len() { last } else { &points[points.len() / 2..] };
    if slope(later).unwrap_or(0.0) * span(later) > STILL_GROWING * rise {
        return Kind::Quiet;
    }
    let highest = changes_of(points).fold(0.0, f64::max);
    if highest > MOST_OF_IT * rise { Kind::OneOff } else { Kind::Plateau }
}

/// The mean of the first `count` of `points`.
fn level<'a>(count: usize, points: impl Iterator<Item = &'a Point>) -> f64 {
    points.take(count).map(|point| point.1).sum::<f64>() / count.max(1) as f64
}

pub(super) fn span(points: &[Point]) -> f64 {
    points.last().zip(points.first()).map_or(0.0, |(last, first)| last.0 - first.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{Random, Recipe};

    /// Values at 0, 1, 2, … seconds, at the last of as many looks; anything above a hundred is growth.
    fn check(values: &str, expected: Kind) {
        let points: Vec<Point> = values
            .split_whitespace()
            .enumerate()
            .map(|(at, value)| (at as f64, value.parse().unwrap()))
            .collect();
        let judged = judge(&points, Bar::at(points.len() as u32, 100.0, 0.0));
        assert_eq!(judged.kind, expected, "{judged:?}: {values}");
    }

    fn series(of: impl Fn(u32) -> u32) -> String {
        (0..24).map(|at| format!("{} ", of(at) + at * 7 % 5)).collect()
    }

    #[test]
    fn each_kind_is_told() {
        check("1 2 3 4", Kind::NotEnoughData);
        check(&series(|_| 5000), Kind::Quiet);
        check(&series(|at| 100 * at), Kind::SteadyLeak);
        check(&series(|at| at * at * 10), Kind::AcceleratingLeak);
        check(&series(|at| at / 4 * 1000), Kind::LeakInSteps);
        check(&series(|at| if at < 9 { 100 * at } else { 900 }), Kind::Plateau);
        check(&series(|at| if at < 9 { 100 } else { 9000 }), Kind::OneOff);
        check(&series(|at| 1000 + at % 6 * 500), Kind::Sawtooth);
        check(&series(|at| 9000 - 100 * at), Kind::Shrinking);
    }

    #[test]
    fn a_curve_that_may_be_cut_into_lines_accelerates() {
        // Python's bytes in KiB, of a program that keeps more and more, and lets go of some at its end.
        let values = "7950 8016 8066 8111 8078 8094 8255 8309 8419 8536 8653 8811 9007 9138 9282 9556 9774 9996 10201 10457 \
            10728 10943 11290 11633 11383";
        let points: Vec<Point> = (0..)
            .map(|at| f64::from(at) / 2.0)
            .zip(values.split_whitespace().map(|value| value.parse().unwrap()))
            .collect();
        for looks in 16..=points.len() {
            let judged = judge(&points[..looks], Bar::at(looks as u32 + 1, 64.0, 25.0));
            assert!(judged.kind == Kind::AcceleratingLeak || looks < 20, "{looks}: {judged:?}");
        }
    }

    #[test]
    fn a_leak_that_begins_late_is_told_with_its_own_rate() {
        let values = series(|at| 500 + at.saturating_sub(12) * 300);
        let points: Vec<Point> = values
            .split_whitespace()
            .enumerate()
            .map(|(at, value)| (at as f64, value.parse().unwrap()))
            .collect();
        let judged = judge(&points, Bar::at(24, 100.0, 0.0));
        assert_eq!(judged.kind, Kind::SteadyLeak, "{judged:?}");
        assert!((judged.rate.unwrap().bytes_per_second - 300.0).abs() < 10.0, "{judged:?}");
        assert!((10.0..=12.0).contains(&judged.lasting.unwrap()), "{judged:?}");
    }

    #[test]
    fn a_start_that_ends_before_the_second_point_hides_no_leak() {
        check(&series(|at| if at == 0 { 100 } else { 9000 + 50 * at }), Kind::SteadyLeak);
        check(&series(|at| if at == 0 { 100 } else { 9000 }), Kind::Quiet);
    }

    #[test]
    fn a_load_that_follows_the_day_is_a_sawtooth() {
        let day = |at: u32| 1000.0 + 500.0 * (f64::from(at) * std::f64::consts::TAU / 8.0).sin();
        check(&series(|at| day(at) as u32), Kind::Sawtooth);
    }

    #[test]
    fn a_sawtooth_that_is_cut_off_is_one() {
        check(&series(|at| 1000 + at % 3 * 500 + at % 2 * 80), Kind::Sawtooth);
    }

    #[test]
    fn the_looks_of_a_session_share_one_small_chance_however_long_it_is() {
        let sum = |looks: u32| (1..=looks).map(|look| Bar::at(look, 0.0, 0.0).allowed).sum::<f64>();
        assert!(sum(288) < 2e-3 && sum(1_000_000) < 2e-3, "{} {}", sum(288), sum(1_000_000));
    }

    #[test]
    fn a_leak_is_told_where_ticks_are_missed_and_where_they_are_not() {
        for missed in [0.0, 0.2] {
            let recipe = Recipe { per_tick: 0.36e6, noise: 0.72e6, missed, ..Recipe::default() };
            let is_told = |seed: &u64| {
                let series = recipe.series(24, &mut Random::new(*seed));
                // The first reading is no point.
                let points: Vec<Point> =
                    series[1..].iter().map(|(tick, bytes)| (f64::from(*tick) * 300.0, *bytes)).collect();
                judge(&points, Bar::at(series.len() as u32, 65_536.0, 0.7e6)).kind.leaks()
            };
            let told = (0..200).filter(is_told).count();
            assert!(told > 165, "{told} of 200 where {missed} are missed");
        }
    }

    #[test]
    fn one_odd_reading_is_no_jump() {
        check(&series(|at| if at == 9 { 9000 } else { 100 }), Kind::Quiet);
    }
}
