//! Probes that are absent, late, stuck, failing or panicking.

use std::time::Duration;

use super::kit::{MINUTE, PATIENCE, Rig, Script, eventually, impatient, options, status};
use crate::{Clock, Layer, ReadingStatus, SchedulerOptions};

/// The letters of `attach` and `reads` are what the probe does call by call; `expected` is its status at the baseline
/// and at each tick after it, one minute apart.
fn check(attach: &str, reads: &str, expected: &str) {
    let script = Script::new("probe", attach, reads);
    let other = Script::new("other", "", "");
    let rig = Rig::start(options(), &[&script, &other], Vec::new());
    let mut found = Vec::new();
    for number in 0..expected.split(", ").count() {
        let snapshot = if number == 0 { rig.snapshot() } else { rig.tick() };
        found.push(status(&snapshot, "probe"));
        assert_eq!(status(&snapshot, "other"), "ok", "one probe's trouble is another's");
        // A second passes, so that a probe that found no runtime looks again.
        let looks = script.log().matches("attach").count();
        let attaches = script.attaches_next();
        rig.clock.advance(Duration::from_secs(1));
        match found.last().map(String::as_str) {
            Some("absent" | "failed 0") if attaches => eventually("found", || {
                rig.barrier();
                status(&rig.snapshot(), "probe") == "ok"
            }),
            Some("absent") => eventually("looked again", || script.log().matches("attach").count() > looks),
            _ => {}
        }
    }
    assert_eq!(found.join(", "), expected, "attach {attach:?}, reads {reads:?}");
}

#[test]
fn a_probe_that_can_always_read_is_in_every_snapshot() {
    let script = Script::new("probe", "", "");
    let rig = Rig::start(options(), &[&script], Vec::new());
    rig.snapshot();
    rig.tick();
    assert_eq!(script.log(), "attach gauges details gauges details");
    assert!(rig.handle.stop(PATIENCE).clean);
    assert_eq!(script.log(), "attach gauges details gauges details detach");
}

#[test]
fn a_probe_that_is_absent_is_found_when_it_shows_up() {
    check("aa", "", "absent, absent, ok, ok");
}

#[test]
fn a_runtime_that_ends_is_absent_and_looked_for_again() {
    check("", ".g..", "ok, absent, ok, ok");
    check(".a", "g", "absent, absent, ok");
    check("", ".G..", "ok, absent, ok, ok");
}

#[test]
fn a_probe_that_fails_is_asked_again_with_a_growing_pause() {
    check(
        "",
        "xxx.",
        "failed 50, failed 100, failed 40, failed 200, failed 140, failed 80, failed 20, ok, ok",
    );
}

#[test]
fn a_success_ends_the_growth_of_the_pause() {
    check("", "x.x.", "failed 50, ok, failed 50, ok");
}

#[test]
fn details_that_fail_leave_the_gauges_and_are_alone_left_out_meanwhile() {
    check("", "XX.", "failed 50, failed 100, failed 40, ok");
    let script = Script::new("probe", "", "XX");
    let rig = Rig::start(options(), &[&script], Vec::new());
    for snapshot in [rig.snapshot(), rig.tick(), rig.tick()] {
        assert_eq!(snapshot.readings[0].gauges.len(), 1);
        assert!(snapshot.readings[0].taken.is_some());
    }
    assert_eq!(script.log(), "attach gauges details gauges details gauges");
}

#[test]
fn a_probe_that_panics_counts_as_one_that_fails() {
    check("", ".pp.", "ok, failed 50, failed 100, failed 40, ok");
    check("", "P.", "failed 50, ok");
    let script = Script::new("probe", "", "p");
    let snapshot = Rig::start(options(), &[&script], Vec::new()).snapshot();
    let ReadingStatus::Failed { error, .. } = &snapshot.readings[0].status else { panic!("{snapshot:?}") };
    assert_eq!(error, "the probe panicked: a probe's bug");
}

#[test]
fn a_failure_or_panic_while_looking_for_the_runtime_is_told_and_looked_again_later() {
    check("x", "", "failed 50, failed 0, ok");
    check("p", "", "failed 50, failed 0, ok");
}

#[test]
fn those_that_read_first_are_asked_before_the_others_and_details_come_last() {
    let first = Script::of("python", Layer::Python, true, "", "h");
    let second = Script::of("native", Layer::Native, false, "", "");
    let rig = Rig::start(options(), &[&second, &first], Vec::new());
    eventually("asked", || first.log() == "attach gauges");
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(second.log(), "attach", "asked while the first reader still reads");
    first.release(1);
    rig.snapshot();
    assert_eq!(second.log(), "attach gauges details");
}

#[test]
fn a_first_reader_that_hangs_holds_up_nobody_beyond_its_time() {
    let first = Script::of("python", Layer::Python, true, "", "h");
    let second = Script::of("native", Layer::Native, false, "", "");
    let rig = Rig::start(impatient(), &[&first, &second], Vec::new());
    eventually("asked", || second.log() == "attach gauges details");
    first.release(1);
    // It was slow, and still in time.
    let snapshot = rig.snapshot();
    assert_eq!((status(&snapshot, "python"), status(&snapshot, "native")), ("ok".into(), "ok".into()));
    assert_eq!(first.log(), "attach gauges details");
}

#[test]
fn a_late_probe_is_left_out_and_not_asked_again_until_it_has_answered() {
    for (reads, hangs_in, gauges) in [(".h", "gauges", 0), (".H", "details", 1)] {
        let (late, other) = (Script::new("late", "", reads), Script::new("other", "", ""));
        let rig = Rig::start(impatient(), &[&late, &other], Vec::new());
        assert_eq!(status(&rig.snapshot(), "late"), "ok");

        let instant = rig.clock.advance_to_next(MINUTE);
        rig.asleep_until(instant + 30_000_000_000);
        // Its lane may be slow to come to it.
        eventually("asked", || late.log().ends_with(hangs_in));
        rig.clock.advance(Duration::from_secs(30));
        let snapshot = rig.snapshot();
        assert_eq!((status(&snapshot, "late"), status(&snapshot, "other")), ("late 30".into(), "ok".into()));
        assert_eq!(
            snapshot.reading("late").unwrap().gauges.len(),
            gauges,
            "gauges that were in time are kept"
        );
        let asked = late.log();

        // The next ticks wait for nobody.
        let snapshot = rig.tick();
        assert_eq!((status(&snapshot, "late"), status(&snapshot, "other")), ("late 60".into(), "ok".into()));
        assert_eq!(status(&rig.tick(), "late"), "late 120");
        assert_eq!(late.log(), asked, "asked although it has not answered");

        late.release(1);
        eventually("back", || {
            rig.barrier();
            status(&rig.snapshot(), "late") == "ok"
        });
        let notes: Vec<_> = rig.handle.latest().unwrap().reading("late").unwrap().notes.clone();
        assert!(notes.len() <= 1);
        assert_eq!(status(&rig.tick(), "late"), "ok");
        assert!(rig.handle.stop(PATIENCE).clean);
        assert!(late.log().ends_with("detach"));
    }
}

#[test]
fn a_late_answer_is_dropped_and_told() {
    let late = Script::new("late", "", "h");
    let rig = Rig::start(impatient(), &[&late], Vec::new());
    rig.asleep_until(rig.clock.now().unix_nanos + 30_000_000_000);
    rig.clock.advance(Duration::from_secs(30));
    assert_eq!(status(&rig.snapshot(), "late"), "late 30");
    late.release(1);
    let note = "one late answer was dropped";
    eventually("told", || {
        rig.barrier();
        rig.snapshot().readings[0].notes.iter().any(|told| told == note)
    });
    assert!(rig.tick().readings[0].notes.is_empty(), "told twice");
}

#[test]
fn a_probe_that_hangs_while_it_attaches_holds_up_nobody() {
    let (stuck, other) = (Script::new("stuck", "h", ""), Script::new("other", "", ""));
    let options = SchedulerOptions { first_attach_wait: Duration::from_millis(300), ..options() };
    let rig = Rig::start(options, &[&stuck, &other], Vec::new());
    let snapshot = rig.snapshot();
    assert_eq!((status(&snapshot, "stuck"), status(&snapshot, "other")), ("absent".into(), "ok".into()));
    assert_eq!(status(&rig.tick(), "stuck"), "late 52", "it is at it for longer than a tick may take");
    stuck.release(1);
    eventually("found", || {
        rig.barrier();
        status(&rig.snapshot(), "stuck") == "ok"
    });
}

#[test]
fn skew_is_between_the_first_and_the_last_layer() {
    let (python, native) =
        (Script::of("python", Layer::Python, true, "", "h"), Script::new("native", "", ""));
    let rig = Rig::start(options(), &[&native, &python], Vec::new());
    eventually("asked", || python.log() == "attach gauges");
    rig.clock.advance(Duration::from_micros(70));
    python.release(1);
    assert_eq!(
        rig.snapshot().skew_nanos,
        Some(0),
        "the scripted probe takes its instant after it was released"
    );
    let alone = Rig::start(options(), &[&Script::new("a", "", ""), &Script::new("b", "", "")], Vec::new());
    assert_eq!(alone.snapshot().skew_nanos, None, "one layer has no skew");
    let slow = Script::of("all-slow", Layer::Python, false, "", "");
    let beside = Rig::start(options(), &[&native, &slow], Vec::new()).snapshot();
    assert_eq!(beside.skew_nanos, None, "nothing of it was read with the others");
    assert_eq!(beside.reading("all-slow").map(|reading| reading.taken), Some(None));
}

#[test]
fn what_it_costs_is_told_per_reading_and_all_together() {
    let (python, native) =
        (Script::of("python", Layer::Python, false, "", ""), Script::new("native", "", ""));
    let rig = Rig::start(options(), &[&python, &native], Vec::new());
    for number in 1..=3_u64 {
        let snapshot = if number == 1 { rig.snapshot() } else { rig.tick() };
        for reading in &snapshot.readings {
            assert_eq!(reading.cost.cpu, Duration::from_millis(3));
            assert_eq!(reading.cost.longest_stall, Duration::from_micros(30));
            let gil = if reading.layer == Layer::Python { Duration::from_micros(10) } else { Duration::ZERO };
            assert_eq!(reading.cost.gil_held, gil);
        }
        assert_eq!(snapshot.own.cpu, Duration::from_millis(6 * number));
        assert_eq!(snapshot.own.held_bytes, Some(4711));
        assert_eq!(snapshot.own.longest_stall, Duration::from_micros(30));
        assert_eq!(snapshot.own.sinks.len(), 1);
    }
    assert_eq!(rig.handle.latest().unwrap().own.wall, Duration::from_micros(112_500_000));
}
