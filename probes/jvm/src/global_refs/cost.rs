//! What counting global references will cost: reckoned from the number of threads and from what it took before.
//! Pure: is told numbers and times.

use std::time::Duration;

/// Whatever there is.
const FIXED: Duration = Duration::from_millis(1);
/// A thread with a stack of thirty frames: some 30 microseconds of its roots, and before that as much and more for each
/// thread that HotSpot holds while it undoes optimised allocations.
const GUESS: Duration = Duration::from_micros(150);

/// The last count's threads and time.
#[derive(Debug, Default)]
pub(super) struct Cost {
    measured: Option<(u64, Duration)>,
    /// Half of what was measured: what is reckoned with does not become less.
    least: Duration,
}

impl Cost {
    /// How long the pause will be with so many threads.
    pub(super) fn reckon(&self, threads: u64) -> Duration {
        let times = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        match self.measured {
            None => FIXED.saturating_add(GUESS.saturating_mul(times(threads))),
            Some((then, pause)) if threads <= then => pause,
            // Not all of it grows with them: this is the upper bound.
            Some((then, pause)) => pause.saturating_mul(times(threads.div_ceil(then.max(1)))),
        }
    }

    /// It took `pause` with so many threads.
    pub(super) fn measured(&mut self, threads: u64, pause: Duration) {
        self.measured = Some((threads, pause));
        self.least = pause / 2;
    }

    /// It was left out because it would take too long; that may have been a bad moment, but not a count after the other.
    pub(super) fn left_out(&mut self) {
        if let Some((_, pause)) = &mut self.measured {
            *pause = (*pause * 9 / 10).max(self.least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is reckoned with for 100 threads, in ms, after a count with so many threads that took so many ms.
    fn check(measured: Option<(u64, u64)>, left_out: u32, expected: u128) {
        let mut cost = Cost::default();
        if let Some((threads, millis)) = measured {
            cost.measured(threads, Duration::from_millis(millis));
        }
        for _ in 0..left_out {
            cost.left_out();
        }
        assert_eq!(cost.reckon(100).as_millis(), expected);
    }

    #[test]
    fn more_threads_take_longer_and_one_bad_moment_is_not_for_ever() {
        check(None, 0, 16);
        check(Some((100, 3)), 0, 3);
        check(Some((500, 9)), 0, 9);
        check(Some((20, 3)), 0, 15);
        check(Some((100, 150)), 4, 98);
        check(Some((100, 1000)), 100, 500);
    }
}
