//! Aligned ticks under every kind of clock.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::kit::{MINUTE, Rig, Script, eventually, options};
use crate::conformance::TestClock;
use crate::{Cause, Clock, Command, SchedulerOptions, Snapshot};

const SECOND: i64 = 1_000_000_000;

/// Each word of `events` happens in turn: `tick` (time passes to the next minute), `+S` (S seconds pass, as in a
/// suspend), `set:S` (the wall clock is set by S seconds), `now` (a snapshot is asked for), `every:S` (another interval).
/// `expected` has a word per snapshot: `b`, `t` or `r` for its cause, seconds of its instant since 2024-01-01,
/// `!N` for missed ticks, `~N` for a clock jump in seconds.
fn check(events: &str, expected: &str) {
    let script = Script::new("native", "", "");
    let rig = Rig::start(options(), &[&script], Vec::new());
    let mut found = vec![word(&rig.snapshot())];
    for event in events.split_whitespace() {
        if event == "tick" {
            rig.clock.advance_to_next(MINUTE);
        } else if let Some(seconds) = event.strip_prefix('+') {
            rig.clock.suspend(Duration::from_secs(seconds.parse().unwrap()));
        } else if let Some(seconds) = event.strip_prefix("set:") {
            rig.clock.set_wall(seconds.parse::<i64>().unwrap() * SECOND);
        } else if let Some(seconds) = event.strip_prefix("every:") {
            assert!(rig.handle.set_interval(Duration::from_secs(seconds.parse().unwrap())));
        }
        // What was due has been done when this is here. It is seen only where it was asked for.
        let barrier = rig.barrier();
        loop {
            let snapshot = rig.snapshot();
            if snapshot.number != barrier.number || event == "now" {
                found.push(word(&snapshot));
            }
            if snapshot.number == barrier.number {
                break;
            }
        }
    }
    assert_eq!(found.join(" "), expected, "{events}");
}

fn word(snapshot: &Snapshot) -> String {
    let cause = match snapshot.tick.cause {
        Cause::Baseline => 'b',
        Cause::Tick => 't',
        Cause::Requested => 'r',
        Cause::Final => 'f',
    };
    let seconds = (snapshot.tick.at.unix_nanos as i64 - 1_704_067_200 * SECOND) / SECOND;
    let missed =
        if snapshot.missed_ticks == 0 { String::new() } else { format!("!{}", snapshot.missed_ticks) };
    let jump = snapshot.clock_jump_nanos / SECOND;
    let jump = if jump == 0 { String::new() } else { format!("~{jump}") };
    format!("{cause}{seconds}{missed}{jump}")
}

#[test]
fn the_first_snapshot_is_taken_at_once_and_the_others_at_multiples_of_the_interval() {
    check("tick tick tick", "b7 t60 t120 t180");
}

#[test]
fn a_snapshot_that_is_asked_for_is_taken_besides_the_aligned_ones() {
    check("+20 now tick", "b7 r27 t60");
}

#[test]
fn a_tick_that_is_reached_within_the_grace_keeps_its_instant() {
    check("+57 tick", "b7 t60 t120");
}

#[test]
fn after_a_suspend_the_next_instant_is_taken() {
    // The barrier after the suspend tells of the missed ticks already, so none are left for the tick.
    check("tick +3630 now tick", "b7 t60 r3690 t3720");
}

#[test]
fn a_clock_that_is_set_forward_is_no_burst_of_ticks() {
    check("tick set:86410 tick", "b7 t60 t86520");
}

#[test]
fn a_clock_that_is_set_back_goes_on_from_there() {
    check("tick set:-3600 tick tick", "b7 t60 t-3480 t-3420");
}

#[test]
fn a_small_step_back_does_not_repeat_a_tick() {
    check("tick set:-1 +2 tick", "b7 t60 t120");
}

#[test]
fn another_interval_has_other_instants() {
    check("tick every:10 +10 +10 every:3600 +50 +3475", "b7 t60 t70 t80 t3600");
}

#[test]
fn missed_ticks_and_jumps_are_told_by_the_next_snapshot() {
    let rig = Rig::start(options(), &[&Script::new("native", "", "")], Vec::new());
    assert_eq!(rig.snapshot().missed_ticks, 0);
    assert_eq!(rig.tick().clock_jump_nanos, 0);

    rig.clock.suspend(Duration::from_secs(3630));
    rig.asleep_until((rig.seconds() / 60 + 1) * 60 * SECOND as u64);
    let tick = rig.tick();
    assert_eq!(
        (tick.missed_ticks, tick.clock_jump_nanos),
        (60, 0),
        "suspended for an hour and a half minute"
    );

    for jump in [7210, -7190] {
        rig.clock.set_wall(jump * SECOND);
        rig.asleep_until((rig.seconds() / 60 + 1) * 60 * SECOND as u64);
        let tick = rig.tick();
        assert_eq!(tick.clock_jump_nanos, jump * SECOND);
        assert_eq!(tick.missed_ticks, if jump > 0 { 120 } else { 0 });
    }
}

#[test]
fn two_days_of_ticks_take_a_moment_and_miss_nothing() {
    let options = SchedulerOptions { interval: 5 * MINUTE, ..options() };
    let rig = Rig::start(options, &[&Script::new("native", "", "")], Vec::new());
    let first = rig.snapshot();
    for number in 1..=576 {
        let instant = rig.clock.advance_to_next(5 * MINUTE);
        let snapshot = rig.snapshot();
        assert_eq!((snapshot.number, snapshot.tick.cause, snapshot.missed_ticks), (number, Cause::Tick, 0));
        assert_eq!(snapshot.tick.at.unix_nanos, instant);
        assert_eq!(snapshot.baseline, first.number);
        assert_eq!(snapshot.interval, 5 * MINUTE);
    }
    assert!(rig.handle.stop(super::kit::PATIENCE).clean);
}

#[test]
fn an_interval_is_never_shorter_than_the_minimum() {
    let options = SchedulerOptions { interval: Duration::ZERO, ..options() };
    let rig = Rig::start(options, &[], Vec::new());
    assert_eq!(rig.snapshot().interval, Duration::from_millis(100));
    assert!(rig.commands.send(Command::SetInterval(Duration::from_millis(3))));
    eventually("obeyed", || rig.barrier().interval == Duration::from_millis(100));
    assert!(rig.commands.send(Command::SetInterval(Duration::MAX)));
    eventually("obeyed", || rig.barrier().interval == Duration::from_secs(366 * 86_400));
}

#[test]
fn a_clock_that_returns_early_time_and_again_does_not_keep_a_core_busy() {
    /// Never sleeps.
    struct Restless(Arc<TestClock>, std::sync::atomic::AtomicU64);

    #[async_trait::async_trait]
    impl Clock for Restless {
        fn now(&self) -> crate::Timestamp {
            self.0.now()
        }
        async fn sleep_until(&self, _: u64) {
            self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        fn thread_cpu(&self) -> Option<Duration> {
            None
        }
    }

    let clock = Arc::new(Restless(TestClock::new(), 0.into()));
    let handle = crate::Scheduler::start_with_judge(
        options(),
        crate::conformance::sample_session(),
        Arc::clone(&clock) as Arc<dyn Clock>,
        (Vec::new(), Vec::new()),
        crate::command_channel(),
        super::kit::unbound(|| None),
        Box::new(|_| Vec::new()),
    );
    std::thread::sleep(Duration::from_millis(300));
    assert!(handle.unwrap().stop(super::kit::PATIENCE).clean);
    let sleeps = clock.1.load(std::sync::atomic::Ordering::Relaxed);
    assert!(sleeps < 200, "{sleeps} sleeps in 0.3 s");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the clocks do, with everything running: ticks are aligned and in time, numbers count up without a gap,
    /// boot time never goes back, missed ticks are counted, and nothing is taken that was not due.
    #[test]
    fn ticks_stay_aligned_and_numbers_count_up(
        events in prop::collection::vec((0_u8..4, 0_i64..20_000_000), 1..25),
    ) {
        let script = Script::new("native", "", "");
        let rig = Rig::start(options(), &[&script], Vec::new());
        let mut all = vec![rig.snapshot()];
        let mut forward_only = true;
        for (event, millis) in events {
            match event {
                0 => { rig.clock.advance_to_next(MINUTE); }
                1 => rig.clock.advance(Duration::from_millis(millis.unsigned_abs() / 100)),
                2 => rig.clock.suspend(Duration::from_millis(millis.unsigned_abs())),
                _ => {
                    rig.clock.set_wall((millis - 10_000_000) * 1_000_000);
                    forward_only &= millis >= 10_000_000;
                }
            }
            let barrier = rig.barrier();
            loop {
                let snapshot = rig.snapshot();
                let number = snapshot.number;
                all.push(snapshot);
                if number == barrier.number { break }
            }
        }
        for pair in all.windows(2) {
            prop_assert_eq!(pair[1].number, pair[0].number + 1);
            prop_assert!(pair[1].tick.at.boot_nanos + 6_000_000_000 >= pair[0].tick.at.boot_nanos);
            prop_assert_eq!(pair[1].baseline, 0);
        }
        let minute = MINUTE.as_nanos() as u64;
        for tick in all.iter().filter(|snapshot| snapshot.tick.cause == Cause::Tick) {
            prop_assert_eq!(tick.tick.at.unix_nanos % minute, 0);
            let taken = tick.reading("native").unwrap().taken.unwrap();
            prop_assert!(taken.unix_nanos >= tick.tick.at.unix_nanos);
            prop_assert!(taken.unix_nanos - tick.tick.at.unix_nanos <= 6_000_000_000);
        }
        if forward_only {
            let passed = rig.clock.now().unix_nanos / minute - all[0].tick.at.unix_nanos / minute;
            let ticks = all.iter().filter(|snapshot| snapshot.tick.cause == Cause::Tick).count() as u64;
            let missed: u64 = all.iter().map(|snapshot| snapshot.missed_ticks).sum();
            prop_assert_eq!(ticks + missed, passed);
        }
    }
}
