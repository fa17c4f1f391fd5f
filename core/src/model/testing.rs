//! Snapshots for unit tests, with nothing in them but what a test is about.

use std::borrow::Cow;
use std::time::Duration;

use super::{Cause, Gauge, Layer, OwnCost, ReadCost, Reading, ReadingStatus, Snapshot, Tick};
use crate::clock::Timestamp;

/// Snapshot `number` of a session that ticks every minute, with one reading that holds `gauges`.
pub(crate) fn snapshot_of(number: u64, gauges: Vec<Gauge>) -> Snapshot {
    let nanos = number * 60_000_000_000;
    let at = Timestamp { unix_nanos: nanos, boot_nanos: nanos };
    Snapshot {
        number,
        tick: Tick {
            cause: if number == 0 { Cause::Baseline } else { Cause::Tick },
            at,
            deadline_boot_nanos: nanos + 30_000_000_000,
        },
        interval: Duration::from_secs(60),
        baseline: 0,
        missed_ticks: 0,
        clock_jump_nanos: 0,
        skew_nanos: None,
        readings: vec![Reading {
            probe: Cow::Borrowed("test"),
            layer: Layer::Process,
            status: ReadingStatus::Ok,
            taken: Some(at),
            gauges,
            profiles: Vec::new(),
            holders: Vec::new(),
            cycles: Vec::new(),
            runtime: None,
            notes: Vec::new(),
            cost: ReadCost::default(),
        }],
        own: OwnCost::default(),
    }
}
