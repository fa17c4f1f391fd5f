//! How often a profile may be taken: a profile that held the GIL for longer than a tick's budget is paid for by leaving
//! out the following ones, so that on average no tick costs more. The gauges whose cost grows are kept to one alike.
//! Pure: counts ticks and times that it is told.

use std::time::Duration;

/// The budget, and what is still to be paid back.
#[derive(Debug)]
pub(crate) struct Budget {
    per_tick: Duration,
    last: Duration,
    left_out: u32,
}

impl Budget {
    pub(crate) fn new(per_tick: Duration) -> Self {
        Self { per_tick: per_tick.max(Duration::from_millis(1)), last: Duration::ZERO, left_out: 0 }
    }

    /// Whether this tick is paid for: then there is nothing to say.
    pub(crate) fn pass(&mut self) -> bool {
        let pass = self.left_out == 0;
        self.left_out = self.left_out.saturating_sub(1);
        pass
    }

    /// Whether this tick has to do without a profile; then why, in words for a user.
    pub(crate) fn leave_out(&mut self) -> Option<String> {
        if self.left_out == 0 {
            return None;
        }
        self.left_out -= 1;
        Some(format!(
            "no profile at this tick: the last one held the GIL for {} ms, and the budget is {} ms a tick; {} more to be \
             left out",
            self.last.as_millis(),
            self.per_tick.as_millis(),
            self.left_out
        ))
    }

    /// A profile held the GIL for `held`.
    pub(crate) fn spend(&mut self, held: Duration) {
        self.last = held;
        let ticks = held.as_nanos().div_ceil(self.per_tick.as_nanos());
        self.left_out = u32::try_from(ticks.saturating_sub(1)).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many ticks are left out after a profile that held the GIL for `held` of a budget of 100 ms.
    fn check(held_millis: u64, expected: u32) {
        let mut budget = Budget::new(Duration::from_millis(100));
        budget.spend(Duration::from_millis(held_millis));
        let mut left_out = 0;
        while budget.leave_out().is_some() {
            left_out += 1;
        }
        assert_eq!(left_out, expected, "{held_millis} ms");
    }

    #[test]
    fn a_profile_over_budget_is_paid_for_by_the_ticks_after_it() {
        check(0, 0);
        check(100, 0);
        check(101, 1);
        check(1000, 9);
    }
}
