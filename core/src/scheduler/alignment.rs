//! Which aligned instant is next, and which were missed.
//! Pure: is told what the clocks show, reads none, and never waits.

use std::time::Duration;

use crate::clock::Timestamp;

/// What to do at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing before the wall clock shows this.
    At(u64),
    /// Take the tick of this aligned instant, which is now or just past.
    Now(u64),
}

/// Follows the wall clock over multiples of the interval since the Unix epoch.
#[derive(Debug)]
pub(super) struct Alignment {
    interval: u64,
    /// The next instant to take, by the wall clock.
    next: u64,
    /// The last one that was taken, and when by boot time.
    last: Option<Timestamp>,
    missed: u64,
}

impl Alignment {
    pub(super) fn new(now: Timestamp, interval: Duration) -> Self {
        let mut alignment = Self { interval: 1, next: 0, last: None, missed: 0 };
        alignment.set_interval(now, interval);
        alignment
    }

    /// Ticks at multiples of `interval` from now on. What was missed before stays missed.
    pub(super) fn set_interval(&mut self, now: Timestamp, interval: Duration) {
        self.interval = nanos(interval).max(1);
        self.next = self.after(now.unix_nanos);
    }

    /// What to do at `now`. A tick that is late by more than `grace` is missed.
    /// When this says `Now`, the tick counts as taken.
    pub(super) fn check(&mut self, now: Timestamp, grace: Duration) -> Due {
        if now.unix_nanos < self.next {
            // Woken early, or the clock was set back.
            self.next = self.next.min(self.after(now.unix_nanos));
        } else if now.unix_nanos - self.next > nanos(grace) {
            let latest = now.unix_nanos / self.interval * self.interval;
            let in_time = now.unix_nanos - latest <= nanos(grace);
            let kept = if in_time { latest } else { latest.saturating_add(self.interval) };
            self.missed = self.missed.saturating_add((kept - self.next) / self.interval);
            self.next = kept;
        }
        if now.unix_nanos < self.next {
            return Due::At(self.next);
        }
        let instant = self.next;
        self.next = instant.saturating_add(self.interval);
        if self.just_taken(instant, now) {
            return Due::At(self.next);
        }
        self.last = Some(Timestamp { unix_nanos: instant, boot_nanos: now.boot_nanos });
        Due::Now(instant)
    }

    /// Instants that passed without a tick since the last call.
    pub(super) fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }

    /// Whether the clock was set back and shows an instant again, too soon to be worth another reading.
    fn just_taken(&self, instant: u64, now: Timestamp) -> bool {
        self.last.is_some_and(|last| {
            instant <= last.unix_nanos && now.boot_nanos.saturating_sub(last.boot_nanos) < self.interval / 2
        })
    }

    /// The first multiple of the interval after `unix_nanos`.
    fn after(&self, unix_nanos: u64) -> u64 {
        (unix_nanos / self.interval).saturating_add(1).saturating_mul(self.interval)
    }
}

/// How far the wall clock moved beyond boot time between two instants.
pub(super) fn jump_nanos(then: Timestamp, now: Timestamp) -> i64 {
    let wall = i128::from(now.unix_nanos) - i128::from(then.unix_nanos);
    let boot = i128::from(now.boot_nanos) - i128::from(then.boot_nanos);
    (wall - boot).clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Each word of `wall` is what the wall clock shows, in seconds, while one second passes per word unless `+N` says
    /// that N pass. The interval is 10 s, the grace 1 s. `expected` has the ticks, with `!N` for N missed before.
    fn check(wall: &str, expected: &str) {
        let mut now = Timestamp { unix_nanos: 0, boot_nanos: 1000 * SECOND };
        let mut alignment: Option<Alignment> = None;
        let mut found = Vec::new();
        for word in wall.split_whitespace() {
            let (seconds, passed) = word.split_once('+').unwrap_or((word, "1"));
            now.unix_nanos = (seconds.parse::<f64>().unwrap() * SECOND as f64) as u64;
            now.boot_nanos += passed.parse::<u64>().unwrap() * SECOND;
            let interval = Duration::from_secs(10);
            let alignment = alignment.get_or_insert_with(|| Alignment::new(now, interval));
            if let Due::Now(instant) = alignment.check(now, Duration::from_secs(1)) {
                let missed = alignment.take_missed();
                let missed = if missed == 0 { String::new() } else { format!("!{missed}") };
                found.push(format!("{}{missed}", instant / SECOND));
            }
        }
        assert_eq!(found.join(" "), expected, "{wall}");
    }

    #[test]
    fn ticks_are_multiples_of_the_interval() {
        check("103 109 110 111 119.9 120 130", "110 120 130");
    }

    #[test]
    fn a_start_on_an_aligned_instant_waits_for_the_next() {
        check("110 119 120", "120");
    }

    #[test]
    fn a_tick_within_the_grace_is_taken_at_its_own_instant() {
        check("103 110.9 120", "110 120");
    }

    #[test]
    fn a_tick_beyond_the_grace_is_missed() {
        check("103 112 120", "120!1");
    }

    #[test]
    fn a_suspend_takes_the_next_instant_and_counts_what_it_missed() {
        check("103 110 3603+3493 3610", "110 3610!349");
    }

    #[test]
    fn waking_right_at_an_instant_after_a_suspend_takes_it() {
        check("103 110 3600.5+3490", "110 3600!348");
    }

    #[test]
    fn a_clock_set_forward_misses_the_instants_it_skipped() {
        check("103 110 1105 1110", "110 1110!99");
    }

    #[test]
    fn a_clock_set_back_goes_on_from_there_and_misses_nothing() {
        check("103 110 55+9 60+5 70+10", "110 60 70");
    }

    #[test]
    fn an_instant_that_a_small_step_back_repeats_is_not_taken_twice() {
        check("103 110 109.9 110 111 120+8", "110 120");
    }

    #[test]
    fn the_year_1970_is_no_special_case() {
        check("0 1 10 20", "10 20");
    }

    #[test]
    fn the_end_of_the_representable_time_is_waited_for_and_never_overflows() {
        let now = Timestamp { unix_nanos: u64::MAX - 5, boot_nanos: 1 };
        let mut alignment = Alignment::new(now, Duration::from_secs(10));
        assert_eq!(alignment.check(now, Duration::from_secs(1)), Due::At(u64::MAX));
        alignment.set_interval(now, Duration::MAX);
        assert_eq!(alignment.check(now, Duration::MAX), Due::At(u64::MAX));
    }

    proptest! {
        /// Whatever the clocks do: a tick is aligned, not in the future, not later than the grace, never twice within
        /// half an interval of the same instant; and going forward only, ticks and missed ones make up all instants.
        #[test]
        fn every_tick_is_aligned_and_in_time(
            interval in 1_u64..1_000,
            steps in prop::collection::vec((0_u64..3_000, prop::option::weighted(0.1, -5_000_i64..5_000)), 1..200),
        ) {
            let mut now = Timestamp { unix_nanos: 10_000, boot_nanos: 77 };
            let mut alignment = Alignment::new(now, Duration::from_nanos(interval));
            let grace = Duration::from_nanos(interval / 10);
            let mut last: Option<Timestamp> = None;
            let (mut set_back, mut seen, mut missed) = (false, 0, 0);
            let first = alignment.next;
            for (passed, set) in steps {
                now.unix_nanos = (now.unix_nanos + passed).saturating_add_signed(set.unwrap_or(0));
                now.boot_nanos += passed;
                set_back |= set.is_some_and(|by| by < 0);
                let due = alignment.check(now, grace);
                missed += alignment.take_missed();
                match due {
                    Due::At(instant) => prop_assert!(instant > now.unix_nanos && instant % interval == 0),
                    Due::Now(instant) => {
                        seen += 1;
                        prop_assert!(instant % interval == 0 && instant <= now.unix_nanos);
                        prop_assert!(now.unix_nanos - instant <= interval / 10);
                        if let Some(last) = last.replace(Timestamp { unix_nanos: instant, ..now }) {
                            prop_assert!(
                                instant > last.unix_nanos || now.boot_nanos - last.boot_nanos >= interval / 2
                            );
                        }
                    }
                }
            }
            if !set_back {
                prop_assert_eq!((alignment.next - first) / interval, seen + missed);
            }
        }
    }
}
