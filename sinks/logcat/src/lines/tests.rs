//! The lines are an interface: a change here is a change for those who grep.

use std::borrow::Cow;
use std::sync::Arc;

use expect_test::{Expect, expect};
use leakline_core::conformance::{sample_mark, sample_session, sample_snapshot};
use leakline_core::{
    Amount, Frame, Gauge, NativePlace, Profile, ProfileSource, SinkStats, Site, SiteStat, VerdictEngine,
};

use super::*;

fn check(lines: &[Line], expected: &Expect) {
    let letter = |severity| if severity == Severity::Warn { 'W' } else { 'I' };
    let text: Vec<String> =
        lines.iter().map(|line| format!("{} {}\n", letter(line.severity), line.text)).collect();
    expected.assert_eq(&text.concat());
}

/// The lines of each snapshot, with the verdicts of the real engine.
fn run(snapshots: impl IntoIterator<Item = Snapshot>) -> Vec<Line> {
    let (mut teller, mut engine) = (Teller::new(2), VerdictEngine::default());
    snapshots
        .into_iter()
        .flat_map(|snapshot| {
            let verdicts = engine.push(&snapshot, None);
            teller.snapshot(&snapshot, &verdicts)
        })
        .collect()
}

fn beginning<'a>(lines: &'a [Line], words: &str) -> Vec<&'a Line> {
    lines.iter().filter(|line| line.text.starts_with(words)).collect()
}

#[test]
fn start_mark_loss_and_end() {
    let mut teller = Teller::new(10);
    let mut lines = teller.session(&sample_session());
    lines.extend(teller.mark(&sample_mark("reconnect")));
    lines.extend(teller.mark(&sample_mark("two\nlines \u{1b}[31m")));
    teller.snapshot(&sample_snapshot(4, 0), &[]);
    lines.extend(teller.lost(Loss { snapshots: 3, bytes: 12_288 }));
    lines.extend(teller.end(17));
    check(
        &lines,
        &expect![[r#"
        I Session: id=016c65616b6c696e652d73616d706c65 host=com.example.app:reticulum pid=4711 interval=5m limit=512.0MB (the app's memory class) platform=Android 15, aarch64 leakline=0.1.0 tick=2024-01-01T00:00:07.500Z
        I Mark: reconnect tick=2024-01-01T00:05:01.500Z
        I Mark: two\nlines \u{1b}[31m tick=2024-01-01T00:05:01.500Z
        W Lost: 3 snapshots, 12288 bytes tick=2024-01-01T00:25:00Z #4
        I End: 17 snapshots tick=2024-01-01T00:25:00Z #4
    "#]],
    );
}

#[test]
fn two_snapshots_of_a_growing_host() {
    check(
        &run((0..2).map(|number| sample_snapshot(number, 30))),
        &expect![[r#"
            I Probe: python ok: python 1.0 tick=2024-01-01T00:05:00Z #0
            I Probe: native ok: native 1.0 tick=2024-01-01T00:05:00Z #0
            I Probe: process ok: process 1.0 tick=2024-01-01T00:05:00Z #0
            I Memory: JVM=- Native=20.0MB Python=0.0MB RSS=80.0MB tick=2024-01-01T00:05:00Z #0
            I Sites: python tracemalloc tick=2024-01-01T00:05:00Z #0
            I Verdict: ?     python   not enough data: 0 of 5 readings tick=2024-01-01T00:05:00Z #0
            I Verdict: ?     native   not enough data: 0 of 5 readings tick=2024-01-01T00:05:00Z #0
            I Verdict: ?     process  not enough data: 0 of 5 readings tick=2024-01-01T00:05:00Z #0
            I Probe: jvm ok: jvm 1.0 tick=2024-01-01T00:10:00Z #1
            I Memory: JVM=45.0MB/512MB Native=20.0MB Python=0.0MB RSS=80.0MB tick=2024-01-01T00:10:00Z #1
            I #1: +1.0 KiB (+1 blocks) at RNS/module_14.py:1 receive < reticulum_wrapper_14.py:464 on_packet tick=2024-01-01T00:10:00Z #1
            I #2: +1.0 KiB (+1 blocks) at RNS/module_21.py:1 receive < reticulum_wrapper_1.py:451 on_packet < … tick=2024-01-01T00:10:00Z #1
            I Verdict: ?     jvm      not enough data: 0 of 5 readings after a collection tick=2024-01-01T00:10:00Z #1
        "#]],
    );
}

#[test]
fn a_leak_is_told_with_its_sites_at_each_tick() {
    let leak = run((0..8).map(|number| sample_snapshot(number, 500)));
    let tick = leak.last().unwrap().text.rsplit_once(" tick=").unwrap().1.to_owned();
    let last: Vec<Line> = leak.into_iter().filter(|line| line.text.ends_with(&tick)).collect();
    check(
        &last,
        &expect![[r#"
            I Memory: JVM=45.0MB/512MB Native=20.0MB Python=0.5MB RSS=80.5MB tick=2024-01-01T00:40:00Z #7
            I #1: +7.0 KiB (+7 blocks) at RNS/module_43.py:7 receive < reticulum_wrapper_3.py:453 on_packet tick=2024-01-01T00:40:00Z #7
            I #2: +7.0 KiB (+7 blocks) at RNS/module_31.py:5 receive < reticulum_wrapper_11.py:461 on_packet < … tick=2024-01-01T00:40:00Z #7
            W Verdict: LEAK  python   +14.40 KiB/min (95 %: 14.40 to 14.40) tick=2024-01-01T00:40:00Z #7
            W Verdict:       1 % of it, +205 B/min, at RNS/module_43.py:7 receive < reticulum_wrapper_3.py:453 on_packet tick=2024-01-01T00:40:00Z #7
            W Verdict:       1 % of it, +205 B/min, at RNS/module_31.py:5 receive < reticulum_wrapper_11.py:461 on_packet < … tick=2024-01-01T00:40:00Z #7
        "#]],
    );
}

#[test]
fn what_explains_a_leak_follows_its_layer() {
    let lines = run((0..8_u64).map(|number| {
        let mut snapshot = sample_snapshot(number, 0);
        let native = snapshot.readings.iter_mut().find(|reading| reading.layer == Layer::Native).unwrap();
        let mib = (20 + number) << 20;
        native.gauges.retain(|gauge| gauge.name != names::MALLOC_LIVE);
        native.gauges.push(Gauge::bytes(names::MALLOC_LIVE, mib));
        let place = NativePlace { build_id: "".into(), address: 7 };
        let frames = [
            Frame::in_object("malloc", "/lib/libc.so.6", place),
            Frame::new("fill", "/data/app/files/chaquopy/AssetFinder/RNS/codec.py", 7),
        ];
        let site = Site::call_path(frames.map(Arc::new).to_vec(), false);
        let stat = SiteStat::exact(Arc::new(site), Amount { bytes: mib, blocks: number });
        native.profiles = vec![Arc::new(Profile::new(ProfileSource::exact("exact"), vec![stat]))];
        snapshot
    }));
    let told = beginning(&lines, "Verdict:       ");
    let line = told.iter().rfind(|line| line.text.contains(" under ")).unwrap();
    let expected = "Verdict:       100 % of it under Python (95 %: 100 to 100), most at ";
    assert!(line.text.starts_with(expected), "{}", line.text);
    assert_eq!(line.severity, Severity::Warn);
}

#[test]
fn estimates_come_with_their_error_and_types_with_who_holds_them() {
    let lines = run((0..2_u64).map(|number| {
        let stat = |site, bytes, blocks, standard_error_bytes| SiteStat {
            standard_error_bytes,
            ..SiteStat::exact(Arc::new(site), Amount { bytes, blocks })
        };
        let mut snapshot = sample_snapshot(number, 0);
        let python = &mut snapshot.readings[0];
        let sampled = ProfileSource::sampled(ProfileSource::SAMPLED, 65_536);
        let frame = Arc::new(Frame::new("receive", "a.py", 7));
        let sites = vec![stat(Site::call_path(vec![frame], false), number << 20, number * 300, number << 18)];
        let packets = vec![stat(Site::class("RNS.Packet"), number * 9000, number * 30, 0)];
        python.profiles = vec![
            Arc::new(Profile::new(sampled, sites)),
            Arc::new(Profile::new(ProfileSource::exact(ProfileSource::TYPES), packets)),
        ];
        let holder = "list RNS.Transport.pending_inbound".to_owned();
        python.holders = vec![Holder { of: "RNS.Packet".into(), holder, count: 28 }];
        snapshot
    }));
    let told: Vec<Line> = lines
        .into_iter()
        .filter(|line| ["Sites", "#", "Type"].iter().any(|kind| line.text.starts_with(kind)))
        .collect();
    check(
        &told,
        &expect![[r#"
        I Sites: python sampled every 64 KiB tick=2024-01-01T00:05:00Z #0
        I #1: +1.0 MiB ± 501.8 KiB (+300 blocks) at a.py:7 receive tick=2024-01-01T00:10:00Z #1
        I Type: +30 RNS.Packet (+8.8 KiB), held by list RNS.Transport.pending_inbound (+28 since the census before) tick=2024-01-01T00:10:00Z #1
    "#]],
    );
}

#[test]
fn a_site_that_shrank_is_not_among_the_growing_ones() {
    let lines = run([5, 0].map(|number| {
        let mut snapshot = sample_snapshot(number, 30);
        snapshot.baseline = 0;
        snapshot
    }));
    assert_eq!(beginning(&lines, "#"), Vec::<&Line>::new());
}

#[test]
fn a_probe_is_told_of_when_something_changes() {
    let mut number = 0;
    let mut with = |status: ReadingStatus, notes: &[&str]| {
        let mut snapshot = sample_snapshot(number, 0);
        number += 1;
        snapshot.readings.truncate(1);
        snapshot.readings[0].profiles.clear();
        snapshot.readings[0].status = status;
        snapshot.readings[0].notes = notes.iter().map(ToString::to_string).collect();
        snapshot
    };
    let late = |seconds| ReadingStatus::Late { since: Duration::from_secs(seconds) };
    let failed = ReadingStatus::Failed { error: "no GIL".to_owned(), retry_in: Duration::from_millis(1500) };
    let all = [
        with(ReadingStatus::Absent { reason: "not initialised".to_owned() }, &[]),
        with(ReadingStatus::Ok, &["2 frames only"]),
        with(late(1), &[]),
        with(late(301), &[]),
        with(failed, &[]),
        with(ReadingStatus::Ok, &["2 frames only"]),
        with(ReadingStatus::Ok, &["2 frames only", "over the limit of sites"]),
        with(ReadingStatus::Absent { reason: "the interpreter ended".to_owned() }, &[]),
    ];
    let lines: Vec<Line> = run(all).into_iter().filter(|line| !line.text.starts_with("Memory")).collect();
    check(
        &lines,
        &expect![[r#"
            I Verdict: ?     python   not enough data: 0 of 5 readings tick=2024-01-01T00:05:00Z #0
            I Probe: python ok: python 1.0 tick=2024-01-01T00:10:00Z #1
            I Note: python: 2 frames only tick=2024-01-01T00:10:00Z #1
            W Probe: python late: for 1s tick=2024-01-01T00:15:00Z #2
            W Probe: python failed: no GIL, again in 1s tick=2024-01-01T00:25:00Z #4
            I Probe: python ok: python 1.0 tick=2024-01-01T00:30:00Z #5
            I Verdict: ok    python   steady, 0 B/min (95 %: 0 to 0) tick=2024-01-01T00:30:00Z #5
            I Note: python: over the limit of sites tick=2024-01-01T00:35:00Z #6
            I Probe: python absent: the interpreter ended tick=2024-01-01T00:40:00Z #7
        "#]],
    );
}

#[test]
fn missed_ticks_a_set_clock_and_losses_of_other_sinks_are_told() {
    let mut first = sample_snapshot(0, 0);
    (first.missed_ticks, first.clock_jump_nanos) = (3, -2_500_000_000);
    let with_loss = |number, snapshots, error: &str| {
        let mut snapshot = sample_snapshot(number, 0);
        snapshot.own.sinks = vec![SinkStats {
            sink: Cow::Borrowed("grpc"),
            lost: Loss { snapshots, bytes: 100 },
            last_error: error.to_owned(),
            ..SinkStats::default()
        }];
        snapshot
    };
    let all = [first, with_loss(1, 0, ""), with_loss(2, 2, "refused"), with_loss(3, 2, "refused")];
    let lines: Vec<Line> = run(all)
        .into_iter()
        .filter(|line| ["Missed", "Sink"].iter().any(|kind| line.text.starts_with(kind)))
        .collect();
    check(
        &lines,
        &expect![[r#"
        I Missed: 3 ticks, clock jumped by -2.5s tick=2024-01-01T00:05:00Z #0
        W Sink: grpc lost 2 snapshots so far: refused tick=2024-01-01T00:15:00Z #2
    "#]],
    );
}

#[test]
fn a_line_has_an_end_and_keeps_its_tick() {
    for length in MAX_LINE_BYTES - 40..MAX_LINE_BYTES + 40 {
        let line = line(Severity::Info, &"é".repeat(length / 2), " tick=2024-01-01T00:00:00Z #1");
        assert!(line.text.len() <= MAX_LINE_BYTES, "{}", line.text.len());
        assert!(line.text.ends_with(" tick=2024-01-01T00:00:00Z #1"), "{}", line.text);
    }
}

#[test]
fn any_instant_has_words() {
    for (nanos, expected) in [
        (0, " tick=1970-01-01T00:00:00Z"),
        (1_704_067_500_250_000_000, " tick=2024-01-01T00:05:00.250Z"),
        (u64::MAX, " tick=2554-07-21T23:34:33.709Z"),
    ] {
        assert_eq!(instant(Timestamp { unix_nanos: nanos, boot_nanos: 0 }), expected);
    }
}
