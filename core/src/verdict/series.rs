//! Points in time, never more than a bound: when there are too many, every second one goes, and from then on only every
//! second reading is kept, so that all of the time weighs the same. The newest reading is always there.

use super::slope::Point;

/// When readings were kept.
#[derive(Debug)]
pub(super) struct Timeline {
    most: usize,
    seconds: Vec<f64>,
    /// Readings so far.
    seen: u64,
    /// Every how many-th reading is kept.
    stride: u64,
}

/// What a new reading does to every list of values beside the timeline, before its value is pushed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edit {
    drop_last: bool,
    drop_every_second: bool,
}

impl Timeline {
    /// Keeps at most `most` points, at least two.
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(2), seconds: Vec::new(), seen: 0, stride: 1 }
    }

    /// Takes the instant of the next reading. One that is not after the last takes its place.
    pub(super) fn push(&mut self, seconds: f64) -> Edit {
        if self.seconds.last().is_some_and(|last| *last >= seconds) {
            return Edit { drop_last: true, drop_every_second: false };
        }
        let last_is_extra = self.seen > 0 && !(self.seen - 1).is_multiple_of(self.stride);
        let kept = self.seconds.len() - usize::from(last_is_extra);
        let edit = Edit { drop_last: last_is_extra, drop_every_second: kept == self.most };
        edit.apply(&mut self.seconds);
        if edit.drop_every_second {
            self.stride *= 2;
        }
        self.seconds.push(seconds);
        self.seen += 1;
        edit
    }

    pub(super) fn seconds(&self) -> &[f64] {
        &self.seconds
    }

    /// Readings so far, kept or not.
    pub(super) fn seen(&self) -> u32 {
        u32::try_from(self.seen).unwrap_or(u32::MAX)
    }
}

impl Edit {
    pub(super) fn apply<T>(self, values: &mut Vec<T>) {
        if self.drop_last {
            values.pop();
        }
        if self.drop_every_second {
            let mut index = 0_usize;
            values.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
    }
}

/// One number over time.
#[derive(Debug)]
pub(super) struct Series {
    timeline: Timeline,
    values: Vec<f64>,
}

impl Series {
    pub(super) fn new(most: usize) -> Self {
        Self { timeline: Timeline::new(most), values: Vec::new() }
    }

    pub(super) fn push(&mut self, seconds: f64, value: f64) {
        self.timeline.push(seconds).apply(&mut self.values);
        self.values.push(value);
    }

    pub(super) fn points(&self) -> Vec<Point> {
        self.timeline.seconds.iter().copied().zip(self.values.iter().copied()).collect()
    }

    pub(super) fn last(&self) -> Option<f64> {
        self.values.last().copied()
    }

    /// Readings so far, kept or not.
    pub(super) fn seen(&self) -> u32 {
        self.timeline.seen()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_stay_within_the_bound_evenly_spaced_and_end_with_the_newest() {
        for most in [2, 3, 8, 144] {
            let mut series = Series::new(most);
            for second in 0..1_000 {
                series.push(f64::from(second), 5.0 * f64::from(second));
                let points = series.points();
                assert!(points.len() <= most + 1, "{} of {most}", points.len());
                assert_eq!(points.first().map(|point| point.0), Some(0.0));
                assert_eq!(points.last().copied(), Some((f64::from(second), 5.0 * f64::from(second))));
                let stride = series.timeline.stride as f64;
                let kept = &points[..points.len() - 1];
                assert!(kept.windows(2).all(|pair| pair[1].0 - pair[0].0 == stride), "{points:?}");
            }
            assert_eq!(series.seen(), 1_000);
        }
    }

    #[test]
    fn a_reading_at_the_same_instant_takes_the_place_of_the_last() {
        let mut series = Series::new(8);
        series.push(1.0, 10.0);
        series.push(1.0, 20.0);
        assert_eq!(series.points(), [(1.0, 20.0)]);
    }
}
