//! The suites themselves: who conforms passes, and each way to break the contract is found.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::{Seen, SinkSuite, TestClock, probe_violations, sample_snapshot};
use crate::*;

/// What is wrong with a probe, or nothing.
#[derive(Clone, Copy, PartialEq)]
enum ProbeFlaw {
    None,
    Name,
    NeverAttaches,
    OtherClock,
    Unit,
    Layer,
    Falls,
    Negative,
    Twice,
    PanicsWhenLate,
    BrokenOnceLate,
    NotAfterDetach,
}

struct FlawedProbe {
    clock: Arc<dyn Clock>,
    flaw: ProbeFlaw,
    reads: u64,
    broken: bool,
}

#[async_trait]
impl Probe for FlawedProbe {
    fn name(&self) -> Cow<'static, str> {
        if self.flaw == ProbeFlaw::Name { "My Probe" } else { "mine" }.into()
    }

    fn layer(&self) -> Layer {
        Layer::Native
    }

    async fn attach(&mut self) -> Result<Attachment, ProbeError> {
        if self.flaw == ProbeFlaw::NeverAttaches || (self.flaw == ProbeFlaw::NotAfterDetach && self.broken) {
            return Ok(Attachment::Absent { reason: "no such thing".into() });
        }
        Ok(Attachment::Attached(RuntimeInfo::default()))
    }

    async fn gauges(&mut self, tick: &Tick) -> Result<GaugeReading, ProbeError> {
        let late = self.clock.now().boot_nanos >= tick.deadline_boot_nanos;
        assert!(!(late && self.flaw == ProbeFlaw::PanicsWhenLate), "too late");
        self.broken |= late && self.flaw == ProbeFlaw::BrokenOnceLate;
        if self.broken {
            return Err(ProbeError::failed("reading", "broken for good"));
        }
        self.reads += 1;
        let total = if self.flaw == ProbeFlaw::Falls { 100 - self.reads } else { self.reads };
        let mut gauges = vec![Gauge::bytes("native.mine_bytes", 7), Gauge::total("native.reads", total)];
        match self.flaw {
            ProbeFlaw::Unit => gauges.push(Gauge::count("native.other_bytes", 1)),
            ProbeFlaw::Layer => gauges.push(Gauge::count("python.objects", 1)),
            ProbeFlaw::Negative => gauges[0].value = -1.0,
            ProbeFlaw::Twice => gauges.push(gauges[0].clone()),
            _ => {}
        }
        let taken = match self.flaw {
            ProbeFlaw::OtherClock => Timestamp { unix_nanos: 5, boot_nanos: 5 },
            _ => self.clock.now(),
        };
        Ok(GaugeReading { taken, gauges, stall: Duration::ZERO })
    }

    async fn detach(&mut self) {
        self.broken |= self.flaw == ProbeFlaw::NotAfterDetach;
    }
}

fn check_probe(flaw: ProbeFlaw, expected: &str) {
    let violations = probe_violations(|clock| Box::new(FlawedProbe { clock, flaw, reads: 0, broken: false }));
    match expected {
        "" => assert_eq!(violations, [""; 0]),
        expected => assert!(violations.iter().any(|found| found.contains(expected)), "{violations:#?}"),
    }
}

#[test]
fn a_probe_that_conforms_passes() {
    check_probe(ProbeFlaw::None, "");
}

#[test]
fn each_way_of_a_probe_to_break_its_contract_is_found() {
    check_probe(ProbeFlaw::Name, "the name \"My Probe\" has other characters");
    check_probe(ProbeFlaw::NeverAttaches, "`attach` found nothing to read (no such thing)");
    check_probe(ProbeFlaw::OtherClock, "`taken` is not within the call");
    check_probe(ProbeFlaw::Unit, "native.other_bytes counts Count, but its name says Bytes");
    check_probe(ProbeFlaw::Layer, "\"python.objects\" is not called `native.something`");
    check_probe(ProbeFlaw::Falls, "native.reads is a total and fell from 99 to 98");
    check_probe(ProbeFlaw::Negative, "native.mine_bytes is -1");
    check_probe(ProbeFlaw::Twice, "native.mine_bytes is there twice");
    check_probe(ProbeFlaw::PanicsWhenLate, "`gauges` panicked: too late");
    check_probe(ProbeFlaw::BrokenOnceLate, "`gauges` failed: reading: broken for good");
    check_probe(ProbeFlaw::NotAfterDetach, "`attach after detach` found nothing");
}

#[test]
#[should_panic(expected = "the probe breaks its contract:\n  - the name \"My Probe\"")]
fn a_probe_that_does_not_conform_fails_its_test() {
    super::probe(|clock| Box::new(FlawedProbe { clock, flaw: ProbeFlaw::Name, reads: 0, broken: false }));
}

/// What is wrong with a sink, or nothing.
#[derive(Clone, Copy, PartialEq)]
enum SinkFlaw {
    None,
    Reorders,
    ForgetsMarks,
    CountsWrong,
    FailsLarge,
    PanicsAtClose,
    LosesSilently,
    DeadAfterError,
}

/// Where a sink of the test writes to.
#[derive(Default)]
struct Place {
    written: Mutex<Vec<Seen>>,
    broken: Mutex<bool>,
}

struct FlawedSink {
    flaw: SinkFlaw,
    place: Arc<Place>,
    stats: SinkStats,
    held: Vec<Seen>,
    dead: bool,
}

#[async_trait]
impl Sink for FlawedSink {
    fn name(&self) -> Cow<'static, str> {
        "flawed".into()
    }

    async fn open(&mut self, _: &Session) -> Result<(), SinkError> {
        Ok(())
    }

    async fn deliver(&mut self, record: &Record) -> Result<(), SinkError> {
        let unavailable =
            |reason: &str| SinkError::Unavailable { what: "writing".into(), reason: reason.to_owned() };
        let seen = match record {
            Record::Snapshot { snapshot, .. } => {
                Seen::Snapshot { number: snapshot.number, sites: sites(snapshot) }
            }
            Record::Mark(mark) => Seen::Mark { name: mark.name.clone() },
            Record::Lost(loss) => Seen::Lost(*loss),
        };
        if *self.place.broken.lock().unwrap() {
            self.dead |= self.flaw == SinkFlaw::DeadAfterError;
            match self.flaw {
                SinkFlaw::LosesSilently => return Ok(()),
                _ => return Err(unavailable("gone")),
            }
        }
        if self.dead || (self.flaw == SinkFlaw::FailsLarge && sites_of(&seen) > 40_000) {
            return Err(unavailable("no more"));
        }
        if self.flaw == SinkFlaw::ForgetsMarks && matches!(seen, Seen::Mark { .. }) {
            return Ok(());
        }
        let snapshot = u64::from(matches!(seen, Seen::Snapshot { .. }));
        self.stats.delivered_snapshots += snapshot * if self.flaw == SinkFlaw::CountsWrong { 2 } else { 1 };
        self.held.push(seen);
        Ok(())
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        assert!(self.flaw != SinkFlaw::PanicsAtClose, "closing");
        if self.flaw == SinkFlaw::Reorders {
            self.held.reverse();
        }
        self.place.written.lock().unwrap().append(&mut self.held);
        Ok(())
    }

    fn stats(&self) -> SinkStats {
        SinkStats { sink: self.name(), ..self.stats.clone() }
    }
}

fn sites(snapshot: &Snapshot) -> Option<usize> {
    Some(
        snapshot
            .readings
            .iter()
            .flat_map(|reading| &reading.profiles)
            .map(|profile| profile.sites().len())
            .sum(),
    )
}

fn sites_of(seen: &Seen) -> usize {
    if let Seen::Snapshot { sites: Some(sites), .. } = seen { *sites } else { 0 }
}

fn check_sink(flaw: SinkFlaw, expected: &str) {
    let place = Mutex::new(Arc::new(Place::default()));
    let make = || {
        let fresh = Arc::new(Place::default());
        *place.lock().unwrap() = Arc::clone(&fresh);
        let sink =
            FlawedSink { flaw, place: fresh, stats: SinkStats::default(), held: Vec::new(), dead: false };
        Box::new(sink) as Box<dyn Sink>
    };
    let read_back = || place.lock().unwrap().written.lock().unwrap().clone();
    let suite = SinkSuite::new(make, read_back)
        .with_fault(|broken| *place.lock().unwrap().broken.lock().unwrap() = broken);
    let violations = suite.violations();
    match expected {
        "" => assert_eq!(violations, [""; 0]),
        expected => assert!(violations.iter().any(|found| found.contains(expected)), "{violations:#?}"),
    }
}

#[test]
fn a_sink_that_conforms_passes() {
    check_sink(SinkFlaw::None, "");
}

#[test]
fn each_way_of_a_sink_to_break_its_contract_is_found() {
    check_sink(SinkFlaw::Reorders, "snapshots, marks and a loss: given was [Snapshot { number: 0");
    check_sink(SinkFlaw::ForgetsMarks, "given was");
    check_sink(SinkFlaw::CountsWrong, "of 4 snapshots, 8 count as delivered");
    check_sink(SinkFlaw::FailsLarge, "a large snapshot: `deliver` failed: writing: no more");
    check_sink(SinkFlaw::PanicsAtClose, "`close` panicked: closing");
    check_sink(
        SinkFlaw::LosesSilently,
        "an outage: of 4 snapshots, 2 count as delivered and 0 as lost, 0 were refused",
    );
    check_sink(SinkFlaw::DeadAfterError, "an outage: `deliver` failed: writing: no more");
}

#[test]
fn the_same_arguments_give_the_same_sample() {
    assert_eq!(sample_snapshot(3, 200), sample_snapshot(3, 200));
    assert_eq!(sites(&sample_snapshot(0, 50_000)), Some(50_000), "each site has an identity of its own");
    let (then, now) = (super::sample_profile(1, 70), super::sample_profile(2, 70));
    assert_eq!(Growth::between(&then, &now).sites.len(), 10, "every seventh site leaks");
}

#[test]
fn a_sleeper_wakes_at_its_instant_or_when_the_clock_is_set_and_not_before() {
    let clock = TestClock::new();
    let until = clock.now().unix_nanos + 10_000_000_000;
    let sleeper = std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| super::on_a_lane(clock.sleep_until(until)));
        while clock.next_wake() != Some(until) {
            std::thread::yield_now();
        }
        clock.advance(Duration::from_secs(9));
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        sleeper.join()
    });
    assert!(sleeper.is_ok());
    assert_eq!(clock.next_wake(), None);
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| super::on_a_lane(clock.sleep_until(u64::MAX)));
        while clock.next_wake().is_none() {
            std::thread::yield_now();
        }
        clock.set_wall(-1);
        assert!(sleeper.join().is_ok());
    });
}
