use super::*;
use crate::model::{Gauge, testing::snapshot_of};
use crate::{Kind, Subject, VerdictEngine};

const MIB: u64 = 1 << 20;

/// Whether `process` leaks when its memory grows by `grows` in each minute, and what is leakline's by `own`: by the memory map,
/// or by leakline's own count.
fn check(grows: u64, own: u64, is_mapped: bool, leaks: bool) {
    let mut engine = VerdictEngine::default();
    let mut last = Vec::new();
    for tick in 0..12 {
        let mut gauges = vec![Gauge::bytes(names::ANONYMOUS, 20 * MIB + tick * grows)];
        if is_mapped {
            gauges.push(Gauge::bytes(names::MAP_LEAKLINE, tick * own / 4));
            gauges.push(Gauge::bytes(names::MAP_LEAKLINE_SHARED, tick * own - tick * own / 4));
        }
        let mut snapshot = snapshot_of(tick, gauges);
        // What a watcher holds is not in the process.
        snapshot.own.held_bytes = Some(if is_mapped { tick * grows } else { tick * own });
        last = engine.push(&snapshot, None);
    }
    let judged = last.iter().find(|verdict| verdict.subject == Subject::Layer(Layer::Process)).unwrap();
    assert_ne!(judged.kind, Kind::NotEnoughData);
    assert_eq!(judged.kind.leaks(), leaks, "{grows} {own} {is_mapped}: {judged:?}");
}

#[test]
fn leaklines_own_growth_is_no_leak_of_the_hosts() {
    for is_mapped in [false, true] {
        check(2 * MIB, 2 * MIB, is_mapped, false);
        check(2 * MIB, MIB / 2, is_mapped, true);
        check(2 * MIB, 0, is_mapped, true);
        check(0, 0, is_mapped, false);
    }
}
