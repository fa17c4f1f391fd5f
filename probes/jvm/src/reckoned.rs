//! For how long something will stop the program: reckoned from the number of what has to be gone through, and from what it
//! took before. Pure: is told numbers and times.

use std::time::Duration;

/// Whatever there is.
const FIXED: Duration = Duration::from_millis(1);

/// The pause of one undertaking.
#[derive(Debug)]
pub(crate) struct Reckoned {
    /// For each, before anything was measured.
    guess: Duration,
    /// The last time's number and pause.
    measured: Option<(u64, Duration)>,
    /// Half of what was measured: what is reckoned with does not become less.
    least: Duration,
}

impl Reckoned {
    pub(crate) fn guessed(guess: Duration) -> Self {
        Self { guess, measured: None, least: Duration::ZERO }
    }

    /// How long the pause will be with so many.
    pub(crate) fn reckon(&self, number: u64) -> Duration {
        let times = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        match self.measured {
            None => FIXED.saturating_add(self.guess.saturating_mul(times(number))),
            Some((then, pause)) if number <= then => pause,
            // Not all of it grows with them: this is the upper bound.
            Some((then, pause)) => pause.saturating_mul(times(number.div_ceil(then.max(1)))),
        }
    }

    /// It took `pause` with so many.
    pub(crate) fn measured(&mut self, number: u64, pause: Duration) {
        self.measured = Some((number, pause));
        self.least = pause / 2;
    }

    /// It was left out because it would take too long; that may have been a bad moment, but not one time after the other.
    pub(crate) fn left_out(&mut self) {
        if let Some((_, pause)) = &mut self.measured {
            *pause = (*pause * 9 / 10).max(self.least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is reckoned with for 100, in ms, after so many took so many ms.
    fn check(measured: Option<(u64, u64)>, left_out: u32, expected: u128) {
        let mut reckoned = Reckoned::guessed(Duration::from_micros(150));
        if let Some((number, millis)) = measured {
            reckoned.measured(number, Duration::from_millis(millis));
        }
        for _ in 0..left_out {
            reckoned.left_out();
        }
        assert_eq!(reckoned.reckon(100).as_millis(), expected);
    }

    #[test]
    fn more_take_longer_and_one_bad_moment_is_not_for_ever() {
        check(None, 0, 16);
        check(Some((100, 3)), 0, 3);
        check(Some((500, 9)), 0, 9);
        check(Some((20, 3)), 0, 15);
        check(Some((100, 150)), 4, 98);
        check(Some((100, 1000)), 100, 500);
    }
}
