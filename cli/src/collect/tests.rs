//! The lines of a collector, for a person and for a machine.

use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use leakline_collector::{CollectorEvent, EndReason};
use leakline_core::{
    Cause, Evidence, Gauge, Host, Kind, Layer, Loss, Mark, OwnCost, Rate, ReadCost, Reading, ReadingStatus,
    Session, SessionId, Snapshot, Subject, Tick, Timestamp, Verdict, names,
};

use super::live::Live;

/// 2026-11-23 09:00 UTC.
const BEGIN: u64 = 1_795_424_400;
const ID: SessionId = SessionId([0x4f; 16]);

fn at(seconds: u64) -> Timestamp {
    Timestamp { unix_nanos: (BEGIN + seconds) * 1_000_000_000, boot_nanos: seconds * 1_000_000_000 }
}

fn snapshot(number: u64, kind: Kind) -> CollectorEvent {
    let gauges = vec![
        Gauge::bytes(names::PYTHON_TRACED, 31_667_978 + number * 1_000_000),
        Gauge::bytes(names::RESIDENT, 222_298_112),
    ];
    let reading = Reading {
        probe: "all".into(),
        layer: Layer::Python,
        status: ReadingStatus::Ok,
        taken: None,
        gauges,
        profiles: Vec::new(),
        holders: Vec::new(),
        cycles: Vec::new(),
        runtime: None,
        notes: Vec::new(),
        cost: ReadCost::default(),
    };
    let tick = Tick { cause: Cause::Tick, at: at(number * 300), deadline_boot_nanos: 0 };
    let rate = Some(Rate { bytes_per_second: 24_117.0, low: 23_000.0, high: 25_000.0 });
    let verdict = Verdict {
        subject: Subject::Layer(Layer::Python),
        gauge: names::PYTHON_TRACED.to_owned(),
        kind,
        rate,
        points: 9,
        share: None,
        seconds_to_limit: None,
        evidence: Evidence::default(),
    };
    CollectorEvent::Snapshot {
        session: ID,
        snapshot: Arc::new(Snapshot {
            number,
            tick,
            interval: Duration::from_secs(300),
            baseline: 0,
            missed_ticks: number / 3,
            clock_jump_nanos: 0,
            skew_nanos: Some(120_000),
            readings: vec![reading],
            own: OwnCost::default(),
        }),
        verdicts: vec![verdict],
    }
}

fn started(next_entry: u64) -> CollectorEvent {
    let host = Host {
        name: "python3 app.py\x1b[2J".to_owned(),
        pid: 4711,
        platform: "Debian GNU/Linux 12, x86_64".to_owned(),
        ..Host::default()
    };
    let session = Session {
        id: ID,
        started: at(0),
        interval: Duration::from_secs(300),
        host,
        agent_version: "0.1.0".to_owned(),
        origin: None,
    };
    CollectorEvent::SessionStarted { session, peer: None, path: "x.leak".into(), next_entry }
}

fn check(as_json: bool, events: &[CollectorEvent], expected: &Expect) {
    let mut live = Live::new(as_json);
    let mut lines = vec![live.listening("127.0.0.1:7474", "/data/leakline/sessions")];
    for event in events {
        lines.extend(live.lines(event, at(1000).unix_nanos));
    }
    let text = anstream::adapter::strip_str(&lines.join("\n")).to_string();
    expected.assert_eq(&format!("{text}\n"));
}

#[test]
fn each_event_is_a_line_and_a_leak_is_told_when_it_begins_and_when_it_is_over() {
    let mark = Mark { name: "reconnect".to_owned(), at: at(310) };
    check(
        false,
        &[
            started(0),
            snapshot(0, Kind::NotEnoughData),
            snapshot(1, Kind::SteadyLeak),
            CollectorEvent::Mark { session: ID, mark },
            snapshot(2, Kind::SteadyLeak),
            CollectorEvent::Lost { session: ID, loss: Loss { snapshots: 1, bytes: 2048 } },
            CollectorEvent::Gap { session: ID, missing_entries: 3 },
            snapshot(3, Kind::Quiet),
            CollectorEvent::SessionEnded {
                session: ID,
                reason: EndReason::Disconnected { reason: "connection reset".to_owned() },
            },
            started(12),
            CollectorEvent::SessionEnded { session: ID, reason: EndReason::Finished },
            CollectorEvent::Refused { peer: "10.0.0.7:4000".parse().ok(), why: "no hello came".to_owned() },
        ],
        &expect![[r#"
            listening on 127.0.0.1:7474  sessions go to /data/leakline/sessions
            09:16:40 4f4f4f4f started python3 app.py�[2J pid 4711, every 5 min, Debian GNU/Linux 12, x86_64, leakline 0.1.0
            09:00:00 4f4f4f4f #0  Python=30.2MiB RSS=212.0MiB skew 0.1 ms
            09:05:00 4f4f4f4f #1  Python=31.2MiB RSS=212.0MiB skew 0.1 ms
            09:05:00 4f4f4f4f LEAK  python   +1.38 MiB/min (95 %: 1.32 to 1.43)
            09:05:10 4f4f4f4f mark reconnect
            09:10:00 4f4f4f4f #2  Python=32.1MiB RSS=212.0MiB skew 0.1 ms
            09:16:40 4f4f4f4f lost 1 snapshot, 2.0 KiB
            09:16:40 4f4f4f4f missing 3 entries
            09:15:00 4f4f4f4f #3  Python=33.1MiB RSS=212.0MiB skew 0.1 ms 1 tick missed
            09:15:00 4f4f4f4f ok    python   too little to tell: +1.38 MiB/min (95 %: 1.32 to 1.43)
            09:16:40 4f4f4f4f disconnected connection reset; it may come back
            09:16:40 4f4f4f4f back python3 app.py�[2J pid 4711, every 5 min, Debian GNU/Linux 12, x86_64, leakline 0.1.0
            09:16:40 4f4f4f4f ended; see it with: leakline report 4f4f4f4f
            09:16:40 refused 10.0.0.7:4000: no hello came
        "#]],
    );
}

#[test]
fn for_a_machine_each_line_is_an_object() {
    check(
        true,
        &[
            started(0),
            snapshot(1, Kind::SteadyLeak),
            CollectorEvent::SessionEnded { session: ID, reason: EndReason::Finished },
            CollectorEvent::Refused { peer: None, why: "no hello came".to_owned() },
        ],
        &expect![[r#"
            {"address":"127.0.0.1:7474","event":"listening","folder":"/data/leakline/sessions"}
            {"agent_version":"0.1.0","application":null,"at":{"unix_seconds":1795425400.0,"utc":"2026-11-23T09:16:40.000Z"},"event":"started","host":"python3 app.py\u001b[2J","interval_seconds":300.0,"parent_pid":null,"pid":4711,"platform":"Debian GNU/Linux 12, x86_64","resumed":false,"session":"4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f"}
            {"at":{"unix_seconds":1795424700.0,"utc":"2026-11-23T09:05:00.000Z"},"event":"snapshot","layers":{"python_bytes":32667978.0,"rss_bytes":222298112.0},"leaking":["python"],"missed_ticks":0,"number":1,"session":"4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f","skew_seconds":0.00012}
            {"at":{"unix_seconds":1795424700.0,"utc":"2026-11-23T09:05:00.000Z"},"bytes_per_second":24117.0,"event":"leak","layer":"python","session":"4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f","words":"LEAK  python   +1.38 MiB/min (95 %: 1.32 to 1.43)"}
            {"at":{"unix_seconds":1795425400.0,"utc":"2026-11-23T09:16:40.000Z"},"event":"ended","session":"4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f"}
            {"at":{"unix_seconds":1795425400.0,"utc":"2026-11-23T09:16:40.000Z"},"event":"refused","peer":null,"session":null,"why":"no hello came"}
        "#]],
    );
}
