//! What every probe must hold to. Run it where the probe finds what it reads.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::{TestClock, Violations, on_a_lane, report};
use crate::clock::{Clock, Timestamp};
use crate::model::{Cause, Gauge, GaugeKind, Layer, Tick, Unit};
use crate::probe::{Attachment, Details, GaugeReading, Probe, ProbeError};

/// Panics with a list of what is wrong with the probes that `make` makes. Call it from a plain `#[test]` in a process
/// where such a probe attaches.
pub fn probe(make: impl Fn(Arc<dyn Clock>) -> Box<dyn Probe>) {
    let violations = probe_violations(make);
    report("the probe", &violations);
}

/// What is wrong with the probes that `make` makes; empty when nothing is.
pub fn probe_violations(make: impl Fn(Arc<dyn Clock>) -> Box<dyn Probe>) -> Vec<String> {
    let clock = TestClock::new();
    let probe = make(Arc::clone(&clock) as Arc<dyn Clock>);
    let twin = make(Arc::clone(&clock) as Arc<dyn Clock>);
    let mut run = Run { clock, layer: probe.layer(), found: Violations::default(), seen: BTreeMap::new() };
    run.identity(probe.as_ref(), twin.as_ref());
    drop(twin);
    on_a_lane(run.suite(probe));
    run.found.0
}

struct Run {
    clock: Arc<TestClock>,
    layer: Layer,
    found: Violations,
    /// Unit, kind and last value of every gauge so far.
    seen: BTreeMap<String, (Unit, GaugeKind, f64)>,
}

impl Run {
    fn identity(&mut self, probe: &dyn Probe, twin: &dyn Probe) {
        let name = probe.name();
        let plain = |name: &str| {
            name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c))
        };
        self.found.check(!name.is_empty(), || "the name is empty".to_owned());
        self.found.check(plain(&name), || {
            format!("the name {name:?} has other characters than a to z, 0 to 9, `-`, `_` and `.`")
        });
        self.found.check(name == probe.name() && name == twin.name(), || {
            format!("the name changes: {name:?}, {:?}, {:?}", probe.name(), twin.name())
        });
        self.found.check(probe.layer() == twin.layer(), || "the layer changes".to_owned());
    }

    async fn suite(&mut self, mut probe: Box<dyn Probe>) {
        if !self.attach(probe.as_mut(), "attach").await {
            return;
        }
        for _ in 0..3 {
            self.read(probe.as_mut(), true).await;
        }
        // Whatever it answers to a tick whose deadline has passed, it must be usable afterwards.
        self.read(probe.as_mut(), false).await;
        self.read(probe.as_mut(), true).await;

        self.found.call("detach", probe.detach()).await;
        if self.attach(probe.as_mut(), "attach after detach").await {
            self.seen.clear();
            self.read(probe.as_mut(), true).await;
            self.found.call("detach", probe.detach()).await;
        }
    }

    async fn attach(&mut self, probe: &mut dyn Probe, what: &str) -> bool {
        match self.found.call(what, probe.attach()).await {
            Some(Ok(Attachment::Attached(_))) => return true,
            Some(Ok(Attachment::Absent { reason })) => self.found.0.push(format!(
                "`{what}` found nothing to read ({reason}): the suite needs a process in which it does"
            )),
            Some(Err(error)) => self.found.0.push(format!("`{what}` failed: {error}")),
            None => {}
        }
        false
    }

    async fn read(&mut self, probe: &mut dyn Probe, in_time: bool) {
        self.clock.advance(Duration::from_secs(60));
        let at = self.clock.now();
        let allowed = if in_time { 30_000_000_000 } else { 0 };
        let tick = Tick { cause: Cause::Tick, at, deadline_boot_nanos: at.boot_nanos + allowed };
        let gauges = self.found.call("gauges", probe.gauges(&tick)).await;
        let gauges = self.wanted("gauges", in_time, gauges);
        let details = self.found.call("details", probe.details(&tick)).await;
        let details = self.wanted("details", in_time, details);
        if let Some(reading) = &gauges {
            self.check_taken(reading, at);
        }
        self.check_gauges(&gauges, &details);
        for note in details.iter().flat_map(|details| &details.notes) {
            self.found.check(!note.trim().is_empty(), || "a note is empty".to_owned());
        }
        self.clock.advance(Duration::from_secs(1));
    }

    fn wanted<T>(&mut self, what: &str, in_time: bool, result: Option<Result<T, ProbeError>>) -> Option<T> {
        match result? {
            Ok(value) => Some(value),
            Err(error) => {
                self.found.check(!in_time, || format!("`{what}` failed: {error}"));
                None
            }
        }
    }

    fn check_taken(&mut self, reading: &GaugeReading, asked: Timestamp) {
        let now = self.clock.now();
        let within = |then: u64, taken: u64, now: u64| (then..=now).contains(&taken);
        let taken = reading.taken;
        self.found.check(
            within(asked.unix_nanos, taken.unix_nanos, now.unix_nanos)
                && within(asked.boot_nanos, taken.boot_nanos, now.boot_nanos),
            || {
                format!(
                    "`taken` is not within the call, by the clock it was given: {taken:?}, asked at {asked:?}"
                )
            },
        );
    }

    fn check_gauges(&mut self, reading: &Option<GaugeReading>, details: &Option<Details>) {
        let quick = reading.iter().flat_map(|reading| &reading.gauges);
        let slow = details.iter().flat_map(|details| &details.gauges);
        let mut names = HashSet::new();
        for gauge in quick.chain(slow) {
            let name = gauge.name.as_ref();
            self.found
                .check(names.insert(name), || format!("the gauge {name} is there twice in one reading"));
            self.check_name(gauge);
            self.check_value(gauge);
            let now = (gauge.unit, gauge.kind, gauge.value);
            let Some((unit, kind, value)) = self.seen.insert(name.to_owned(), now) else { continue };
            self.found.check((unit, kind) == (gauge.unit, gauge.kind), || {
                format!("the gauge {name} changes its unit or kind")
            });
            self.found.check(kind == GaugeKind::Level || gauge.value >= value, || {
                format!("the gauge {name} is a total and fell from {value} to {}", gauge.value)
            });
        }
    }

    fn check_name(&mut self, gauge: &Gauge) {
        let name = gauge.name.as_ref();
        let layer = self.layer.name();
        let rest = name.strip_prefix(layer).and_then(|rest| rest.strip_prefix('.')).unwrap_or_default();
        self.found
            .check(!rest.is_empty(), || format!("the gauge {name:?} is not called `{layer}.something`"));
        let plain = rest.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c));
        self.found.check(plain, || {
            format!("the gauge {name:?} has other characters than a to z, 0 to 9, `_` and `.`")
        });
        let units = [("_bytes", Unit::Bytes), ("_nanos", Unit::Nanoseconds), ("_ratio", Unit::Ratio)];
        let named =
            units.iter().find(|(suffix, _)| name.ends_with(suffix)).map_or(Unit::Count, |(_, unit)| *unit);
        self.found.check(named == gauge.unit, || {
            format!("the gauge {name} counts {:?}, but its name says {named:?}", gauge.unit)
        });
    }

    fn check_value(&mut self, gauge: &Gauge) {
        let Gauge { name, value, .. } = gauge;
        self.found.check(value.is_finite() && *value >= 0.0, || format!("the gauge {name} is {value}"));
        self.found.check(gauge.unit != Unit::Ratio || *value <= 1.0, || {
            format!("the gauge {name} is a ratio and {value}")
        });
    }
}
