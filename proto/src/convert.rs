//! Core's words as messages, and messages as core's words. Wire types stop here.
//! Never here: numbering, interning, or anything that remembers.

mod command;
mod profile;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use leakline_core as model;
use leakline_core::{Evidence, Host, Kind, Loss, Mark, Origin, Rate, Session, SessionId, Subject, Timestamp};

use crate::error::DecodeError;
use crate::limits::MAX_STRING_BYTES;
use crate::v1;

pub(crate) use profile::{SiteNumbers, amount_from_wire, amount_to_wire, source_name};

/// `text` within the bound for strings: longer ones are cut at a character and end with `…`.
pub(crate) fn cut(text: &str) -> Cow<'_, str> {
    cut_to(text, MAX_STRING_BYTES)
}

/// The same with another bound.
pub(crate) fn cut_to(text: &str, most: usize) -> Cow<'_, str> {
    const END: &str = "…";
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let mut end = most - END.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}{END}", &text[..end]))
}

fn text(text: &str) -> String {
    cut(text).into_owned()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn required<T>(field: Option<T>, name: &'static str) -> Result<T, DecodeError> {
    field.ok_or(DecodeError::Missing(name))
}

/// An enum's value; the wire's 0 means that it was not told.
fn known<W: TryFrom<i32>>(value: i32, field: &'static str) -> Result<W, DecodeError> {
    if value == 0 {
        return Err(DecodeError::Missing(field));
    }
    W::try_from(value).map_err(|_| DecodeError::UnknownValue { value, field })
}

impl From<Timestamp> for v1::Timestamp {
    fn from(at: Timestamp) -> Self {
        Self { unix_nanos: at.unix_nanos, boot_nanos: at.boot_nanos }
    }
}

impl From<v1::Timestamp> for Timestamp {
    fn from(at: v1::Timestamp) -> Self {
        Self { unix_nanos: at.unix_nanos, boot_nanos: at.boot_nanos }
    }
}

impl From<&Session> for v1::Session {
    fn from(session: &Session) -> Self {
        let host = &session.host;
        Self {
            id: session.id.0.to_vec(),
            started: Some(session.started.into()),
            interval_nanos: nanos(session.interval),
            host: Some(v1::Host {
                name: text(&host.name),
                pid: host.pid,
                started_boot_nanos: host.started_boot_nanos,
                platform: text(&host.platform),
                limit_bytes: host.limit.as_ref().map(|(bytes, _)| *bytes),
                limit_source: host.limit.as_ref().map(|(_, source)| text(source)).unwrap_or_default(),
            }),
            agent_version: text(&session.agent_version),
            origin: session.origin.map(|origin| v1::Origin {
                application: origin.application.0.to_vec(),
                parent: origin.parent,
            }),
        }
    }
}

impl TryFrom<v1::Session> for Session {
    type Error = DecodeError;

    fn try_from(session: v1::Session) -> Result<Self, DecodeError> {
        let host = required(session.host, "Session.host")?;
        let identity = |bytes: Vec<u8>, field| {
            let invalid = |_| DecodeError::Invalid { reason: "an identity has 16 bytes", field };
            bytes.try_into().map(SessionId).map_err(invalid)
        };
        Ok(Self {
            id: identity(session.id, "Session.id")?,
            started: required(session.started, "Session.started")?.into(),
            interval: Duration::from_nanos(session.interval_nanos),
            host: Host {
                name: host.name,
                pid: host.pid,
                started_boot_nanos: host.started_boot_nanos,
                platform: host.platform,
                limit: host.limit_bytes.map(|bytes| (bytes, host.limit_source)),
            },
            agent_version: session.agent_version,
            origin: session
                .origin
                .map(|origin| {
                    let application = identity(origin.application, "Origin.application")?;
                    Ok::<_, DecodeError>(Origin { application, parent: origin.parent })
                })
                .transpose()?,
        })
    }
}

impl From<&Mark> for v1::Mark {
    fn from(mark: &Mark) -> Self {
        Self { name: text(&mark.name), at: Some(mark.at.into()) }
    }
}

impl TryFrom<v1::Mark> for Mark {
    type Error = DecodeError;

    fn try_from(mark: v1::Mark) -> Result<Self, DecodeError> {
        Ok(Self { name: mark.name, at: required(mark.at, "Mark.at")?.into() })
    }
}

impl From<Loss> for v1::Loss {
    fn from(loss: Loss) -> Self {
        Self { snapshots: loss.snapshots, bytes: loss.bytes }
    }
}

impl From<v1::Loss> for Loss {
    fn from(loss: v1::Loss) -> Self {
        Self { snapshots: loss.snapshots, bytes: loss.bytes }
    }
}

impl From<model::Layer> for v1::Layer {
    fn from(layer: model::Layer) -> Self {
        match layer {
            model::Layer::Python => Self::Python,
            model::Layer::Jvm => Self::Jvm,
            model::Layer::Native => Self::Native,
            model::Layer::Process => Self::Process,
        }
    }
}

fn layer(value: i32, field: &'static str) -> Result<model::Layer, DecodeError> {
    Ok(match known(value, field)? {
        v1::Layer::Unspecified => return Err(DecodeError::Missing(field)),
        v1::Layer::Python => model::Layer::Python,
        v1::Layer::Jvm => model::Layer::Jvm,
        v1::Layer::Native => model::Layer::Native,
        v1::Layer::Process => model::Layer::Process,
    })
}

impl From<&model::Tick> for v1::Tick {
    fn from(tick: &model::Tick) -> Self {
        let cause = match tick.cause {
            model::Cause::Baseline => v1::Cause::Baseline,
            model::Cause::Tick => v1::Cause::Tick,
            model::Cause::Requested => v1::Cause::Requested,
            model::Cause::Final => v1::Cause::Final,
        };
        Self { cause: cause.into(), at: Some(tick.at.into()), deadline_boot_nanos: tick.deadline_boot_nanos }
    }
}

impl TryFrom<v1::Tick> for model::Tick {
    type Error = DecodeError;

    fn try_from(tick: v1::Tick) -> Result<Self, DecodeError> {
        let cause = match known(tick.cause, "Tick.cause")? {
            v1::Cause::Unspecified => return Err(DecodeError::Missing("Tick.cause")),
            v1::Cause::Baseline => model::Cause::Baseline,
            v1::Cause::Tick => model::Cause::Tick,
            v1::Cause::Requested => model::Cause::Requested,
            v1::Cause::Final => model::Cause::Final,
        };
        let at = required(tick.at, "Tick.at")?.into();
        Ok(Self { cause, at, deadline_boot_nanos: tick.deadline_boot_nanos })
    }
}

impl From<&model::Gauge> for v1::Gauge {
    fn from(gauge: &model::Gauge) -> Self {
        let unit = match gauge.unit {
            model::Unit::Bytes => v1::Unit::Bytes,
            model::Unit::Count => v1::Unit::Count,
            model::Unit::Nanoseconds => v1::Unit::Nanoseconds,
            model::Unit::Ratio => v1::Unit::Ratio,
        };
        let kind = match gauge.kind {
            model::GaugeKind::Level => v1::GaugeKind::Level,
            model::GaugeKind::Total => v1::GaugeKind::Total,
        };
        Self { name: text(&gauge.name), unit: unit.into(), kind: kind.into(), value: gauge.value }
    }
}

impl TryFrom<v1::Gauge> for model::Gauge {
    type Error = DecodeError;

    fn try_from(gauge: v1::Gauge) -> Result<Self, DecodeError> {
        let unit = match known(gauge.unit, "Gauge.unit")? {
            v1::Unit::Unspecified => return Err(DecodeError::Missing("Gauge.unit")),
            v1::Unit::Bytes => model::Unit::Bytes,
            v1::Unit::Count => model::Unit::Count,
            v1::Unit::Nanoseconds => model::Unit::Nanoseconds,
            v1::Unit::Ratio => model::Unit::Ratio,
        };
        let kind = match known(gauge.kind, "Gauge.kind")? {
            v1::GaugeKind::Unspecified => return Err(DecodeError::Missing("Gauge.kind")),
            v1::GaugeKind::Level => model::GaugeKind::Level,
            v1::GaugeKind::Total => model::GaugeKind::Total,
        };
        Ok(Self { name: gauge.name.into(), unit, kind, value: gauge.value })
    }
}

/// All but the profiles, which travel apart.
impl From<&model::Reading> for v1::Reading {
    fn from(reading: &model::Reading) -> Self {
        let status = match &reading.status {
            model::ReadingStatus::Ok => v1::reading::Status::Ok(v1::Empty {}),
            model::ReadingStatus::Absent { reason } => {
                v1::reading::Status::Absent(v1::Absent { reason: text(reason) })
            }
            model::ReadingStatus::Late { since } => {
                v1::reading::Status::Late(v1::Late { since_nanos: nanos(*since) })
            }
            model::ReadingStatus::Failed { error, retry_in } => v1::reading::Status::Failed(v1::Failed {
                error: text(error),
                retry_in_nanos: nanos(*retry_in),
            }),
        };
        Self {
            probe: text(&reading.probe),
            layer: v1::Layer::from(reading.layer).into(),
            taken: reading.taken.map(Into::into),
            gauges: reading.gauges.iter().map(Into::into).collect(),
            has_profile: !reading.profiles.is_empty(),
            runtime: reading.runtime.as_ref().map(|runtime| v1::Runtime {
                name: text(&runtime.name),
                source_roots: runtime.source_roots.iter().map(|root| text(root)).collect(),
            }),
            notes: reading.notes.iter().map(|note| text(note)).collect(),
            profile_sources: Vec::new(),
            holders: reading
                .holders
                .iter()
                .map(|held| v1::Holder { of: text(&held.of), holder: text(&held.holder), count: held.count })
                .collect(),
            cycles: reading
                .cycles
                .iter()
                .map(|cycle| v1::Cycle {
                    python: text(&cycle.python),
                    java: text(&cycle.java),
                    count: cycle.count,
                })
                .collect(),
            cost: Some(v1::ReadCost {
                cpu_nanos: nanos(reading.cost.cpu),
                wall_nanos: nanos(reading.cost.wall),
                gil_held_nanos: nanos(reading.cost.gil_held),
                longest_stall_nanos: nanos(reading.cost.longest_stall),
            }),
            status: Some(status),
        }
    }
}

/// All but the profiles, which travel apart.
impl TryFrom<v1::Reading> for model::Reading {
    type Error = DecodeError;

    fn try_from(reading: v1::Reading) -> Result<Self, DecodeError> {
        let cost = required(reading.cost, "Reading.cost")?;
        let status = match required(reading.status, "Reading.status")? {
            v1::reading::Status::Ok(_) => model::ReadingStatus::Ok,
            v1::reading::Status::Absent(absent) => model::ReadingStatus::Absent { reason: absent.reason },
            v1::reading::Status::Late(late) => {
                model::ReadingStatus::Late { since: Duration::from_nanos(late.since_nanos) }
            }
            v1::reading::Status::Failed(failed) => model::ReadingStatus::Failed {
                error: failed.error,
                retry_in: Duration::from_nanos(failed.retry_in_nanos),
            },
        };
        Ok(Self {
            probe: reading.probe.into(),
            layer: layer(reading.layer, "Reading.layer")?,
            status,
            taken: reading.taken.map(Into::into),
            gauges: reading.gauges.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            profiles: Vec::new(),
            holders: reading
                .holders
                .into_iter()
                .map(|held| model::Holder { of: held.of.into(), holder: held.holder, count: held.count })
                .collect(),
            cycles: reading
                .cycles
                .into_iter()
                .map(|cycle| model::Cycle { python: cycle.python, java: cycle.java, count: cycle.count })
                .collect(),
            runtime: reading.runtime.map(|runtime| {
                Arc::new(model::RuntimeInfo { name: runtime.name, source_roots: runtime.source_roots })
            }),
            notes: reading.notes,
            cost: model::ReadCost {
                cpu: Duration::from_nanos(cost.cpu_nanos),
                wall: Duration::from_nanos(cost.wall_nanos),
                gil_held: Duration::from_nanos(cost.gil_held_nanos),
                longest_stall: Duration::from_nanos(cost.longest_stall_nanos),
            },
        })
    }
}

impl From<&model::OwnCost> for v1::OwnCost {
    fn from(own: &model::OwnCost) -> Self {
        Self {
            cpu_nanos: nanos(own.cpu),
            wall_nanos: nanos(own.wall),
            held_bytes: own.held_bytes,
            longest_stall_nanos: nanos(own.longest_stall),
            sinks: own
                .sinks
                .iter()
                .map(|stats| v1::SinkStats {
                    sink: text(&stats.sink),
                    delivered_snapshots: stats.delivered_snapshots,
                    delivered_bytes: stats.delivered_bytes,
                    held_bytes: stats.held_bytes,
                    lost: (stats.lost != Loss::default()).then(|| stats.lost.into()),
                    last_error: text(&stats.last_error),
                })
                .collect(),
        }
    }
}

impl From<v1::OwnCost> for model::OwnCost {
    fn from(own: v1::OwnCost) -> Self {
        Self {
            cpu: Duration::from_nanos(own.cpu_nanos),
            wall: Duration::from_nanos(own.wall_nanos),
            held_bytes: own.held_bytes,
            longest_stall: Duration::from_nanos(own.longest_stall_nanos),
            sinks: own
                .sinks
                .into_iter()
                .map(|stats| model::SinkStats {
                    sink: stats.sink.into(),
                    delivered_snapshots: stats.delivered_snapshots,
                    delivered_bytes: stats.delivered_bytes,
                    held_bytes: stats.held_bytes,
                    lost: stats.lost.map(Into::into).unwrap_or_default(),
                    last_error: stats.last_error,
                })
                .collect(),
        }
    }
}

/// A snapshot without its verdicts, and without the profiles of its readings, which travel apart.
impl From<&model::Snapshot> for v1::Snapshot {
    fn from(snapshot: &model::Snapshot) -> Self {
        Self {
            number: snapshot.number,
            tick: Some((&snapshot.tick).into()),
            interval_nanos: nanos(snapshot.interval),
            baseline: snapshot.baseline,
            missed_ticks: snapshot.missed_ticks,
            clock_jump_nanos: snapshot.clock_jump_nanos,
            skew_nanos: snapshot.skew_nanos,
            readings: snapshot.readings.iter().map(Into::into).collect(),
            own: Some((&snapshot.own).into()),
            verdicts: Vec::new(),
        }
    }
}

/// A snapshot without its verdicts, and without the profiles of its readings, which travel apart.
impl TryFrom<v1::Snapshot> for model::Snapshot {
    type Error = DecodeError;

    fn try_from(snapshot: v1::Snapshot) -> Result<Self, DecodeError> {
        Ok(Self {
            number: snapshot.number,
            tick: required(snapshot.tick, "Snapshot.tick")?.try_into()?,
            interval: Duration::from_nanos(snapshot.interval_nanos),
            baseline: snapshot.baseline,
            missed_ticks: snapshot.missed_ticks,
            clock_jump_nanos: snapshot.clock_jump_nanos,
            skew_nanos: snapshot.skew_nanos,
            readings: snapshot.readings.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            own: required(snapshot.own, "Snapshot.own")?.into(),
        })
    }
}

/// `verdict` on the wire; `site` is the index of its site where it is about one.
pub(crate) fn verdict_to_wire(verdict: &model::Verdict, site: Option<u32>) -> v1::Verdict {
    let layer = match &verdict.subject {
        Subject::Layer(layer) | Subject::Site(layer, _) => *layer,
    };
    let kind = match verdict.kind {
        Kind::SteadyLeak => v1::verdict::Kind::Leaking,
        Kind::AcceleratingLeak => v1::verdict::Kind::Accelerating,
        Kind::LeakInSteps => v1::verdict::Kind::Steps,
        Kind::Plateau => v1::verdict::Kind::Plateau,
        Kind::Sawtooth => v1::verdict::Kind::Sawtooth,
        Kind::Fragmentation => v1::verdict::Kind::Fragmentation,
        Kind::OneOff => v1::verdict::Kind::OneOff,
        Kind::Shrinking => v1::verdict::Kind::Shrinking,
        Kind::Quiet => v1::verdict::Kind::Steady,
        Kind::NotEnoughData => v1::verdict::Kind::NotEnoughData,
    };
    v1::Verdict {
        layer: v1::Layer::from(layer).into(),
        site,
        gauge: text(&verdict.gauge),
        kind: kind.into(),
        rate: verdict.rate.map(|rate| v1::Rate {
            bytes_per_second: rate.bytes_per_second,
            low: rate.low,
            high: rate.high,
        }),
        points: verdict.points,
        share: verdict.share,
        to_limit: verdict.seconds_to_limit.map(|(seconds, low, high)| v1::TimeToLimit { seconds, low, high }),
        chance: verdict.evidence.chance,
        lasting_seconds: verdict.evidence.lasting_seconds,
        explained: verdict.evidence.explained,
        uncollected: verdict.evidence.uncollected,
    }
}

/// The verdict behind `verdict`, about `site` where its index named one.
pub(crate) fn verdict_from_wire(
    verdict: v1::Verdict,
    site: Option<Arc<model::Site>>,
) -> Result<model::Verdict, DecodeError> {
    let layer = layer(verdict.layer, "Verdict.layer")?;
    let kind = match known(verdict.kind, "Verdict.kind")? {
        v1::verdict::Kind::Unspecified => return Err(DecodeError::Missing("Verdict.kind")),
        v1::verdict::Kind::Leaking => Kind::SteadyLeak,
        v1::verdict::Kind::Accelerating => Kind::AcceleratingLeak,
        v1::verdict::Kind::Steps => Kind::LeakInSteps,
        v1::verdict::Kind::Plateau => Kind::Plateau,
        v1::verdict::Kind::Sawtooth => Kind::Sawtooth,
        v1::verdict::Kind::Fragmentation => Kind::Fragmentation,
        v1::verdict::Kind::OneOff => Kind::OneOff,
        v1::verdict::Kind::Shrinking => Kind::Shrinking,
        v1::verdict::Kind::Steady => Kind::Quiet,
        v1::verdict::Kind::NotEnoughData => Kind::NotEnoughData,
    };
    Ok(model::Verdict {
        subject: site.map_or(Subject::Layer(layer), |site| Subject::Site(layer, site)),
        gauge: verdict.gauge,
        kind,
        rate: verdict.rate.map(|rate| Rate {
            bytes_per_second: rate.bytes_per_second,
            low: rate.low,
            high: rate.high,
        }),
        points: verdict.points,
        share: verdict.share,
        seconds_to_limit: verdict.to_limit.map(|time| (time.seconds, time.low, time.high)),
        evidence: Evidence {
            chance: verdict.chance,
            lasting_seconds: verdict.lasting_seconds,
            explained: verdict.explained,
            uncollected: verdict.uncollected,
        },
    })
}
