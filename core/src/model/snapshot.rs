//! A snapshot: all readings of one tick, with what they cost and how far apart they were taken.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::gauge::{Gauge, names};
use super::profile::{Cycle, Holder, Profile};
use super::session::RuntimeInfo;
use crate::clock::Timestamp;
use crate::sink::SinkStats;

/// Which part of the host a probe reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The Python heap.
    Python,
    /// The Java heap.
    Jvm,
    /// What malloc and mmap handed out.
    Native,
    /// What the operating system counts.
    Process,
}

impl Layer {
    /// The lower-case name that users see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Jvm => "jvm",
            Self::Native => "native",
            Self::Process => "process",
        }
    }
}

/// Why a snapshot was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The first one, at start or after a reset: growth is counted from here.
    Baseline,
    /// An aligned tick.
    Tick,
    /// Somebody asked.
    Requested,
    /// The host is ending.
    Final,
}

/// What a reading belongs to, and until when it must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// Why it is taken.
    pub cause: Cause,
    /// The aligned instant; for snapshots that are not aligned, when they were begun.
    pub at: Timestamp,
    /// Boot-time nanoseconds after which a reading is late.
    pub deadline_boot_nanos: u64,
}

/// What became of a probe at a tick.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum ReadingStatus {
    /// Gauges, and the profile where the probe has one, are here.
    Ok,
    /// The host has no such runtime, or not yet.
    Absent {
        /// Why, in words for a user.
        reason: String,
    },
    /// The probe did not answer by the deadline. It is not asked again until it has.
    Late {
        /// How long it has been at it.
        since: Duration,
    },
    /// The probe failed. The gauges that it read before that are kept.
    Failed {
        /// What failed, in words for a user.
        error: String,
        /// When it is asked again.
        retry_in: Duration,
    },
}

/// What one reading cost the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReadCost {
    /// CPU time of the probe's lane.
    pub cpu: Duration,
    /// Time from being asked to the answer.
    pub wall: Duration,
    /// The GIL was held this long, all together.
    pub gil_held: Duration,
    /// Longest single time for which threads of the host could not run: one stretch under the GIL, one JVM pause,
    /// one hold of an allocator's lock.
    pub longest_stall: Duration,
}

/// What one probe says at one tick.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The probe's name, unique in a session.
    pub probe: Cow<'static, str>,
    /// The layer that it reads.
    pub layer: Layer,
    /// What became of it.
    #[serde(flatten)]
    pub status: ReadingStatus,
    /// When the gauges were read; `None` when they were not.
    pub taken: Option<Timestamp>,
    /// The gauges.
    pub gauges: Vec<Gauge>,
    /// Live bytes and counts per site, from probes that can tell and were asked to: at most one by each source's name.
    pub profiles: Vec<Arc<Profile>>,
    /// Who refers to objects of the types that grow, from probes that took a census this time.
    pub holders: Vec<Holder>,
    /// Cycles across two runtimes' heaps, from a probe that was asked to look for them this time.
    #[serde(default)]
    pub cycles: Vec<Cycle>,
    /// The runtime behind it, once it was found.
    pub runtime: Option<Arc<RuntimeInfo>>,
    /// Degraded modes and limits that were hit, in words for a user.
    pub notes: Vec<String>,
    /// What it cost.
    pub cost: ReadCost,
}

impl Reading {
    /// The profile of the source called `source`.
    pub fn profile(&self, source: &str) -> Option<&Arc<Profile>> {
        self.profiles.iter().find(|profile| profile.source().name == source)
    }
}

/// Snapshots and their encoded bytes that a sink could not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Loss {
    /// How many snapshots.
    pub snapshots: u64,
    /// Their size: encoded where that is known, otherwise estimated.
    pub bytes: u64,
}

/// What leakline itself costs, all together since the agent's start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OwnCost {
    /// CPU time of all of the agent's threads.
    pub cpu: Duration,
    /// Time since the agent's start, suspend included.
    pub wall: Duration,
    /// Bytes that the agent holds now; `None` where it does not count them.
    pub held_bytes: Option<u64>,
    /// Longest stall of the host so far.
    pub longest_stall: Duration,
    /// What each sink took and lost so far.
    pub sinks: Vec<SinkStats>,
}

/// Nanoseconds between the first and the last gauge reading of a snapshot.
pub type SkewNanos = u64;

/// All readings of one tick.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Number within the session, from 0.
    pub number: u64,
    /// What it belongs to.
    pub tick: Tick,
    /// The interval in force.
    pub interval: Duration,
    /// Number of the snapshot that growth is counted from; its own for a baseline.
    pub baseline: u64,
    /// Aligned ticks that passed without a snapshot since the one before (suspend, a clock that was set).
    pub missed_ticks: u64,
    /// By how much the wall clock jumped against boot time since the one before, nanoseconds.
    pub clock_jump_nanos: i64,
    /// Between the first and the last layer's gauges; `None` with fewer than two.
    pub skew_nanos: Option<SkewNanos>,
    /// One per probe, in the order of registration.
    pub readings: Vec<Reading>,
    /// What leakline itself costs so far.
    pub own: OwnCost,
}

impl Snapshot {
    /// The value of the gauge called `name`, in whichever reading has it.
    pub fn gauge(&self, name: &str) -> Option<f64> {
        self.readings
            .iter()
            .flat_map(|reading| &reading.gauges)
            .find(|gauge| gauge.name == name)
            .map(|gauge| gauge.value)
    }

    /// Live bytes of the Python heap by the best source that is here, and the gauge it begins from: the arenas' used part
    /// and estimated large requests; what is traced; the arenas alone; what is sampled.
    pub fn python_bytes(&self) -> Option<(f64, &'static str)> {
        let gauge = |name| self.gauge(name).filter(|value| value.is_finite());
        let arenas = gauge(names::PYTHON_ARENAS_USED);
        if let (Some(arenas), Some(large)) = (arenas, gauge(names::PYTHON_LARGE)) {
            return Some((arenas + large, names::PYTHON_ARENAS_USED));
        }
        [names::PYTHON_TRACED, names::PYTHON_ARENAS_USED, names::PYTHON_SAMPLED]
            .into_iter()
            .find_map(|name| Some((gauge(name)?, name)))
    }

    /// The reading of the probe called `probe`.
    pub fn reading(&self, probe: &str) -> Option<&Reading> {
        self.readings.iter().find(|reading| reading.probe == probe)
    }
}
