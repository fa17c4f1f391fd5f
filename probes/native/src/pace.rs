//! Decides when something that may be slow is asked again: the slower it was, the longer it rests.
//! Pure: reads no clock and never runs anything itself.

use std::time::Duration;

/// Keeps the share of time that goes into one thing under `1 / rest_factor`.
#[derive(Debug)]
pub(crate) struct Pace {
    quick: Duration,
    rest_factor: u32,
    last: Option<(u64, Duration)>,
}

impl Pace {
    /// What takes no longer than `quick` is always asked; what takes longer rests `rest_factor` times as long after.
    pub(crate) fn new(quick: Duration, rest_factor: u32) -> Self {
        Self { quick, rest_factor, last: None }
    }

    /// `Err` with what it took the last time, while it still has to rest.
    pub(crate) fn due(&self, boot_nanos: u64) -> Result<(), Duration> {
        let Some((ended, cost)) = self.last.filter(|(_, cost)| *cost > self.quick) else { return Ok(()) };
        let rest = cost.saturating_mul(self.rest_factor);
        if u128::from(boot_nanos.saturating_sub(ended)) >= rest.as_nanos() { Ok(()) } else { Err(cost) }
    }

    /// Notes what it took.
    pub(crate) fn took(&mut self, ended_boot_nanos: u64, cost: Duration) {
        self.last = Some((ended_boot_nanos, cost));
    }

    /// Whether it was slow the last time.
    pub(crate) fn is_slow(&self) -> bool {
        self.last.is_some_and(|(_, cost)| cost > self.quick)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    fn check(cost: Duration, waited_nanos: u64, due: bool) {
        let mut pace = Pace::new(Duration::from_millis(1), 1000);
        assert!(pace.due(0).is_ok());
        pace.took(7 * MS, cost);
        assert_eq!(pace.due(7 * MS + waited_nanos).is_ok(), due, "{cost:?} then {waited_nanos} ns");
    }

    #[test]
    fn what_is_quick_never_rests() {
        check(Duration::from_micros(200), 0, true);
        check(Duration::from_millis(1), 0, true);
    }

    #[test]
    fn what_is_slow_rests_a_thousand_times_as_long() {
        check(Duration::from_millis(2), 1999 * MS, false);
        check(Duration::from_millis(2), 2000 * MS, true);
        check(Duration::from_millis(90), 60_000 * MS, false);
        check(Duration::from_millis(90), 90_000 * MS, true);
    }

    proptest! {
        #[test]
        fn the_share_of_time_is_bounded_whatever_it_costs(
            costs in proptest::collection::vec(0..200_000_000_u64, 1..50), tick in 1..400_000_000_000_u64,
        ) {
            let (quick, factor) = (Duration::from_millis(1), 1000);
            let mut pace = Pace::new(quick, factor);
            let (mut now, mut slow, mut largest) = (0, 0, 0);
            for cost in costs {
                now += tick;
                if pace.due(now).is_ok() {
                    now += cost;
                    pace.took(now, Duration::from_nanos(cost));
                    if cost > 1_000_000 { slow += cost; largest = largest.max(cost); }
                }
            }
            // The last one has not rested yet.
            prop_assert!((slow - largest) <= now / u64::from(factor) + largest);
        }
    }
}
