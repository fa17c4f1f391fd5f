//! Sessions for the tests: a fixed one, and random ones.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use leakline_core::{
    Amount, Cause, Cycle, Evidence, Frame, Gauge, GaugeKind, Holder, Host, Kind, Layer, Loss, Mark,
    NativePlace, OwnCost, Profile, ProfileSource, Rate, ReadCost, Reading, ReadingStatus, Record,
    RuntimeInfo, Session, SessionId, SinkStats, Site, SiteStat, Snapshot, Subject, Tick, Timestamp, Unit,
    Verdict,
};
use leakline_proto::{Decoder, Encoder, Event, v1};
use proptest::prelude::*;

pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp {
        unix_nanos: 1_700_000_000_000_000_000 + seconds * 1_000_000_000,
        boot_nanos: seconds * 1_000_000_000,
    }
}

pub(crate) fn session() -> Session {
    Session {
        id: SessionId(*b"sixteen bytes id"),
        started: at(1),
        interval: Duration::from_secs(300),
        host: Host {
            name: "com.example.app:reticulum".to_owned(),
            pid: 4711,
            started_boot_nanos: 77,
            platform: "Android 15, aarch64".to_owned(),
            limit: Some((512 << 20, "ActivityManager".to_owned())),
        },
        agent_version: "0.1.0".to_owned(),
        origin: None,
    }
}

pub(crate) fn frame(function: &str, file: &str, line: u32) -> Arc<Frame> {
    Arc::new(Frame::new(function, file, line))
}

pub(crate) fn stat(site: Site, bytes: u64, blocks: u64) -> SiteStat {
    SiteStat::exact(Arc::new(site), Amount { bytes, blocks })
}

/// A profile as agents gave it that named no source.
pub(crate) fn profile(stats: Vec<SiteStat>) -> Arc<Profile> {
    Arc::new(Profile::new(ProfileSource::exact(ProfileSource::TRACEMALLOC), stats))
}

/// A reading of the probe `python` with `profile`.
pub(crate) fn reading(profile: Option<Vec<SiteStat>>) -> Reading {
    Reading {
        probe: "python".into(),
        layer: Layer::Python,
        status: ReadingStatus::Ok,
        taken: Some(at(2)),
        gauges: vec![Gauge::bytes("python.traced_bytes", 30_201_446)],
        profiles: profile.map(self::profile).into_iter().collect(),
        holders: Vec::new(),
        cycles: Vec::new(),
        runtime: Some(Arc::new(RuntimeInfo {
            name: "CPython 3.11.7".to_owned(),
            source_roots: vec!["/data/app/site-packages".to_owned()],
        })),
        notes: vec!["10 frames".to_owned()],
        cost: ReadCost {
            cpu: Duration::from_nanos(11),
            wall: Duration::from_nanos(12),
            gil_held: Duration::from_nanos(13),
            longest_stall: Duration::from_nanos(14),
        },
    }
}

pub(crate) fn snapshot(number: u64, readings: Vec<Reading>) -> Snapshot {
    Snapshot {
        number,
        tick: Tick { cause: Cause::Tick, at: at(300 * number), deadline_boot_nanos: 5 },
        interval: Duration::from_secs(300),
        baseline: 0,
        missed_ticks: 2,
        clock_jump_nanos: -3,
        skew_nanos: Some(43_000),
        readings,
        own: OwnCost {
            cpu: Duration::from_nanos(21),
            wall: Duration::from_nanos(22),
            held_bytes: Some(23),
            longest_stall: Duration::from_nanos(24),
            sinks: vec![SinkStats {
                sink: "file".into(),
                delivered_snapshots: 31,
                delivered_bytes: 32,
                held_bytes: 33,
                lost: Loss { snapshots: 34, bytes: 35 },
                last_error: "disk full".to_owned(),
            }],
        },
    }
}

pub(crate) fn of(snapshot: Snapshot, verdicts: Vec<Verdict>) -> Record {
    Record::Snapshot { snapshot: Arc::new(snapshot), verdicts: verdicts.into() }
}

/// The same session each time: what the committed recording holds.
pub(crate) fn fixed_records() -> Vec<Record> {
    let receive = frame("receive", "/data/app/site-packages/RNS/Destination.py", 230);
    let packet = frame("on_packet", "/data/app/reticulum_wrapper.py", 450);
    let leak = || Site::call_path([Arc::clone(&receive), Arc::clone(&packet)], false);
    let other = || Site::call_path([Arc::clone(&packet)], true);
    let class = || Site::class("java.util.HashMap$Node");
    let leaking = Verdict {
        subject: Subject::Site(Layer::Python, Arc::new(leak())),
        gauge: String::new(),
        kind: Kind::SteadyLeak,
        rate: Some(Rate { bytes_per_second: 24_117.25, low: 22_894.5, high: 25_340.0 }),
        points: 3,
        share: Some(0.96),
        seconds_to_limit: Some((7800.0, 6900.0, 9060.0)),
        evidence: Evidence::default(),
    };
    let unsure = Verdict {
        subject: Subject::Layer(Layer::Native),
        gauge: "native.malloc_live_bytes".to_owned(),
        kind: Kind::NotEnoughData,
        rate: None,
        points: 1,
        share: None,
        seconds_to_limit: None,
        evidence: Evidence::default(),
    };
    let jvm = |stats| Reading {
        probe: "jvm".into(),
        layer: Layer::Jvm,
        gauges: vec![
            Gauge::total("jvm.gc_collections", 7),
            Gauge::total_nanos("jvm.gc_time_nanos", 8),
            Gauge { name: "jvm.full".into(), unit: Unit::Ratio, kind: GaugeKind::Level, value: 0.25 },
        ],
        ..reading(Some(stats))
    };
    let late = Reading {
        probe: "native".into(),
        layer: Layer::Native,
        status: ReadingStatus::Late { since: Duration::from_secs(9) },
        taken: None,
        gauges: Vec::new(),
        runtime: None,
        ..reading(None)
    };
    let failed = Reading {
        probe: "process".into(),
        layer: Layer::Process,
        status: ReadingStatus::Failed { error: "no statm".to_owned(), retry_in: Duration::from_secs(2) },
        ..reading(None)
    };
    let absent = Reading {
        probe: "jvm".into(),
        layer: Layer::Jvm,
        status: ReadingStatus::Absent { reason: "no JVM".to_owned() },
        ..reading(None)
    };
    vec![
        of(
            snapshot(0, vec![reading(Some(vec![stat(leak(), 1000, 10), stat(other(), 50, 1)])), absent]),
            vec![unsure.clone()],
        ),
        Record::Mark(Mark { name: "reconnect".to_owned(), at: at(450) }),
        of(
            snapshot(
                1,
                vec![reading(Some(vec![stat(leak(), 2000, 20)])), jvm(vec![stat(class(), 320, 10)]), late],
            ),
            vec![leaking.clone(), unsure],
        ),
        Record::Lost(Loss { snapshots: 1, bytes: 999 }),
        of(
            snapshot(3, vec![reading(Some(vec![stat(leak(), 3000, 30)])), jvm(Vec::new()), failed]),
            vec![leaking],
        ),
    ]
}

/// What a reader must make of `records`.
pub(crate) fn expected(records: &[Record]) -> Vec<Event> {
    let events = records.iter().map(|record| match record {
        Record::Snapshot { snapshot, verdicts } => {
            Event::Snapshot { snapshot: Arc::clone(snapshot), verdicts: verdicts.to_vec() }
        }
        Record::Mark(mark) => Event::Mark(mark.clone()),
        Record::Lost(loss) => Event::Lost(*loss),
    });
    std::iter::once(Event::Session(session())).chain(events).collect()
}

/// All entries of a session with `records`, its end included.
pub(crate) fn encode(records: &[Record]) -> Vec<v1::Entry> {
    let mut encoder = Encoder::new(&session());
    let mut entries = encoder.start();
    entries.extend(records.iter().flat_map(|record| encoder.record(record)));
    entries.push(encoder.end(at(9999)));
    entries
}

pub(crate) fn decode(entries: impl IntoIterator<Item = v1::Entry>) -> Vec<Event> {
    let mut decoder = Decoder::new();
    entries.into_iter().flat_map(|entry| decoder.push(entry).unwrap()).collect()
}

/// Text of all kinds, short and shared most of the time.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![6 => "[a-c]{0,2}", 1 => any::<String>(), 1 => Just("é".repeat(2048))]
}

fn sites() -> impl Strategy<Value = Site> {
    let native = (prop::sample::select(vec!["", "0a1b", "ffff"]), prop_oneof![0..3_u64, any::<u64>()])
        .prop_map(|(build_id, address)| NativePlace { build_id: build_id.into(), address });
    let frames =
        (text(), text(), 0..3_u32, prop::option::of(native)).prop_map(|(function, file, line, native)| {
            Arc::new(Frame { native, ..Frame::new(function, file, line) })
        });
    prop_oneof![
        3 => (prop::collection::vec(frames, 0..4), any::<bool>())
            .prop_map(|(frames, truncated)| Site::call_path(frames, truncated)),
        1 => text().prop_map(Site::class),
    ]
}

fn amounts() -> impl Strategy<Value = (u64, u64)> {
    // Both zero means that the site is not there.
    prop_oneof![8 => (1..4_u64, 1..4_u64), 1 => (1..=u64::MAX, any::<u64>()), 1 => (Just(0), 1..3_u64)]
}

fn durations() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_nanos)
}

fn timestamps() -> impl Strategy<Value = Timestamp> {
    (any::<u64>(), any::<u64>()).prop_map(|(unix_nanos, boot_nanos)| Timestamp { unix_nanos, boot_nanos })
}

fn numbers() -> impl Strategy<Value = f64> {
    prop_oneof![-1e18..1e18, Just(f64::INFINITY), Just(-0.0), Just(f64::MIN_POSITIVE)]
}

fn gauges() -> impl Strategy<Value = Gauge> {
    let units = prop::sample::select(vec![Unit::Bytes, Unit::Count, Unit::Nanoseconds, Unit::Ratio]);
    let kinds = prop::sample::select(vec![GaugeKind::Level, GaugeKind::Total]);
    (text(), units, kinds, numbers()).prop_map(|(name, unit, kind, value)| Gauge {
        name: name.into(),
        unit,
        kind,
        value,
    })
}

fn statuses() -> impl Strategy<Value = ReadingStatus> {
    prop_oneof![
        Just(ReadingStatus::Ok),
        text().prop_map(|reason| ReadingStatus::Absent { reason }),
        durations().prop_map(|since| ReadingStatus::Late { since }),
        (text(), durations()).prop_map(|(error, retry_in)| ReadingStatus::Failed { error, retry_in }),
    ]
}

fn layers() -> impl Strategy<Value = Layer> {
    prop::sample::select(vec![Layer::Python, Layer::Jvm, Layer::Native, Layer::Process])
}

/// A profile of a source, of one of a few epochs and means.
fn profiles(name: &'static str) -> impl Strategy<Value = Arc<Profile>> {
    let allocated =
        prop::option::of((0..3_u64, 0..3_u64).prop_map(|(bytes, blocks)| Amount { bytes, blocks }));
    let errors = prop_oneof![Just(0), 0..4_u64, any::<u64>()];
    let stats = (sites(), amounts(), errors, allocated.clone(), allocated).prop_map(
        |(site, (bytes, blocks), standard_error_bytes, allocated, survived)| SiteStat {
            standard_error_bytes,
            allocated,
            survived,
            ..stat(site, bytes, blocks)
        },
    );
    (prop::collection::vec(stats, 0..12), prop::option::of(1..3_u64), 0..3_u64).prop_map(
        move |(stats, mean_sample_bytes, epoch)| {
            Arc::new(Profile::new(ProfileSource { name: name.into(), mean_sample_bytes, epoch }, stats))
        },
    )
}

/// A reading of one of a few probes.
fn readings(probe: &'static str) -> impl Strategy<Value = Reading> {
    let profiles =
        (prop::option::of(profiles("tracemalloc")), prop::option::weighted(0.3, profiles("sampled")))
            .prop_map(|(one, other)| one.into_iter().chain(other).collect::<Vec<_>>());
    let holders = (text(), text(), any::<u64>()).prop_map(|(of, holder, count)| Holder {
        of: of.into(),
        holder,
        count,
    });
    let cycles =
        (text(), text(), any::<u64>()).prop_map(|(python, java, count)| Cycle { python, java, count });
    let runtime = prop::option::of(
        (text(), prop::collection::vec(text(), 0..2))
            .prop_map(|(name, source_roots)| Arc::new(RuntimeInfo { name, source_roots })),
    );
    let cost = (durations(), durations(), durations(), durations())
        .prop_map(|(cpu, wall, gil_held, longest_stall)| ReadCost { cpu, wall, gil_held, longest_stall });
    (
        (layers(), statuses(), prop::option::of(timestamps()), prop::collection::vec(gauges(), 0..3)),
        (
            (profiles, runtime, prop::collection::vec(text(), 0..2), cost),
            (prop::collection::vec(holders, 0..2), prop::collection::vec(cycles, 0..2)),
        ),
    )
        .prop_map(
            move |((layer, status, taken, gauges), ((profiles, runtime, notes, cost), (holders, cycles)))| {
                Reading {
                    probe: probe.into(),
                    layer,
                    status,
                    taken,
                    gauges,
                    profiles,
                    holders,
                    cycles,
                    runtime,
                    notes,
                    cost,
                }
            },
        )
}

fn verdicts() -> impl Strategy<Value = Verdict> {
    let kinds = prop::sample::select(Kind::ALL.to_vec());
    let rates = (numbers(), numbers(), numbers()).prop_map(|(bytes_per_second, low, high)| Rate {
        bytes_per_second,
        low,
        high,
    });
    let subjects = (layers(), prop::option::of(sites())).prop_map(|(layer, site)| match site {
        Some(site) => Subject::Site(layer, Arc::new(site)),
        None => Subject::Layer(layer),
    });
    (
        (subjects, text(), kinds, prop::option::of(rates)),
        (any::<u32>(), prop::option::of(numbers()), prop::option::of((numbers(), numbers(), numbers()))),
        [prop::option::of(numbers()), prop::option::of(numbers()), prop::option::of(numbers())],
    )
        .prop_map(|((subject, gauge, kind, rate), (points, share, seconds_to_limit), numbers)| Verdict {
            subject,
            gauge,
            kind,
            rate,
            points,
            share,
            seconds_to_limit,
            evidence: Evidence {
                chance: numbers[0],
                lasting_seconds: numbers[1],
                explained: numbers[2],
                uncollected: points % 2 == 1,
            },
        })
}

fn snapshots() -> impl Strategy<Value = Record> {
    let causes = prop::sample::select(vec![Cause::Baseline, Cause::Tick, Cause::Requested, Cause::Final]);
    let sinks = (text(), any::<[u64; 5]>(), text()).prop_map(|(sink, numbers, last_error)| SinkStats {
        sink: sink.into(),
        delivered_snapshots: numbers[0],
        delivered_bytes: numbers[1],
        held_bytes: numbers[2],
        lost: Loss { snapshots: numbers[3], bytes: numbers[4] },
        last_error,
    });
    let own =
        (durations(), durations(), any::<Option<u64>>(), durations(), prop::collection::vec(sinks, 0..2))
            .prop_map(|(cpu, wall, held_bytes, longest_stall, sinks)| OwnCost {
                cpu,
                wall,
                held_bytes,
                longest_stall,
                sinks,
            });
    let readings = (
        prop::option::weighted(0.8, readings("python")),
        prop::option::weighted(0.5, readings("jvm")),
        prop::option::weighted(0.5, readings("native")),
    )
        .prop_map(|(python, jvm, native)| python.into_iter().chain(jvm).chain(native).collect());
    (
        (any::<[u64; 4]>(), causes, timestamps(), durations()),
        (any::<i64>(), any::<Option<u64>>(), readings, own, prop::collection::vec(verdicts(), 0..4)),
    )
        .prop_map(
            |((numbers, cause, at, interval), (clock_jump_nanos, skew_nanos, readings, own, verdicts))| {
                let snapshot = Snapshot {
                    number: numbers[0],
                    tick: Tick { cause, at, deadline_boot_nanos: numbers[1] },
                    interval,
                    baseline: numbers[2],
                    missed_ticks: numbers[3],
                    clock_jump_nanos,
                    skew_nanos,
                    readings,
                    own,
                };
                of(snapshot, verdicts)
            },
        )
}

/// Any record.
pub(crate) fn records() -> impl Strategy<Value = Record> {
    prop_oneof![
        6 => snapshots(),
        1 => (text(), timestamps()).prop_map(|(name, at)| Record::Mark(Mark { name, at })),
        1 => any::<(u64, u64)>().prop_map(|(snapshots, bytes)| Record::Lost(Loss { snapshots, bytes })),
    ]
}
