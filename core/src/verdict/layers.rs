//! The series that each layer is judged by. A layer must not be blamed for what another layer explains.

use std::borrow::Cow;

use crate::ledger::{Ledger, UNEXPLAINED};
use crate::model::{Layer, Snapshot, names};

/// One layer's number at one snapshot.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Level {
    pub(super) layer: Layer,
    /// What the number is made of. When this changes, the series begins anew.
    pub(super) source: Cow<'static, str>,
    /// Bytes; `None`: this snapshot has nothing to add (no collection since the last one, a reading that is missing).
    pub(super) bytes: Option<f64>,
    /// Whether growth of this number can be a leak at all.
    pub(super) conclusive: bool,
    /// Bytes of other layers, of which a few percent show up here as overhead that nobody counts.
    pub(super) beside: f64,
}

/// The layers that `snapshot` tells of. `last_gc` is the number of collections at the JVM's last point.
pub(super) fn levels(snapshot: &Snapshot, last_gc: Option<f64>) -> Vec<Level> {
    [python(snapshot), jvm(snapshot, last_gc), native(snapshot), process(snapshot)]
        .into_iter()
        .flatten()
        .collect()
}

fn level(layer: Layer, source: impl Into<Cow<'static, str>>, bytes: Option<f64>) -> Level {
    Level { layer, source: source.into(), bytes, conclusive: true, beside: 0.0 }
}

fn python(snapshot: &Snapshot) -> Option<Level> {
    Some(level(Layer::Python, names::PYTHON_TRACED, Some(snapshot.gauge(names::PYTHON_TRACED)?)))
}

/// What is left after a collection, one point per collection. Growth without any collection is garbage as likely as not.
fn jvm(snapshot: &Snapshot, last_gc: Option<f64>) -> Option<Level> {
    let used = snapshot.gauge(names::JVM_HEAP_USED)?;
    let Some(floor) = snapshot.gauge(names::JVM_HEAP_AFTER_GC) else {
        let level = level(Layer::Jvm, names::JVM_HEAP_USED, Some(used));
        return Some(Level { conclusive: false, ..level });
    };
    let collected = snapshot.gauge(names::JVM_GC_COUNT) != last_gc;
    Some(level(Layer::Jvm, names::JVM_HEAP_AFTER_GC, collected.then_some(floor)))
}

/// What malloc holds without what is known to be Python's or the JVM's: Python takes requests of more than 512 bytes
/// and tracemalloc its tables from malloc, and so does the JVM its direct buffers.
fn native(snapshot: &Snapshot) -> Option<Level> {
    let live = snapshot.gauge(names::MALLOC_LIVE)?;
    let python = snapshot.gauge(names::PYTHON_TRACED).map(|traced| {
        let large = snapshot.gauge(names::PYTHON_TRACED_SMALL).map(|small| traced - small);
        let tracer = snapshot.gauge(names::PYTHON_TRACER).unwrap_or(0.0);
        large.map(|large| large + tracer)
    });
    let direct = snapshot.gauge(names::JVM_DIRECT);
    let source = match (python, direct) {
        (None, None) => names::MALLOC_LIVE,
        (Some(_), None) => "native.malloc_live_bytes less python",
        (None, Some(_)) => "native.malloc_live_bytes less direct buffers",
        (Some(_), Some(_)) => "native.malloc_live_bytes less python and direct buffers",
    };
    let others = match python {
        // Traced, but this time without the profile that tells large from small: no point rather than a jump.
        Some(None) => None,
        Some(Some(python)) => Some(python + direct.unwrap_or(0.0)),
        None => Some(direct.unwrap_or(0.0)),
    };
    let bytes = others.map(|others| (live - others).max(0.0));
    Some(Level { beside: others.unwrap_or(0.0), ..level(Layer::Native, source, bytes) })
}

/// The part of the resident size that no layer accounts for.
fn process(snapshot: &Snapshot) -> Option<Level> {
    let ledger = Ledger::of(snapshot)?;
    let unexplained = ledger.part(UNEXPLAINED);
    // A ledger without malloc (it was not asked this time) would count malloc's as unexplained.
    let complete = snapshot.gauge(names::MALLOC_LIVE).is_some();
    let python_complete = snapshot.gauge(names::PYTHON_TRACED).is_none()
        || snapshot.gauge(names::PYTHON_TRACED_SMALL).is_some();
    let level =
        level(Layer::Process, "ledger: unexplained", (complete && python_complete).then_some(unexplained));
    Some(Level { beside: ledger.resident - unexplained, ..level })
}
