//! What counting by one means will cost: reckoned from the size of the heap in use and from what it took before.
//! Pure: is told sizes and times.

use std::time::Duration;

/// What every count costs, however small the heap is.
const FIXED: Duration = Duration::from_millis(2);
/// A smaller heap says little about a larger one.
const LEAST_HEAP: u64 = 32 << 20;
const MIB: u64 = 1 << 20;

/// The pause per heap in use of one means.
#[derive(Debug, Clone)]
pub(super) struct Cost {
    /// Nanoseconds per MiB, as it is guessed before anything was measured.
    guess: u64,
    /// The same, as it is reckoned with.
    rate: u64,
    /// The rates measured last, the latest first.
    measured: [Option<u64>; 2],
    /// The largest heap that was measured, bytes.
    largest: u64,
}

impl Cost {
    /// HotSpot's diagnostic command on so many threads.
    pub(super) fn of_command(threads: usize) -> Self {
        Self::guessed(if threads > 1 { 300_000 } else { 500_000 })
    }

    /// The tool interface's heap iteration: it calls us for each object.
    pub(super) fn of_iteration() -> Self {
        Self::guessed(1_000_000)
    }

    fn guessed(guess: u64) -> Self {
        Self { guess, rate: guess, measured: [None; 2], largest: 0 }
    }

    /// How long the pause will be with `used` bytes in use. What was measured of a much smaller heap is no promise.
    pub(super) fn reckon(&self, used: u64) -> Duration {
        let is_new = used > self.largest.saturating_mul(2);
        let rate = if is_new { self.rate.max(self.guess) } else { self.rate };
        let nanos = u128::from(rate) * u128::from(used) / u128::from(MIB);
        FIXED + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// It took `pause` with `used` bytes in use.
    pub(super) fn measured(&mut self, used: u64, pause: Duration) {
        let above = pause.saturating_sub(FIXED).as_nanos();
        let rate = above.saturating_mul(u128::from(MIB)) / u128::from(used.max(LEAST_HEAP));
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        self.measured = [Some(rate), self.measured[0]];
        self.rate = self.measured.iter().flatten().copied().max().unwrap_or(rate);
        self.largest = self.largest.max(used);
    }

    /// It was left out because it would take too long. That may have been a bad moment, or another heap than now: so the
    /// rate is reckoned lower and lower, down to half of what it was.
    pub(super) fn left_out(&mut self) {
        let least = self.measured.iter().flatten().copied().max().map(|rate| rate / 2);
        if let Some(least) = least {
            self.rate = (self.rate - self.rate / 20).max(least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is reckoned with for a heap of 1,000 MiB, in ms, after a count of a heap of so many MiB took so many ms.
    fn check(counts: &[(u64, u64)], left_out: u32, expected: u128) {
        let mut cost = Cost::of_command(2);
        for (mib, millis) in counts {
            cost.measured(mib << 20, Duration::from_millis(*millis));
        }
        for _ in 0..left_out {
            cost.left_out();
        }
        assert_eq!(cost.reckon(1000 << 20).as_millis(), expected, "{counts:?}");
    }

    #[test]
    fn what_was_measured_is_reckoned_with() {
        check(&[], 0, 302);
        check(&[(500, 52)], 0, 102);
        check(&[(1000, 52)], 0, 52);
    }

    #[test]
    fn of_two_the_dearer_counts() {
        check(&[(500, 102), (500, 52)], 0, 202);
        check(&[(500, 102), (500, 52), (500, 52)], 0, 102);
    }

    #[test]
    fn a_smaller_heap_is_no_promise() {
        check(&[(1, 5)], 0, 302);
        check(&[(499, 10)], 0, 302);
        check(&[(499, 401)], 0, 801);
    }

    #[test]
    fn one_bad_moment_is_not_for_ever_and_a_heap_that_is_too_large_is() {
        check(&[(500, 102)], 5, 156);
        check(&[(500, 102)], 1000, 102);
        check(&[], 1000, 302);
    }
}
