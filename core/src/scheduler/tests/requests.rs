//! Requests to probes: handed on between ticks, followed by a snapshot, and nobody's burden.

use std::time::Duration;

use super::kit::{Rig, Script, eventually, options, status};
use crate::{
    Cause, Clock, Evidence, Kind, Layer, ProbeRequest, SchedulerOptions, Snapshot, Subject, Verdict, Window,
};

fn window(seconds: u64) -> ProbeRequest {
    ProbeRequest::OpenWindow(Window::exact(Duration::from_secs(seconds)))
}

#[test]
fn every_probe_is_asked_and_a_snapshot_follows_at_once() {
    let (python, deaf) = (Script::new("python", "", ""), Script::new("deaf", "", ""));
    let rig = Rig::start(options(), &[&python, &deaf], Vec::new());
    rig.snapshot();
    assert!(rig.handle.ask(ProbeRequest::Census));
    assert_eq!(rig.snapshot().tick.cause, Cause::Requested);
    assert_eq!(python.log(), "attach gauges details census gauges details");
    assert_eq!(deaf.log(), "attach gauges details census gauges details");
    assert_eq!(rig.tick().number, 2);
}

#[test]
fn a_window_has_a_snapshot_at_both_ends_and_ticks_go_on_between_them() {
    let python = Script::new("python", "", "");
    let rig = Rig::start(options(), &[&python], Vec::new());
    rig.snapshot();
    assert!(rig.handle.ask(window(90)));
    let opened = rig.snapshot();
    assert_eq!(rig.tick().tick.cause, Cause::Tick);
    let end = opened.tick.at.unix_nanos + 90_000_000_000;
    rig.asleep_until(end);
    let left = end - rig.clock.now().unix_nanos;
    rig.clock.advance(Duration::from_nanos(left));
    let closed = rig.snapshot();
    assert_eq!(closed.tick.cause, Cause::Requested);
    assert_eq!(closed.tick.at.boot_nanos - opened.tick.at.boot_nanos, 90_000_000_000);
    assert_eq!(rig.tick().tick.cause, Cause::Tick);
    assert_eq!(python.log().matches("open_window").count(), 1);
}

#[test]
fn a_window_that_is_closed_early_has_no_second_end() {
    let python = Script::new("python", "", "");
    let rig = Rig::start(options(), &[&python], Vec::new());
    rig.snapshot();
    rig.handle.ask(window(30));
    rig.snapshot();
    rig.handle.ask(ProbeRequest::CloseWindow);
    assert_eq!(rig.snapshot().number, 2);
    rig.clock.advance(Duration::from_secs(31));
    assert_eq!(rig.tick().number, 3, "nothing but the tick");
}

#[test]
fn a_flood_of_requests_is_one_of_each_kind() {
    let python = Script::new("python", "", "h");
    let rig = Rig::start(options(), &[&python], Vec::new());
    eventually("asked", || python.log() == "attach gauges");
    for seconds in 1..=20 {
        assert!(rig.handle.ask(window(seconds)));
        assert!(rig.handle.ask(ProbeRequest::Census));
    }
    python.release(1);
    rig.snapshot();
    assert_eq!(rig.snapshot().tick.cause, Cause::Requested);
    assert_eq!(rig.tick().number, 2);
    assert_eq!(python.log().matches("open_window").count(), 1);
    assert_eq!(python.log().matches("census").count(), 1);
}

#[test]
fn what_a_probe_cannot_do_stands_in_its_next_reading_only() {
    for (name, note) in [
        ("refuses", "no hook here"),
        ("fails", "opening a window: not today"),
        ("panics", "the probe panicked: a probe's bug"),
    ] {
        let script = Script::new(name, "", "");
        let rig = Rig::start(options(), &[&script], Vec::new());
        rig.snapshot();
        rig.handle.ask(window(60));
        let asked = rig.snapshot();
        assert_eq!(
            (status(&asked, name).as_str(), asked.readings[0].notes.clone()),
            ("ok", vec![note.to_owned()])
        );
        assert_eq!(rig.tick().readings[0].notes, Vec::<String>::new());
    }
}

#[test]
fn a_probe_that_hangs_in_a_request_is_late_and_holds_up_nobody() {
    let (slow, other) = (Script::new("slow", "", ""), Script::new("other", "", ""));
    let short = SchedulerOptions { request_wait: Duration::from_millis(5), ..options() };
    let rig = Rig::start(short, &[&slow, &other], Vec::new());
    rig.snapshot();
    rig.handle.ask(ProbeRequest::Census);
    let asked = rig.snapshot();
    assert_eq!((status(&asked, "slow"), status(&asked, "other")), ("late 0".to_owned(), "ok".to_owned()));
    assert_eq!(status(&rig.tick(), "other"), "ok");
    slow.release(1);
    eventually("free again", || {
        rig.barrier();
        status(&rig.snapshot(), "slow") == "ok"
    });
}

#[test]
fn an_absent_probe_is_not_asked() {
    let absent = Script::new("python", "aaaaaaaa", "");
    let rig = Rig::start(options(), &[&absent], Vec::new());
    rig.snapshot();
    rig.handle.ask(ProbeRequest::Census);
    assert_eq!(rig.snapshot().tick.cause, Cause::Requested);
    assert!(!absent.log().contains("census"), "{}", absent.log());
}

#[test]
fn a_leak_that_samples_do_not_explain_opens_a_window_by_itself_where_that_was_asked_for() {
    let leaking = |_: &Snapshot| {
        vec![Verdict {
            subject: Subject::Layer(Layer::Native),
            gauge: String::new(),
            kind: Kind::SteadyLeak,
            rate: None,
            points: 9,
            share: None,
            seconds_to_limit: None,
            evidence: Evidence::default(),
        }]
    };
    for (when_leaking, expected) in [(Some(Window::exact(Duration::from_secs(20))), 1), (None, 0)] {
        let script = Script::new("sampled", "", "");
        let options = SchedulerOptions { window_when_leaking: when_leaking, ..options() };
        let rig = Rig::start_with(options, &[&script], Vec::new(), Box::new(leaking));
        rig.snapshot();
        assert_eq!(rig.tick().tick.cause, Cause::Tick);
        rig.barrier();
        assert_eq!(script.log().matches("open_window").count(), expected);
    }
}
