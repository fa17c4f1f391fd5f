//! What `stats()` answers: current and peak of every level, per layer, and what leakline itself costs.

use std::collections::HashMap;
use std::sync::Arc;

use leakline_core::{GaugeKind, Layer, OwnCost, ReadingStatus, Snapshot};

/// Current and peak memory per layer as of the last snapshot, and the agent's own cost.
#[derive(Debug, Clone)]
pub struct Stats {
    /// The snapshot that the numbers come from.
    pub snapshot: Arc<Snapshot>,
    /// One per probe, in the order of registration.
    pub layers: Vec<LayerStats>,
    /// What leakline itself costs since its start.
    pub own: OwnCost,
}

/// The gauges of one probe.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerStats {
    /// The layer.
    pub layer: Layer,
    /// The probe's name.
    pub probe: String,
    /// Whether it was read, and if not, why.
    pub status: ReadingStatus,
    /// Name, current value and, for levels, the highest value of any snapshot so far.
    pub gauges: Vec<(String, f64, Option<f64>)>,
}

impl Stats {
    pub(crate) fn new(snapshot: Arc<Snapshot>, peaks: &HashMap<String, f64>) -> Self {
        let layers = snapshot
            .readings
            .iter()
            .map(|reading| LayerStats {
                layer: reading.layer,
                probe: reading.probe.to_string(),
                status: reading.status.clone(),
                gauges: reading
                    .gauges
                    .iter()
                    .map(|gauge| {
                        let peak = match gauge.kind {
                            GaugeKind::Level => Some(
                                peaks
                                    .get(gauge.name.as_ref())
                                    .copied()
                                    .unwrap_or(gauge.value)
                                    .max(gauge.value),
                            ),
                            GaugeKind::Total => None,
                        };
                        (gauge.name.to_string(), gauge.value, peak)
                    })
                    .collect(),
            })
            .collect();
        Self { own: snapshot.own.clone(), layers, snapshot }
    }
}
