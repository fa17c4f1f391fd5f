//! Points in time, never more than a bound: when there are too many, each two neighbours become their mean, and from then on
//! twice as many readings go into one point. So every reading weighs the same, however old; and what comes and goes between two
//! points is averaged, where every second reading alone could make a slow rise of it.
//! Never tells what a single reading was, the newest apart.

use super::slope::Point;

/// When readings were taken.
#[derive(Debug)]
pub(super) struct Timeline {
    most: usize,
    /// The mean instant of each point's readings.
    seconds: Vec<f64>,
    newest: f64,
    /// Readings in the last point.
    in_last: u64,
    /// Readings so far.
    seen: u64,
    /// Readings in each other point.
    stride: u64,
}

/// What a new reading does to every list of values beside the timeline.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edit {
    /// Each two neighbours become their mean, first.
    halve: bool,
    place: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    New,
    /// Into the last point, which holds so many readings by then.
    Into(u64),
    OfTheLast,
    Nowhere,
}

impl Timeline {
    /// Keeps at most `most` points, at least two.
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(2), seconds: Vec::new(), newest: f64::MIN, in_last: 0, seen: 0, stride: 1 }
    }

    /// Takes the instant of the next reading. One that is not after the last takes its place, or none where the last is part of
    /// a mean already.
    pub(super) fn push(&mut self, seconds: f64) -> Edit {
        if self.seen > 0 && seconds <= self.newest {
            let place = if self.in_last == 1 { Place::OfTheLast } else { Place::Nowhere };
            return Edit { halve: false, place };
        }
        let is_full = self.in_last == self.stride;
        let halve = is_full && self.seconds.len() == self.most;
        if halve {
            // A last one without a neighbour is half full by then.
            self.stride *= 2;
        }
        let goes_on = self.seen > 0 && (!is_full || halve && self.most % 2 == 1);
        self.in_last = if goes_on { self.in_last + 1 } else { 1 };
        let edit = Edit { halve, place: if goes_on { Place::Into(self.in_last) } else { Place::New } };
        edit.apply(&mut self.seconds, seconds);
        self.newest = seconds;
        self.seen += 1;
        edit
    }

    pub(super) fn seconds(&self) -> &[f64] {
        &self.seconds
    }

    /// The part of the last point that is the newest reading's.
    pub(super) fn newest_part(&self) -> f64 {
        1.0 / self.in_last.max(1) as f64
    }

    /// Readings so far.
    pub(super) fn seen(&self) -> u32 {
        u32::try_from(self.seen).unwrap_or(u32::MAX)
    }
}

impl Edit {
    pub(super) fn apply(self, values: &mut Vec<f64>, value: f64) {
        if self.halve {
            let halved = values.len().div_ceil(2);
            for index in 0..halved {
                let second = values.get(2 * index + 1).copied();
                values[index] =
                    second.map_or(values[2 * index], |second| f64::midpoint(values[2 * index], second));
            }
            values.truncate(halved);
        }
        match (self.place, values.last_mut()) {
            (Place::New, _) | (_, None) => values.push(value),
            (Place::Into(count), Some(last)) => *last += (value - *last) / count as f64,
            (Place::OfTheLast, Some(last)) => *last = value,
            (Place::Nowhere, _) => {}
        }
    }
}

/// One number over time.
#[derive(Debug)]
pub(super) struct Series {
    timeline: Timeline,
    values: Vec<f64>,
    newest: Option<f64>,
}

impl Series {
    pub(super) fn new(most: usize) -> Self {
        Self { timeline: Timeline::new(most), values: Vec::new(), newest: None }
    }

    pub(super) fn push(&mut self, seconds: f64, value: f64) {
        self.timeline.push(seconds).apply(&mut self.values, value);
        self.newest = Some(value);
    }

    pub(super) fn points(&self) -> Vec<Point> {
        self.timeline.seconds.iter().copied().zip(self.values.iter().copied()).collect()
    }

    /// The newest reading.
    pub(super) fn last(&self) -> Option<f64> {
        self.newest
    }

    /// Readings so far.
    pub(super) fn seen(&self) -> u32 {
        self.timeline.seen()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reading_weighs_the_same_however_many_there_are() {
        for most in [2, 3, 8, 144] {
            let mut series = Series::new(most);
            let mut sum = 0.0;
            for second in 0..1_000 {
                let value = f64::from(second * 7919 % 1000);
                sum += value;
                series.push(f64::from(second), value);
                let points = series.points();
                assert!(points.len() <= most, "{} of {most}", points.len());
                let (stride, in_last) = (series.timeline.stride as f64, series.timeline.in_last as f64);
                let weigh = |(index, point): (usize, &Point)| {
                    point.1 * if index + 1 == points.len() { in_last } else { stride }
                };
                let weighed: f64 = points.iter().enumerate().map(weigh).sum();
                assert!((weighed - sum).abs() < 1e-6, "{most} {second}: {weighed}, not {sum}");
                let full = &points[..points.len() - 1];
                assert!(full.windows(2).all(|pair| pair[1].0 - pair[0].0 == stride), "{points:?}");
                assert_eq!(series.last(), Some(value));
            }
            assert_eq!(series.seen(), 1_000);
        }
    }

    #[test]
    fn what_comes_and_goes_faster_than_points_do_is_no_slow_rise() {
        // A sawtooth of 4.1 readings: every fourth alone would climb for forty of them, and fall back.
        let mut series = Series::new(16);
        for second in 0..64 {
            series.push(f64::from(second), f64::from(second) / 4.1 % 1.0);
        }
        let points = series.points();
        assert!(points.iter().all(|point| (0.2..0.8).contains(&point.1)), "{points:?}");
    }

    #[test]
    fn a_reading_at_the_same_instant_takes_the_place_of_the_last() {
        let mut series = Series::new(8);
        series.push(1.0, 10.0);
        series.push(1.0, 20.0);
        assert_eq!(series.points(), [(1.0, 20.0)]);
    }
}
