//! The machine's clocks, for Linux and Android.
//! Needs no descriptor: a host may close all that are open, and then have ours for its own.
//!
//! A sleep is made of naps. The runtime's timer stands still while the machine is suspended and does not notice that
//! somebody set the wall clock, so after each nap both clocks are read again. A timer descriptor would notice at once, and
//! a thread in `clock_nanosleep` too; a nap notices within a second, which a tick's grace covers at the default interval.

use std::time::Duration;

use async_trait::async_trait;
use leakline_core::{Clock, Timestamp};

/// The scheduler wakes as often in any case, to see whether the host has a thread left.
const NAP: Duration = Duration::from_secs(1);

/// Between the two clocks, when nobody sets one: what the wall clock is slewed by in one sleep, and the time between two
/// readings.
const SAME_WITHIN_NANOS: u64 = 20_000_000;

/// The wall clock and the boot-time clock of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp {
            unix_nanos: read_clock(libc::CLOCK_REALTIME),
            boot_nanos: read_clock(libc::CLOCK_BOOTTIME),
        }
    }

    async fn sleep_until(&self, unix_nanos: u64) {
        let begun = self.now();
        let mut now = begun;
        // A clock that was set ends the sleep: the caller reads it again and finds another instant.
        while now.unix_nanos < unix_nanos && !was_set(begun, now) {
            tokio::time::sleep(Duration::from_nanos(unix_nanos - now.unix_nanos).min(NAP)).await;
            now = self.now();
        }
    }

    fn thread_cpu(&self) -> Option<Duration> {
        Some(Duration::from_nanos(read_clock(libc::CLOCK_THREAD_CPUTIME_ID)))
    }
}

/// Whether somebody set the wall clock between these. Suspend moves both clocks.
fn was_set(before: Timestamp, after: Timestamp) -> bool {
    let apart = |at: Timestamp| at.unix_nanos.wrapping_sub(at.boot_nanos) as i64;
    apart(after).wrapping_sub(apart(before)).unsigned_abs() > SAME_WITHIN_NANOS
}

fn read_clock(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that outlives the call.
    unsafe { libc::clock_gettime(clock, &mut time) };
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a lane's: timers, no descriptors.
    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    #[test]
    fn sleeping_ends_at_the_wall_clock_instant_and_not_before() {
        let until = SystemClock.now().unix_nanos + 20_000_000;
        runtime().block_on(SystemClock.sleep_until(until));
        assert!(SystemClock.now().unix_nanos >= until);
    }

    #[test]
    fn an_instant_that_has_passed_ends_at_once() {
        let runtime = runtime();
        runtime.block_on(SystemClock.sleep_until(0));
        runtime.block_on(SystemClock.sleep_until(SystemClock.now().unix_nanos - 1));
    }

    fn check(wall_nanos: i64, boot_nanos: u64, set: bool) {
        let before = Timestamp { unix_nanos: 1_700_000_000_000_000_000, boot_nanos: 5_000_000_000 };
        let after = Timestamp {
            unix_nanos: before.unix_nanos.saturating_add_signed(wall_nanos),
            boot_nanos: before.boot_nanos + boot_nanos,
        };
        assert_eq!(was_set(before, after), set, "{wall_nanos} {boot_nanos}");
    }

    #[test]
    fn a_clock_that_is_set_is_noticed_and_a_suspend_is_not_taken_for_it() {
        check(1_000_000_000, 1_000_000_000, false);
        // Slewed by 500 ppm over a second.
        check(1_000_500_000, 1_000_000_000, false);
        // Suspended for an hour: both clocks go on.
        check(3_600_000_000_000, 3_600_000_000_000, false);
        check(3_600_000_000_000, 1_000_000_000, true);
        check(-3_600_000_000_000, 1_000_000_000, true);
        check(0, 1_000_000_000, true);
    }
}
