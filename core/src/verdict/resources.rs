//! Tells which resources beside memory grow steadily: descriptors by kind, threads by name, mappings, and what one runtime
//! holds of another's objects.
//! Pure: no clock, no I/O. Bounded: 64 series of 144 points.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::series::Series;
use super::slope::{rate, slope};
use crate::model::{Snapshot, names};

const MOST_SERIES: usize = 64;
const MAX_POINTS: usize = 144;
/// Growth by fewer over the whole time is nothing: pools breathe.
const FLOOR: f64 = 5.0;
/// As for layers: growth that slows to less than this share of its rate levels off.
const STILL_GROWING: f64 = 0.25;

/// A resource of which there are more and more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GrowingResource {
    /// Its gauge.
    pub gauge: String,
    /// How many more each minute.
    pub per_minute: f64,
    /// Lower end of the 95 % interval.
    pub per_minute_low: f64,
    /// Upper end of the interval.
    pub per_minute_high: f64,
}

/// Follows the resources of a session.
#[derive(Debug, Default)]
pub struct ResourceWatch {
    series: BTreeMap<String, Series>,
    baseline: u64,
    warm: bool,
}

impl ResourceWatch {
    /// Takes the next snapshot. The first one, taken while the host starts, counts for nothing.
    pub fn push(&mut self, snapshot: &Snapshot) {
        if self.baseline != snapshot.baseline {
            self.series.clear();
            self.baseline = snapshot.baseline;
        }
        if !std::mem::replace(&mut self.warm, true) {
            return;
        }
        let seconds = snapshot.tick.at.boot_nanos as f64 / 1e9;
        for gauge in snapshot.readings.iter().flat_map(|reading| &reading.gauges) {
            let Some(name) = resource(&gauge.name) else { continue };
            let is_known = self.series.contains_key(name);
            if gauge.value.is_finite() && (is_known || self.series.len() < MOST_SERIES) {
                let series = self.series.entry(name.to_owned());
                series.or_insert_with(|| Series::new(MAX_POINTS)).push(seconds, gauge.value);
            }
        }
    }

    /// Those that grow, the fastest first.
    pub fn growing(&self) -> Vec<GrowingResource> {
        let mut growing: Vec<GrowingResource> = self
            .series
            .iter()
            .filter_map(|(gauge, series)| {
                let points = series.points();
                let rate = rate(&points)?;
                let span = points.last()?.0 - points.first()?.0;
                let later = slope(points.get(points.len() / 2..)?).unwrap_or(0.0);
                let grows = rate.low > 0.0
                    && rate.bytes_per_second * span >= FLOOR
                    && later > STILL_GROWING * rate.bytes_per_second;
                grows.then(|| GrowingResource {
                    gauge: gauge.clone(),
                    per_minute: rate.bytes_per_second * 60.0,
                    per_minute_low: rate.low * 60.0,
                    per_minute_high: rate.high * 60.0,
                })
            })
            .collect();
        growing.sort_by(|a, b| b.per_minute.total_cmp(&a.per_minute));
        growing
    }

    /// `grows: descriptors.socket_tcp +12 per minute, mappings +3 per minute`; `None` when nothing does.
    pub fn line(&self) -> Option<String> {
        let words = |resource: &GrowingResource| {
            let name = resource.gauge.trim_start_matches("process.");
            let decimals = usize::from(resource.per_minute < 10.0);
            format!("{name} +{:.decimals$} per minute", resource.per_minute)
        };
        let growing: Vec<String> = self.growing().iter().take(5).map(words).collect();
        (!growing.is_empty()).then(|| format!("grows: {}", growing.join(", ")))
    }
}

/// The gauge's name, where it counts a resource that leakline itself does not hold.
fn resource(name: &str) -> Option<&str> {
    let is_part = [names::DESCRIPTORS, names::THREADS, names::JVM_GLOBAL_REFS]
        .iter()
        .any(|whole| name.strip_prefix(whole).is_some_and(|rest| rest.starts_with('.')));
    let is_own = name.ends_with(".leakline");
    let is_whole = [
        names::MAPPINGS,
        names::JVM_GLOBAL_REFS,
        names::JVM_WEAK_GLOBAL_REFS,
        names::BRIDGE_JAVA_HOLDS_PYTHON,
    ]
    .contains(&name);
    ((is_part || is_whole) && !is_own).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Gauge;
    use crate::model::testing::snapshot_of;

    fn check(values: &[u32], expected: Option<&str>) {
        let mut watch = ResourceWatch::default();
        for (tick, value) in values.iter().enumerate() {
            let gauges = vec![
                Gauge::count("process.descriptors.socket_tcp", u64::from(*value)),
                Gauge::count("process.descriptors.leakline", tick as u64 * 100),
                Gauge::count(names::MAPPINGS, 7),
            ];
            watch.push(&snapshot_of(tick as u64, gauges));
        }
        assert_eq!(watch.line().as_deref(), expected);
    }

    #[test]
    fn what_grows_steadily_is_named() {
        let grows = "grows: descriptors.socket_tcp +12 per minute";
        check(&[0, 12, 24, 36, 48, 60, 72, 84], Some(grows));
        check(&[0, 12, 24, 36, 48], None);
        check(&[9, 9, 9, 9, 9, 9, 9, 9], None);
        check(&[0, 1, 1, 2, 2, 3, 3, 3], None);
        check(&[0, 40, 10, 40, 10, 40, 10, 40], None);
    }
}
