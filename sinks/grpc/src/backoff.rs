//! How long to wait before the next attempt: exponential with full jitter, so that many hosts that lost the same
//! collector do not come back at the same instant.
//! Never sleeps and reads no clock.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The pauses between attempts.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
    random: u64,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        // RandomState is seeded by the system, once per process, and differs from one instance to the next.
        Self { min, max: max.max(min), failures: 0, random: RandomState::new().hash_one(0u64) | 1 }
    }

    /// After something went well: the next failure is the first again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause after one more failure: anything from nothing to the ceiling, which doubles each time.
    pub(crate) fn next(&mut self) -> Duration {
        let ceiling =
            self.min.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(self.fraction())
    }

    /// The pause after a refusal that trying again soon will not change: around the longest one.
    pub(crate) fn longest(&mut self) -> Duration {
        self.max.mul_f64(0.5 + self.fraction() / 2.0)
    }

    /// From 0 to 1, by xorshift: it needs no quality, only to differ between hosts.
    fn fraction(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_below_a_ceiling_that_doubles_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
        for ceiling in [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
            assert!(backoff.next() <= Duration::from_millis(ceiling), "{ceiling}");
        }
        for _ in 0..1000 {
            assert!(backoff.next() <= Duration::from_secs(60));
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(500));
    }

    #[test]
    fn pauses_differ_and_spread_over_the_whole_range() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(1));
        let pauses: Vec<f64> = (0..1000).map(|_| backoff.next().as_secs_f64()).collect();
        assert!(pauses.iter().any(|pause| *pause < 0.1) && pauses.iter().any(|pause| *pause > 0.9));
        let mean = pauses.iter().sum::<f64>() / 1000.0;
        assert!((0.4..0.6).contains(&mean), "{mean}");
    }

    #[test]
    fn after_a_refusal_there_is_no_hot_loop() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
        for _ in 0..100 {
            assert!(backoff.longest() >= Duration::from_secs(30));
        }
    }
}
