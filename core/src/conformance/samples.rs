//! Sessions, snapshots and marks to feed sinks, encoders and stores with. The same arguments give the same sample.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::model::{
    Amount, Cause, Frame, Gauge, Host, Layer, Mark, OwnCost, Profile, ProfileSource, ReadCost, Reading,
    ReadingStatus, RuntimeInfo, Session, SessionId, Site, SiteStat, Snapshot, Tick, names,
};
use crate::sink::Record;

const INTERVAL: Duration = Duration::from_secs(300);
/// 2024-01-01 00:05:00 UTC.
const FIRST_TICK: Timestamp =
    Timestamp { unix_nanos: 1_704_067_500_000_000_000, boot_nanos: 1_292_500_000_000 };

/// A session of a host with Python, a JVM and a limit of 512 MiB.
pub fn sample_session() -> Session {
    Session {
        id: SessionId(*b"\x01leakline-sample"),
        started: Timestamp { unix_nanos: 1_704_067_207_500_000_000, boot_nanos: 1_000_000_000_000 },
        interval: INTERVAL,
        host: Host {
            name: "com.example.app:reticulum".to_owned(),
            pid: 4711,
            started_boot_nanos: 990_000_000_000,
            platform: "Android 15, aarch64".to_owned(),
            limit: Some((512 << 20, "the app's memory class".to_owned())),
        },
        agent_version: "0.1.0".to_owned(),
        origin: None,
    }
}

/// The snapshot called `number` of a host whose Python heap has `sites` sites, of which every seventh leaks 1 KiB a
/// tick. Snapshot 0 is the baseline; the JVM shows up in snapshot 1.
pub fn sample_snapshot(number: u64, sites: usize) -> Snapshot {
    let passed = INTERVAL.as_nanos() as u64 * number;
    let at =
        Timestamp { unix_nanos: FIRST_TICK.unix_nanos + passed, boot_nanos: FIRST_TICK.boot_nanos + passed };
    let profile = sample_profile(number, sites);
    let traced = profile.total().bytes;
    let resident = 80 * (1 << 20) + traced;
    let readings = vec![
        reading(
            "python",
            Layer::Python,
            at,
            vec![
                Gauge::bytes(names::PYTHON_TRACED, traced),
                Gauge::total(names::PYTHON_GC_COLLECTIONS, 17 * number),
            ],
            Some(profile),
        ),
        jvm(number, at),
        reading("native", Layer::Native, at, vec![Gauge::bytes(names::MALLOC_LIVE, 20 << 20)], None),
        reading("process", Layer::Process, at, vec![Gauge::bytes(names::RESIDENT, resident)], None),
    ];
    Snapshot {
        number,
        tick: Tick {
            cause: if number == 0 { Cause::Baseline } else { Cause::Tick },
            at,
            deadline_boot_nanos: at.boot_nanos + 30_000_000_000,
        },
        interval: INTERVAL,
        baseline: 0,
        missed_ticks: 0,
        clock_jump_nanos: 0,
        skew_nanos: Some(90_000),
        readings,
        own: OwnCost {
            cpu: Duration::from_millis(3 * (number + 1)),
            wall: INTERVAL * u32::try_from(number).unwrap_or(u32::MAX),
            held_bytes: Some(3 << 20),
            longest_stall: Duration::from_micros(200),
            sinks: Vec::new(),
        },
    }
}

/// The Python heap's profile in `sample_snapshot`.
pub fn sample_profile(number: u64, sites: usize) -> Profile {
    let function: Arc<str> = "receive".into();
    let outer: Vec<Arc<Frame>> = (0..20)
        .map(|index| {
            frame(&"on_packet".into(), &format!("/app/reticulum_wrapper_{index}.py").into(), 450 + index)
        })
        .collect();
    let files: Vec<Arc<str>> = (0..50).map(|index| format!("/app/RNS/module_{index}.py").into()).collect();
    let stats = (0..sites).map(|index| {
        let inner = frame(&function, &files[index % files.len()], 1 + (index / files.len()) as u32);
        let leaked = if index % 7 == 0 { number } else { 0 };
        SiteStat::exact(
            Arc::new(Site::call_path(vec![inner, Arc::clone(&outer[index % outer.len()])], index % 3 == 0)),
            Amount { bytes: 64 + 1024 * leaked, blocks: 1 + leaked },
        )
    });
    Profile::new(ProfileSource::exact(ProfileSource::TRACEMALLOC), stats.collect())
}

/// `sample_snapshot` as a sink gets it, without verdicts.
pub fn sample_record(number: u64, sites: usize) -> Record {
    Record::Snapshot { snapshot: Arc::new(sample_snapshot(number, sites)), verdicts: Arc::new([]) }
}

/// A mark called `name`, 1.5 s after the first tick.
pub fn sample_mark(name: &str) -> Mark {
    let (unix_nanos, boot_nanos) =
        (FIRST_TICK.unix_nanos + 1_500_000_000, FIRST_TICK.boot_nanos + 1_500_000_000);
    Mark { name: name.to_owned(), at: Timestamp { unix_nanos, boot_nanos } }
}

fn jvm(number: u64, at: Timestamp) -> Reading {
    let gauges =
        vec![Gauge::bytes(names::JVM_HEAP_USED, 45 << 20), Gauge::bytes(names::JVM_HEAP_MAX, 512 << 20)];
    let mut reading = reading("jvm", Layer::Jvm, at, gauges, None);
    if number == 0 {
        reading.status = ReadingStatus::Absent { reason: "no JVM in this process yet".to_owned() };
        reading.taken = None;
        reading.gauges.clear();
        reading.runtime = None;
    }
    reading
}

fn reading(
    probe: &'static str,
    layer: Layer,
    at: Timestamp,
    gauges: Vec<Gauge>,
    profile: Option<Profile>,
) -> Reading {
    let after = 10_000 * (layer as u64 + 1);
    Reading {
        probe: probe.into(),
        layer,
        status: ReadingStatus::Ok,
        taken: Some(Timestamp { unix_nanos: at.unix_nanos + after, boot_nanos: at.boot_nanos + after }),
        gauges,
        profiles: profile.map(Arc::new).into_iter().collect(),
        holders: Vec::new(),
        cycles: Vec::new(),
        runtime: Some(Arc::new(RuntimeInfo {
            name: format!("{} 1.0", layer.name()),
            source_roots: vec!["/app".to_owned()],
        })),
        notes: Vec::new(),
        cost: ReadCost {
            cpu: Duration::from_micros(40),
            wall: Duration::from_micros(60),
            ..ReadCost::default()
        },
    }
}

fn frame(function: &Arc<str>, file: &Arc<str>, line: u32) -> Arc<Frame> {
    Arc::new(Frame::new(Arc::clone(function), Arc::clone(file), line))
}
