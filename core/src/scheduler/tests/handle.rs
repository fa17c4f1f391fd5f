//! What the host calls: from any thread, in any order, and at the end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::kit::{
    MINUTE, PATIENCE, Rig, Script, eventually, impatient, options, scripted_sink, status, unbound,
};
use crate::conformance::{TestClock, sample_session};
use crate::{Cause, Clock, Command, Layer, Scheduler, SchedulerOptions, StartError, command_channel};

#[test]
fn a_reset_takes_a_snapshot_at_once_that_growth_is_counted_from() {
    let rig = Rig::start(options(), &[], Vec::new());
    assert_eq!((rig.snapshot().baseline, rig.tick().baseline), (0, 0));
    assert!(rig.handle.reset_baseline());
    let reset = rig.snapshot();
    assert_eq!((reset.number, reset.baseline, reset.tick.cause), (2, 2, Cause::Baseline));
    assert_eq!(rig.tick().baseline, 2);
    assert_eq!(rig.handle.baseline().unwrap().number, 2);
}

#[test]
fn a_flood_of_requests_is_one_snapshot() {
    let probe = Script::new("probe", "", "h");
    let rig = Rig::start(options(), &[&probe], Vec::new());
    eventually("asked", || probe.log() == "attach gauges");
    let taken = (0..1000).filter(|_| rig.commands.send(Command::SnapshotNow)).count();
    assert_eq!(taken, 64, "the queue is bounded");
    probe.release(1);
    assert_eq!(rig.snapshot().tick.cause, Cause::Baseline);
    assert_eq!(rig.snapshot().tick.cause, Cause::Requested);
    assert_eq!(rig.tick().number, 2);
}

#[test]
fn there_is_one_last_snapshot() {
    let rig = Rig::start(options(), &[], Vec::new());
    rig.snapshot();
    let last = rig.handle.final_snapshot(PATIENCE).unwrap();
    assert_eq!(last.tick.cause, Cause::Final);
    assert!(Arc::ptr_eq(&last, &rig.handle.final_snapshot(PATIENCE).unwrap()));
    assert_eq!(rig.snapshot().number, 1);
    rig.clock.advance(options().interval * 3);
    assert_eq!(
        rig.handle.snapshot_now(PATIENCE).unwrap().number,
        2,
        "no tick after it, but what is asked for"
    );
    rig.handle.stop(PATIENCE);
    assert!(Arc::ptr_eq(&last, &rig.handle.final_snapshot(PATIENCE).unwrap()));
}

#[test]
fn the_last_snapshot_cuts_short_a_tick_that_somebody_holds_up() {
    let (stuck, other) = (Script::new("stuck", "", "h"), Script::new("other", "", ""));
    let rig = Rig::start(impatient(), &[&stuck, &other], Vec::new());
    rig.asleep_until(rig.clock.now().unix_nanos + 30_000_000_000);
    // Or it is late, too, on a busy machine.
    eventually("read", || other.log().contains("gauges"));
    std::thread::scope(|scope| {
        let last = scope.spawn(|| rig.handle.final_snapshot(PATIENCE));
        // A quarter of the patience goes to the tick in hand.
        rig.asleep_until(rig.clock.now().unix_nanos + 15_000_000_000);
        rig.clock.advance(Duration::from_secs(15));
        let last = last.join().unwrap().unwrap();
        assert_eq!((status(&last, "stuck"), status(&last, "other")), ("late 15".into(), "ok".into()));
        assert_eq!(last.tick.cause, Cause::Final);
    });
    assert_eq!(status(&rig.snapshot(), "stuck"), "late 15");
    stuck.release(1);
}

#[test]
fn who_waits_gets_a_snapshot_with_somebody_late_in_it_rather_than_none() {
    let (stuck, other) = (Script::new("stuck", "", ".h"), Script::new("other", "", ""));
    let rig = Rig::start(impatient(), &[&stuck, &other], Vec::new());
    rig.snapshot();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| rig.handle.snapshot_now(Duration::from_secs(20)));
        let soon = rig.clock.now().unix_nanos + 16_000_000_000;
        eventually("asleep", || rig.clock.next_wake().is_some_and(|wake| wake < soon));
        rig.clock.advance(Duration::from_secs(15));
        assert_eq!(status(&asked.join().unwrap().unwrap(), "stuck"), "late 15");
    });
    stuck.release(1);
}

#[test]
fn peaks_are_the_highest_levels_so_far() {
    let rig = Rig::start(options(), &[&Script::new("probe", "", "")], Vec::new());
    for level in [1.0, 1000.0, 3.0] {
        rig.barrier();
        let found = rig.handle.latest().unwrap().gauge("native.probe_bytes");
        if level == 1.0 {
            assert!(found.is_some());
        }
    }
    assert_eq!(rig.handle.peaks().get("native.probe_bytes"), Some(&1000.0));
}

#[test]
fn many_threads_may_call_everything_at_once() {
    // A sink whose thread gets no turn loses nothing of so few.
    let options = SchedulerOptions { max_queue_snapshots: 48 * 20, ..options() };
    let rig = Rig::start(options, &[&Script::new("probe", "", "")], Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..48 {
            let (clock, handle) = (&rig.clock, &rig.handle);
            scope.spawn(move || {
                for round in 0..20 {
                    match (thread + round) % 7 {
                        0 => assert!(handle.snapshot_now(PATIENCE).is_some()),
                        1 => handle.mark("event"),
                        2 => drop(handle.reset_baseline()),
                        3 => drop(handle.set_interval(MINUTE * (1 + round % 3))),
                        4 => drop((handle.latest(), handle.baseline(), handle.peaks(), handle.verdicts())),
                        5 => assert!(handle.flush(PATIENCE)),
                        _ => clock.advance(Duration::from_secs(7)),
                    }
                }
            });
        }
    });
    let mut next = 0;
    let last = rig.barrier().number;
    while next <= last {
        assert_eq!(rig.snapshot().number, next, "numbers have a gap");
        next += 1;
    }
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(rig.handle.stop(PATIENCE).clean));
        }
    });
}

#[test]
fn calls_from_inside_a_runtime_are_fine() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let rig = Rig::start(options(), &[], Vec::new());
        assert!(rig.handle.snapshot_now(PATIENCE).is_some());
        assert!(rig.handle.flush(PATIENCE));
        assert!(rig.handle.stop(PATIENCE).clean);
    });
}

#[test]
fn after_stop_nothing_is_taken_and_every_call_still_answers() {
    let (probe, sink) = (Script::new("probe", "", ""), Script::new("sink", "", ""));
    let rig = Rig::start(options(), &[&probe], vec![scripted_sink(&sink)]);
    rig.snapshot();
    let stopped = rig.handle.stop(PATIENCE);
    assert!(stopped.clean, "{stopped:?}");
    assert_eq!(probe.log(), "attach gauges details detach");
    assert_eq!(sink.log(), "open 0 close");

    rig.clock.advance_to_next(MINUTE);
    let begun = Instant::now();
    assert!(rig.handle.snapshot_now(PATIENCE).is_none());
    assert!(rig.handle.final_snapshot(PATIENCE).is_none());
    assert!(!rig.handle.reset_baseline());
    assert!(!rig.handle.set_interval(MINUTE));
    assert!(!rig.commands.send(Command::SnapshotNow));
    rig.handle.mark("too late");
    assert!(rig.handle.flush(PATIENCE));
    assert_eq!(rig.handle.latest().unwrap().number, 0);
    assert!(rig.handle.stop(PATIENCE).clean);
    assert!(begun.elapsed() < PATIENCE / 2, "waited for what cannot come");
    assert_eq!(sink.log(), "open 0 close");
}

#[test]
fn a_probe_that_never_attached_is_not_detached() {
    let probe = Script::new("probe", "aaaaaaaaaa", "");
    let rig = Rig::start(options(), &[&probe], Vec::new());
    rig.snapshot();
    assert!(rig.handle.stop(PATIENCE).clean);
    assert_eq!(probe.log(), "attach");
}

#[test]
fn stop_leaves_behind_what_is_stuck_and_says_so() {
    let (stuck, good) = (Script::new("stuck", "", "h"), Script::new("good", "", ""));
    let sink = Script::new("sink", "", "h");
    let rig = Rig::start(impatient(), &[&stuck, &good], vec![scripted_sink(&sink)]);
    eventually("read", || good.log() == "attach gauges details");
    let begun = Instant::now();
    let stopped = rig.handle.stop(Duration::from_millis(300));
    assert!(begun.elapsed() < PATIENCE / 2, "stop waited for what is stuck");
    assert!(!stopped.clean);
    let mut left = stopped.left_behind.clone();
    left.sort();
    assert_eq!(left, ["leakline-sink", "leakline-stuck"]);
    assert_eq!(stopped.undelivered, 1, "the tick in hand went out, and the sink did not take it");
    assert_eq!(good.log(), "attach gauges details detach");
    assert_eq!(status(&rig.handle.latest().unwrap(), "stuck"), "late 0");

    // Later they come back, find that all has ended, and end too; the probe is not called again.
    stuck.release(1);
    sink.release(1);
    let stopped = rig.handle.stop(PATIENCE);
    assert_eq!(stopped.left_behind, [""; 0]);
    assert!(!stopped.clean, "a probe that had attached was not detached");
    assert_eq!((stuck.log(), sink.log()), ("attach gauges".to_owned(), "open 0 close".to_owned()));
}

#[test]
fn stop_does_not_wait_for_those_that_read_first() {
    let stuck = Script::of("stuck", Layer::Python, true, "", "h");
    // With these options, others would wait a minute for it.
    let rig = Rig::start(options(), &[&stuck], Vec::new());
    eventually("asked", || stuck.log() == "attach gauges");
    assert_eq!(rig.handle.stop(Duration::from_secs(2)).left_behind, ["leakline-stuck"]);
    stuck.release(1);
}

#[test]
fn an_agent_that_is_stopped_before_it_began_takes_nothing() {
    let (stuck, sink) = (Script::new("stuck", "h", ""), Script::new("sink", "", ""));
    let rig = Rig::start(options(), &[&stuck], vec![scripted_sink(&sink)]);
    eventually("asked", || stuck.log() == "attach");
    std::thread::scope(|scope| {
        let stopped = scope.spawn(|| rig.handle.stop(PATIENCE));
        eventually("closed", || sink.log() == "open close");
        stuck.release(1);
        assert!(stopped.join().unwrap().clean);
    });
    assert_eq!(stuck.log(), "attach detach", "what it took meanwhile is given back");
    assert!(rig.handle.latest().is_none());
}

#[test]
fn dropping_the_handle_ends_the_agent_without_waiting() {
    let (probe, sink) = (Script::new("probe", "", ""), Script::new("sink", "", ""));
    let rig = Rig::start(options(), &[&probe], vec![scripted_sink(&sink)]);
    rig.snapshot();
    drop(rig);
    eventually("detached and closed", || probe.log().ends_with("detach") && sink.log().ends_with("close"));
}

#[test]
fn a_panic_on_the_schedulers_thread_ends_the_agent_and_not_the_host() {
    let (probe, sink) = (Script::new("probe", "", ""), Script::new("sink", "", ""));
    let judge = Box::new(|snapshot: &crate::Snapshot| {
        assert!(snapshot.number < 1, "the scheduler's bug");
        Vec::new()
    });
    let rig = Rig::start_with(options(), &[&probe], vec![scripted_sink(&sink)], judge);
    rig.snapshot();
    let begun = Instant::now();
    assert!(rig.handle.snapshot_now(PATIENCE).is_none());
    assert!(begun.elapsed() < PATIENCE / 2, "waited for what cannot come");
    eventually("detached and closed", || probe.log().ends_with("detach") && sink.log().ends_with("close"));
    assert!(rig.handle.stop(PATIENCE).clean);
}

/// `names` of probes, then of sinks.
fn check_start(probes: &[&'static str], sinks: &[&'static str], expected: &str) {
    let clock: Arc<dyn Clock> = TestClock::new();
    let probes = probes.iter().map(|name| Box::new(Named(name)) as Box<dyn crate::Probe>).collect();
    let sinks = sinks.iter().map(|name| scripted_sink(&Script::new(name, "", ""))).collect();
    let started = catch_unwind(AssertUnwindSafe(|| {
        Scheduler::start(
            options(),
            sample_session(),
            clock,
            probes,
            sinks,
            command_channel(),
            unbound(|| None),
        )
    }));
    let error: StartError = started.expect("a panic crossed into the host").unwrap_err();
    assert_eq!(error.to_string(), expected);
}

struct Named(&'static str);

#[async_trait::async_trait]
impl crate::Probe for Named {
    fn name(&self) -> std::borrow::Cow<'static, str> {
        assert!(self.0 != "panic", "a name's bug");
        self.0.into()
    }
    fn layer(&self) -> Layer {
        Layer::Process
    }
    async fn gauges(&mut self, _: &crate::Tick) -> Result<crate::GaugeReading, crate::ProbeError> {
        Err(crate::ProbeError::failed("reading", "never"))
    }
}

#[test]
fn what_cannot_be_told_apart_is_not_started() {
    check_start(&["a", "b", "a"], &[], "two probes are called a: give one of them another name");
    check_start(&["a"], &["x", "x"], "two sinks are called x: give one of them another name");
    check_start(&[""], &[], "a probe has no usable name: \"\"");
    check_start(&[], &["a\0b"], "a sink has no usable name: \"a\\0b\"");
    check_start(&["panic"], &[], "a probe panicked when asked for its name: a name's bug");
}
