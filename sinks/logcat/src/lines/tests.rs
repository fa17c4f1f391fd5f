//! The lines are an interface: a change here is a change for those who grep.

use expect_test::{Expect, expect};
use leakline_core::VerdictEngine;
use leakline_core::conformance::{sample_mark, sample_session, sample_snapshot};

use super::*;

fn check(lines: &[Line], expected: &Expect) {
    let text: Vec<String> = lines
        .iter()
        .map(|(priority, text)| format!("{} {text}\n", if *priority == Priority::Warn { 'W' } else { 'I' }))
        .collect();
    expected.assert_eq(&text.concat());
}

/// The lines of each snapshot of a session with `sites` sites.
fn run(snapshots: impl IntoIterator<Item = Snapshot>) -> Vec<Line> {
    let (mut lines, mut engine) = (Lines::default(), VerdictEngine::default());
    snapshots
        .into_iter()
        .flat_map(|snapshot| {
            let verdicts = engine.push(&snapshot, None);
            lines.snapshot(&snapshot, &verdicts, 2)
        })
        .collect()
}

#[test]
fn start_mark_loss_and_end() {
    let lines = [
        session(&sample_session()),
        mark(&sample_mark("reconnect")),
        lost(Loss { snapshots: 3, bytes: 12_288 }),
        end(&sample_session()),
    ];
    check(
        &lines,
        &expect![[r#"
        I Session 016c65616b6c696e652d73616d706c65: com.example.app:reticulum pid 4711, Android 15, aarch64, every 300s
        I Mark: reconnect tick=2024-01-01T00:05:01.5Z
        W Lost: 3 snapshots (12288 bytes)
        I Session 016c65616b6c696e652d73616d706c65 ended
    "#]],
    );
}

#[test]
fn two_snapshots_of_a_growing_host() {
    check(
        &run((0..2).map(|number| sample_snapshot(number, 30))),
        &expect![[r#"
        I Probe: python found: python 1.0 tick=2024-01-01T00:05:00Z
        I Probe: native found: native 1.0 tick=2024-01-01T00:05:00Z
        I Probe: process found: process 1.0 tick=2024-01-01T00:05:00Z
        I Memory: JVM=- Native=20.0MB Python=0.0MB RSS=80.0MB tick=2024-01-01T00:05:00Z #0
        I Probe: jvm found: jvm 1.0 tick=2024-01-01T00:10:00Z
        I Memory: JVM=45.0MB/512MB Native=20.0MB Python=0.0MB RSS=80.0MB tick=2024-01-01T00:10:00Z #1
        I #1: +1.0 KiB (+1 blocks) at RNS/module_14.py:1 receive < reticulum_wrapper_14.py:464 on_packet tick=2024-01-01T00:10:00Z
        I #2: +1.0 KiB (+1 blocks) at RNS/module_21.py:1 receive < reticulum_wrapper_1.py:451 on_packet < … tick=2024-01-01T00:10:00Z
    "#]],
    );
}

#[test]
fn a_leak_is_told_with_its_sites_at_each_tick_and_its_end_once() {
    let leak = run((0..8).map(|number| sample_snapshot(number, 500)));
    check(
        &leak[leak.len() - 4..],
        &expect![[r#"
            I #2: +7.0 KiB (+7 blocks) at RNS/module_31.py:5 receive < reticulum_wrapper_11.py:461 on_packet < … tick=2024-01-01T00:40:00Z
            W LEAK  python   +14.4 KiB/min (95 %: 14.4 KiB to 14.4 KiB) tick=2024-01-01T00:40:00Z
            W       2 % of it, +248 B/min, at RNS/module_43.py:7 receive < reticulum_wrapper_3.py:453 on_packet tick=2024-01-01T00:40:00Z
            W       2 % of it, +248 B/min, at RNS/module_31.py:5 receive < reticulum_wrapper_11.py:461 on_packet < … tick=2024-01-01T00:40:00Z
        "#]],
    );
}

#[test]
fn a_probe_is_told_of_when_something_changes() {
    let with = |number, status: ReadingStatus| {
        let mut snapshot = sample_snapshot(number, 0);
        snapshot.readings.truncate(1);
        snapshot.readings[0].profile = None;
        snapshot.readings[0].status = status;
        snapshot
    };
    let failed =
        || ReadingStatus::Failed { error: "no GIL".to_owned(), retry_in: std::time::Duration::from_secs(1) };
    let late = |seconds| ReadingStatus::Late { since: std::time::Duration::from_secs(seconds) };
    let all = [
        with(0, ReadingStatus::Absent { reason: "not initialised".to_owned() }),
        with(1, ReadingStatus::Ok),
        with(2, late(1)),
        with(3, late(2)),
        with(4, failed()),
        with(5, ReadingStatus::Ok),
    ];
    let told: Vec<Line> = run(all).into_iter().filter(|(_, text)| text.starts_with("Probe")).collect();
    check(
        &told,
        &expect![[r#"
        I Probe: python found: python 1.0 tick=2024-01-01T00:10:00Z
        W Probe: python late: its reading is missing until it answers tick=2024-01-01T00:15:00Z
        W Probe: python failed: no GIL tick=2024-01-01T00:25:00Z
        I Probe: python found: python 1.0 tick=2024-01-01T00:30:00Z
    "#]],
    );
}
