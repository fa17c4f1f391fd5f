//! Whole reports of sessions made by hand: core's types through the encoder into a recording's bytes and back.

mod bridged;
mod first;
mod native;
mod sources;

use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use leakline_core::{
    Amount, Cause, Evidence, Frame, Gauge, Host, Kind, Layer, Loss, Mark, OwnCost, Profile, ProfileSource,
    Rate, ReadCost, Reading, ReadingStatus, Record, RuntimeInfo, Session, SessionId, Site, SiteStat,
    Snapshot, Subject, Tick, Timestamp, Verdict, names,
};
use leakline_proto::{Encoder, recording};

use super::build::Range;
use super::{Bounds, json, open, text};

const MIB: f64 = 1_048_576.0;
/// 2026-11-23 09:00 UTC.
const BEGIN: u64 = 1_795_424_400;
const BOOTED: u64 = BEGIN - 1000;

fn at(minute: u64) -> Timestamp {
    let unix = BEGIN + minute * 60;
    Timestamp { unix_nanos: unix * 1_000_000_000, boot_nanos: (unix - BOOTED) * 1_000_000_000 }
}

fn session() -> Session {
    Session {
        id: SessionId([0x4f; 16]),
        started: at(0),
        interval: Duration::from_secs(300),
        host: Host {
            name: "com.example.app:reticulum".to_owned(),
            pid: 4711,
            started_boot_nanos: 1,
            platform: "Pixel 8, Android 15".to_owned(),
            limit: Some((512 << 20, "the cgroup".to_owned())),
        },
        agent_version: "0.1.0".to_owned(),
        origin: None,
    }
}

fn site(lines: &[(&str, &str, u32)], truncated: bool) -> Arc<Site> {
    let frames = lines
        .iter()
        .map(|(file, function, line)| Arc::new(Frame::new(*function, format!("/app/{file}"), *line)));
    Arc::new(Site::call_path(frames.collect::<Vec<_>>(), truncated))
}

fn leaking_site() -> Arc<Site> {
    site(&[("RNS/Destination.py", "receive", 230), ("reticulum_wrapper.py", "on_packet", 450)], true)
}

fn profile(tick: u64) -> Profile {
    let stat = |site, bytes, blocks| SiteStat::exact(site, Amount { bytes, blocks });
    Profile::new(
        ProfileSource::exact(ProfileSource::TRACEMALLOC),
        vec![
            stat(leaking_site(), 1_000_000 + tick * 6_950_000, 20 + tick * 412),
            stat(site(&[("cache.py", "", 7)], false), 50_000 + (tick % 2) * 4096, 3 + tick % 2),
            stat(site(&[("start.py", "main", 1)], false), 9_000_000 - tick.min(1) * 2_000_000, 900),
        ],
    )
}

fn reading(probe: &'static str, layer: Layer, gauges: Vec<Gauge>) -> Reading {
    Reading {
        probe: probe.into(),
        layer,
        status: ReadingStatus::Ok,
        taken: Some(at(0)),
        gauges,
        profiles: Vec::new(),
        holders: Vec::new(),
        cycles: Vec::new(),
        runtime: None,
        notes: Vec::new(),
        cost: ReadCost::default(),
    }
}

fn snapshot(tick: u64) -> Snapshot {
    let bytes = |name: &'static str, mib: f64| Gauge::bytes(name, (mib * MIB) as u64);
    let grown = 6.9 * tick as f64;
    let traced =
        vec![bytes(names::PYTHON_TRACED, 12.0 + grown), bytes(names::PYTHON_TRACED_SMALL, 11.0 + grown)];
    let mut python = reading("python", Layer::Python, traced);
    python.profiles = vec![Arc::new(profile(tick))];
    let runtime = RuntimeInfo { name: "CPython 3.11.7".to_owned(), source_roots: vec!["/app".to_owned()] };
    python.runtime = Some(Arc::new(runtime));
    let mut jvm =
        reading("jvm", Layer::Jvm, vec![bytes(names::JVM_HEAP_USED, [45.0, 61.0][tick as usize % 2])]);
    jvm.notes.extend((tick > 4).then(|| format!("buffers not asked: the last answer took {tick} ms")));
    if tick == 2 {
        jvm.status = ReadingStatus::Late { since: Duration::from_secs(2) };
        jvm.gauges.clear();
    }
    Snapshot {
        number: tick,
        tick: Tick {
            cause: if tick == 0 { Cause::Baseline } else { Cause::Tick },
            at: at(tick * 5),
            deadline_boot_nanos: at(tick * 5 + 1).boot_nanos,
        },
        interval: Duration::from_secs(300),
        baseline: 0,
        missed_ticks: 0,
        clock_jump_nanos: 0,
        skew_nanos: Some(100_000 + tick * 75_000),
        readings: vec![
            python,
            jvm,
            reading(
                "native",
                Layer::Native,
                vec![bytes(names::MALLOC_LIVE, 30.0), bytes(names::MALLOC_FREE, 6.2)],
            ),
            reading(
                "process",
                Layer::Process,
                vec![
                    bytes(names::RESIDENT, 190.0 + grown),
                    bytes(names::ANONYMOUS, 140.0 + grown),
                    bytes(names::FILE_BACKED, 50.0),
                ],
            ),
        ],
        own: OwnCost {
            cpu: Duration::from_millis(90 * tick),
            wall: Duration::from_secs(300 * tick),
            held_bytes: Some(3_250_585),
            longest_stall: Duration::from_micros(200),
            sinks: Vec::new(),
        },
    }
}

fn verdicts(tick: u64) -> Vec<Verdict> {
    let verdict = |subject, gauge: &str, kind, rate| Verdict {
        subject,
        gauge: gauge.to_owned(),
        kind,
        rate,
        points: tick as u32 + 1,
        share: None,
        seconds_to_limit: None,
        evidence: Evidence::default(),
    };
    if tick < 3 {
        let subject = Subject::Layer(Layer::Python);
        return vec![verdict(subject, names::PYTHON_TRACED, Kind::NotEnoughData, None)];
    }
    let rate = |mid: f64| Some(Rate { bytes_per_second: mid, low: mid * 0.95, high: mid * 1.05 });
    let mut python =
        verdict(Subject::Layer(Layer::Python), names::PYTHON_TRACED, Kind::SteadyLeak, rate(24_117.0));
    python.seconds_to_limit = Some((7800.0, 6900.0, 9060.0));
    let mut site =
        verdict(Subject::Site(Layer::Python, leaking_site()), "", Kind::SteadyLeak, rate(23_152.0));
    site.share = Some(0.96);
    vec![
        python,
        site,
        verdict(Subject::Layer(Layer::Jvm), names::JVM_HEAP_USED, Kind::Quiet, rate(0.0)),
        verdict(Subject::Layer(Layer::Native), names::MALLOC_LIVE, Kind::Quiet, rate(0.0)),
    ]
}

/// The bytes of a recording with `ticks` snapshots.
fn recorded(ticks: u64, end: bool) -> Vec<u8> {
    let mut encoder = Encoder::new(&session());
    let mut entries = encoder.start();
    for tick in 0..ticks {
        let record = Record::Snapshot { snapshot: Arc::new(snapshot(tick)), verdicts: verdicts(tick).into() };
        entries.extend(encoder.record(&record));
        if tick % 2 == 1 {
            let at = Timestamp { unix_nanos: at(tick * 5).unix_nanos + 7_000_000_000, ..at(tick * 5) };
            entries.extend(encoder.record(&Record::Mark(Mark { name: "reconnect".to_owned(), at })));
        }
        if tick == 3 {
            entries.extend(encoder.record(&Record::Lost(Loss { snapshots: 2, bytes: 4096 })));
        }
    }
    entries.extend(end.then(|| encoder.end(at(ticks * 5))));
    let mut bytes = recording::header().to_vec();
    entries.iter().for_each(|entry| recording::append(entry, &mut bytes));
    bytes
}

fn bounds(top: usize) -> Bounds {
    Bounds { top: Some(top), frames: 12 }
}

fn show(bytes: &[u8], range: Range, top: usize, as_json: bool) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.leak");
    std::fs::write(&file, bytes).unwrap();
    let shown = match open::report(&file, range) {
        Ok(report) if as_json => format!("{:#}", json::show(&report, top)),
        Ok(report) => anstream::adapter::strip_str(&text::show(&report, bounds(top))).to_string(),
        Err(error) => format!("error: {error:#}\n"),
    };
    shown.replace(&folder.path().display().to_string(), "DIR")
}

fn check(bytes: &[u8], range: Range, top: usize, expected: &Expect) {
    expected.assert_eq(&show(bytes, range, top, false));
}

#[test]
fn the_answer_comes_first_then_its_numbers() {
    check(
        &recorded(17, true),
        Range::default(),
        10,
        &expect![[r#"
            com.example.app:reticulum  pid 4711  Pixel 8, Android 15  CPython 3.11.7
            17 snapshots every 5 min, 2026-11-23 09:00 to 10:20 UTC, none missed, skew 0.7 ms (most 1.3 ms)

            LEAK  python   +1.38 MiB/min (95 %: 1.31 to 1.45), out of memory in 2 h 10 min (1 h 55 min to 2 h 31 min)
                           96 % of it here, +106.0 MiB in +6592 blocks, +1.3 MiB/min:
                             RNS/Destination.py:230 receive
                             < reticulum_wrapper.py:450 on_packet
                             < … cut off here; more frames with `run --frames`
            ok    jvm      steady, 0 B/min (95 %: 0 to 0)
            ok    native   steady, 0 B/min (95 %: 0 to 0)

                                        09:00      09:20      09:40      10:00      10:20  per minute          95 %
            resident                190.0 MiB  217.6 MiB  245.2 MiB  272.8 MiB  300.4 MiB    +1.4 MiB  1.38 to 1.38
              files (code, data)     50.0 MiB   50.0 MiB   50.0 MiB   50.0 MiB   50.0 MiB        none
              python objects         11.0 MiB   38.6 MiB   66.2 MiB   93.8 MiB  121.4 MiB    +1.4 MiB  1.38 to 1.38
              jvm heap used          45.0 MiB   45.0 MiB   45.0 MiB   45.0 MiB   45.0 MiB        none
              python large objects    1.0 MiB    1.0 MiB    1.0 MiB    1.0 MiB    1.0 MiB        none
              other malloc           29.0 MiB   29.0 MiB   29.0 MiB   29.0 MiB   29.0 MiB        none
              malloc free             6.2 MiB    6.2 MiB    6.2 MiB    6.2 MiB    6.2 MiB        none
              unexplained            47.8 MiB   47.8 MiB   47.8 MiB   47.8 MiB   47.8 MiB        none

                                          first     lowest    highest       last      change  per minute
            python.traced_bytes        12.0 MiB   12.0 MiB  122.4 MiB  122.4 MiB  +110.4 MiB    +1.4 MiB
            jvm.heap_used_bytes        45.0 MiB   45.0 MiB   61.0 MiB   45.0 MiB         0 B        none
            native.malloc_live_bytes   30.0 MiB   30.0 MiB   30.0 MiB   30.0 MiB         0 B        none
            process.resident_bytes    190.0 MiB  190.0 MiB  300.4 MiB  300.4 MiB  +110.4 MiB    +1.4 MiB

            Growth of python (tracemalloc) from 09:00 (snapshot 0) to 10:20 (snapshot 16): +104.1 MiB in +6592 blocks; 1 site grew, 1 shrank
              #1 +106.0 MiB in +6592 blocks, now 107.0 MiB in 6612 blocks
                   RNS/Destination.py:230 receive
                   < reticulum_wrapper.py:450 on_packet
                   < … cut off here; more frames with `run --frames`

            Marks
              reconnect  8 times, 09:05:07 to 10:15:07

            Readings
              jvm: late at 1 of 17 snapshots
              jvm: buffers not asked: the last answer took 16 ms (12 times)
              lost: 2 snapshots, 4.0 KiB (a queue was full)

            leakline itself: 0.03 % of a core, 3.1 MiB, longest stall 0.2 ms
        "#]],
    );
}

#[test]
fn a_session_with_one_snapshot_says_that_it_is_too_early() {
    check(
        &recorded(1, false),
        Range::default(),
        10,
        &expect![[r#"
            com.example.app:reticulum  pid 4711  Pixel 8, Android 15  CPython 3.11.7
            1 snapshot every 5 min, 2026-11-23 09:00 UTC, none missed, skew 0.1 ms (most 0.1 ms)
            no end was recorded: the program still runs, or was killed

            ?     python   not enough data: 1 of 5 readings

                                        09:00  per minute
            resident                190.0 MiB           -
              files (code, data)     50.0 MiB           -
              python objects         11.0 MiB           -
              jvm heap used          45.0 MiB           -
              python large objects    1.0 MiB           -
              other malloc           29.0 MiB           -
              malloc free             6.2 MiB           -
              unexplained            47.8 MiB           -

                                          first     lowest    highest       last  change  per minute
            python.traced_bytes        12.0 MiB   12.0 MiB   12.0 MiB   12.0 MiB     0 B           -
            jvm.heap_used_bytes        45.0 MiB   45.0 MiB   45.0 MiB   45.0 MiB     0 B           -
            native.malloc_live_bytes   30.0 MiB   30.0 MiB   30.0 MiB   30.0 MiB     0 B           -
            process.resident_bytes    190.0 MiB  190.0 MiB  190.0 MiB  190.0 MiB     0 B           -

            Growth of python (tracemalloc): only one profile, at snapshot 0; growth needs two

            leakline itself: 0.00 % of a core, 3.1 MiB, longest stall 0.2 ms
        "#]],
    );
}

#[test]
fn growth_can_be_asked_between_two_snapshots() {
    let range = Range { from: Some(2), to: Some(8) };
    let shown = show(&recorded(10, true), range, 1, false);
    // What the engine says of a part is core's to test; that it is asked is seen here.
    for line in [
        "7 snapshots every 5 min, 2026-11-23 09:10 to 09:40 UTC, none missed, skew 0.5 ms (most 0.7 ms)",
        "LEAK  python",
        "Growth of python (tracemalloc) from 09:10 (snapshot 2) to 09:40 (snapshot 8): +39.8 MiB in +2472 blocks; 1 site grew, 0 shrank",
        "  reconnect  3 times, 09:15:07 to 09:35:07",
        "  jvm: late at 1 of 7 snapshots",
    ] {
        assert!(shown.contains(line), "{line} is not in {shown}");
    }
}

#[test]
fn a_range_without_snapshots_says_which_there_are() {
    let range = Range { from: Some(40), to: None };
    check(
        &recorded(6, true),
        range,
        1,
        &expect![[r#"
        error: no snapshot in this range: the recording has 0 to 5: DIR/app.leak
    "#]],
    );
}

#[test]
fn a_recording_that_was_cut_off_is_shown_up_to_there() {
    let bytes = recorded(6, true);
    let shown = show(&bytes[..bytes.len() - 100], Range::default(), 3, false);
    assert!(shown.contains("truncated at byte "), "{shown}");
    assert!(shown.contains("no end was recorded"), "{shown}");
    assert!(shown.contains("LEAK"), "{shown}");
}

#[test]
fn a_damaged_recording_is_shown_with_what_is_missing() {
    let mut bytes = recorded(6, true);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    let shown = show(&bytes, Range::default(), 3, false);
    assert!(shown.contains("left out: damaged: DIR/app.leak"), "{shown}");
    assert!(shown.contains("missing: 1 entry"), "{shown}");
}

#[test]
fn rotated_parts_are_read_together_and_another_sessions_file_is_not() {
    let mut encoder = Encoder::new(&session());
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    for (name, ticks) in [("a.leak.2", 0..2), ("a.leak.1", 2..4), ("a.leak", 4..6)] {
        let mut bytes = recording::header().to_vec();
        let mut entries = encoder.restart();
        for tick in ticks {
            let record =
                Record::Snapshot { snapshot: Arc::new(snapshot(tick)), verdicts: verdicts(tick).into() };
            entries.extend(encoder.record(&record));
        }
        entries.iter().for_each(|entry| recording::append(entry, &mut bytes));
        std::fs::write(file(name), bytes).unwrap();
    }
    let mut other = Encoder::new(&Session { id: SessionId([1; 16]), ..session() });
    let mut bytes = recording::header().to_vec();
    other.start().iter().for_each(|entry| recording::append(entry, &mut bytes));
    std::fs::write(file("a.leak.3"), bytes).unwrap();

    let report = open::report(&file("a.leak"), Range::default()).unwrap();
    assert_eq!(report.session.id, session().id);
    assert_eq!(report.rows.len(), 6);
    assert_eq!(report.missing_entries, 0);
    assert_eq!(report.growths[0].from, 0);
    assert_eq!(report.problems, Vec::<String>::new());
}

#[test]
fn what_is_no_recording_is_refused_with_the_remedy() {
    check(
        b"\x7fELF and more that leakline never wrote",
        Range::default(),
        3,
        &expect![[r#"
        error: not a leakline recording (begins with 7f 45 4c 46 20 61 6e 64): DIR/app.leak
          Recordings are written by `leakline run -o FILE` and by `leakline collect`.
    "#]],
    );
    check(
        b"",
        Range::default(),
        3,
        &expect![[r#"
        error: an empty file: nothing was recorded yet: DIR/app.leak
          Try again once the program has run for a moment.
    "#]],
    );
    check(
        &recording::header(),
        Range::default(),
        3,
        &expect![[r#"
        error: no session can be read from this recording: DIR/app.leak
          It ends, or is damaged, before its first whole entry. Try again once the program has run for a moment.
    "#]],
    );
}

#[test]
fn every_cut_and_every_flipped_byte_gives_a_report_or_an_error() {
    let bytes = recorded(3, true);
    for at in (0..bytes.len()).step_by(37) {
        show(&bytes[..at], Range::default(), 2, false);
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x55;
        show(&flipped, Range::default(), 2, false);
    }
}

#[test]
fn control_characters_of_a_recording_do_not_reach_the_terminal() {
    let mut encoder = Encoder::new(&Session {
        host: Host { name: "evil\x1b]0;title\x07".to_owned(), ..session().host },
        ..session()
    });
    let record = Record::Snapshot { snapshot: Arc::new(snapshot(0)), verdicts: Vec::new().into() };
    let mut bytes = recording::header().to_vec();
    encoder.record(&record).iter().for_each(|entry| recording::append(entry, &mut bytes));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.leak");
    std::fs::write(&file, bytes).unwrap();
    let report = open::report(&file, Range::default()).unwrap();
    let shown = text::show(&report, bounds(3));
    assert!(!shown.contains("\x1b]") && !shown.contains('\x07'), "{shown:?}");
}

#[test]
fn the_json_object_has_the_documented_fields() {
    let value: serde_json::Value =
        serde_json::from_str(&show(&recorded(4, true), Range::default(), 1, true)).unwrap();
    let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
    let documented =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/report-json.md")).unwrap();
    fn names(value: &serde_json::Value, into: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(object) => object.iter().for_each(|(name, value)| {
                // The gauges' names are the host's.
                if name != "gauges" {
                    names(value, into);
                }
                into.push(name.clone());
            }),
            serde_json::Value::Array(items) => items.iter().for_each(|item| names(item, into)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    names(&value, &mut all);
    all.sort();
    all.dedup();
    let missing: Vec<&String> =
        all.iter().filter(|name| !documented.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "not in docs/report-json.md: {missing:?}");
    assert_eq!(value["growth"][0]["sites"].as_array().unwrap().len(), 1);
    expect![[r#"["coverage", "cycles", "explanations", "format", "fragmentation", "growing_resources", "growth", "growth_per_mark", "incomplete", "java_got_python", "marks", "own", "parts", "probes", "resident", "session", "snapshots", "types", "verdicts", "without_symbols"]"#]]
    .assert_eq(&format!("{keys:?}"));
    expect![[r#"
        {
          "bytes_per_second": 23152.0,
          "bytes_per_second_high": 24309.6,
          "bytes_per_second_low": 21994.4,
          "chance": null,
          "explained": null,
          "gauge": null,
          "kind": "steady",
          "lasting_seconds": null,
          "layer": "python",
          "leaks": true,
          "points": 4,
          "seconds_to_limit": null,
          "seconds_to_limit_high": null,
          "seconds_to_limit_low": null,
          "share_of_layer": 0.96,
          "site": {
            "frames": [
              {
                "file": "/app/RNS/Destination.py",
                "function": "receive",
                "line": 230,
                "native": null,
                "short_file": "RNS/Destination.py"
              },
              {
                "file": "/app/reticulum_wrapper.py",
                "function": "on_packet",
                "line": 450,
                "native": null,
                "short_file": "reticulum_wrapper.py"
              }
            ],
            "id": "e4e3b30b41a8cc5b",
            "truncated": true
          },
          "uncollected": false,
          "words": "96 % of it, +1.32 MiB/min, at RNS/Destination.py:230 receive < reticulum_wrapper.py:450 on_packet < …"
        }"#]].assert_eq(&format!("{:#}", value["verdicts"][1]));
}
