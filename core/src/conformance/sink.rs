//! What every sink must hold to.

use std::fmt;

use super::{Violations, on_a_lane, report, sample_mark, sample_record, sample_session};
use crate::model::Loss;
use crate::sink::{Record, Sink, SinkError, SinkStats};

/// More sites than any real profile's changes between two ticks.
const LARGE: usize = 50_000;

/// A record as somebody reads it from where the sink wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A snapshot.
    Snapshot {
        /// Its number.
        number: u64,
        /// How many sites its profiles have together; `None` from a sink that writes only some of them.
        sites: Option<usize>,
    },
    /// A mark.
    Mark {
        /// Its name.
        name: String,
    },
    /// Word of a loss.
    Lost(Loss),
}

/// Panics with a list of what is wrong with the sinks that `make` makes. Each one that is made writes to a place of its
/// own; `read_back` reads the place of the one made last, after it was closed. Call it from a plain `#[test]`.
pub fn sink(make: impl Fn() -> Box<dyn Sink>, read_back: impl Fn() -> Vec<Seen>) {
    SinkSuite::new(make, read_back).run();
}

/// The suite for sinks, with what it can be told besides.
pub struct SinkSuite<'a> {
    make: Box<dyn Fn() -> Box<dyn Sink> + 'a>,
    read_back: Box<dyn Fn() -> Vec<Seen> + 'a>,
    fault: Option<Box<dyn Fn(bool) + 'a>>,
}

impl fmt::Debug for SinkSuite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkSuite").field("fault", &self.fault.is_some()).finish_non_exhaustive()
    }
}

impl<'a> SinkSuite<'a> {
    /// As [`sink`], to be completed and then run.
    pub fn new(make: impl Fn() -> Box<dyn Sink> + 'a, read_back: impl Fn() -> Vec<Seen> + 'a) -> Self {
        Self { make: Box::new(make), read_back: Box::new(read_back), fault: None }
    }

    /// How to break what the sink made last writes to (`true`), and how to mend it (`false`).
    pub fn with_fault(mut self, fault: impl Fn(bool) + 'a) -> Self {
        self.fault = Some(Box::new(fault));
        self
    }

    /// Panics with a list of what is wrong.
    pub fn run(self) {
        report("the sink", &self.violations());
    }

    /// What is wrong; empty when nothing is.
    pub fn violations(&self) -> Vec<String> {
        let mut found = Violations::default();
        self.identity(&mut found);
        self.case(&mut found, "a session without records", &[]);
        self.case(
            &mut found,
            "snapshots, marks and a loss",
            &[
                sample_record(0, 10),
                Record::Mark(sample_mark("reconnect")),
                sample_record(1, 12),
                Record::Lost(Loss { snapshots: 3, bytes: 4096 }),
                sample_record(5, 9),
                Record::Mark(sample_mark("to the background")),
                Record::Mark(sample_mark("Größe, 大きさ: \"50 %\"\n")),
                sample_record(6, 9),
            ],
        );
        self.case(&mut found, "snapshots without sites", &[sample_record(0, 0), sample_record(1, 0)]);
        self.case(&mut found, "a large snapshot", &[sample_record(0, LARGE), sample_record(1, LARGE)]);
        if let Some(fault) = &self.fault {
            self.outage(&mut found, fault.as_ref());
        }
        found.0
    }

    fn identity(&self, found: &mut Violations) {
        let (sink, twin) = ((self.make)(), (self.make)());
        let name = sink.name();
        found.check(!name.is_empty(), || "the name is empty".to_owned());
        found.check(name == sink.name() && name == twin.name(), || {
            format!("the name changes: {name:?}, {:?}, {:?}", sink.name(), twin.name())
        });
    }

    /// Everything goes well: all that is given is read back, in order.
    fn case(&self, found: &mut Violations, what: &str, records: &[Record]) {
        let sink = (self.make)();
        on_a_lane(async {
            let mut run = Run { sink, found, what, given: 0, refused: 0, last: SinkStats::default() };
            if run.open().await {
                for record in records {
                    let _ = run.deliver(record, true).await;
                }
                run.close().await;
            }
        });
        let seen = (self.read_back)();
        compare(found, what, &records.iter().map(seen_of).collect::<Vec<_>>(), &seen);
    }

    /// What the sink writes to goes away and comes back: what is given after that must arrive, in order, and what was
    /// given meanwhile arrives too or is counted.
    fn outage(&self, found: &mut Violations, fault: &dyn Fn(bool)) {
        let what = "an outage";
        let sink = (self.make)();
        let records = [sample_record(0, 5), sample_record(1, 5), sample_record(2, 5), sample_record(3, 5)];
        let refused = on_a_lane(async {
            let mut run = Run { sink, found, what, given: 0, refused: 0, last: SinkStats::default() };
            let mut refused = Vec::new();
            if run.open().await {
                for (index, record) in records.iter().enumerate() {
                    if index == 1 || index == 3 {
                        fault(index == 1);
                    }
                    if run.deliver(record, index == 0 || index == 3).await.is_err() {
                        refused.push(index);
                    }
                }
                run.close().await;
            }
            refused
        });
        let seen = (self.read_back)();
        let arrived: Vec<u64> = seen
            .iter()
            .filter_map(
                |record| if let Seen::Snapshot { number, .. } = record { Some(*number) } else { None },
            )
            .collect();
        found.check(arrived.is_sorted(), || format!("{what}: snapshots arrived in the order {arrived:?}"));
        found.check(arrived.last() == Some(&3) && arrived.first() == Some(&0), || {
            format!("{what}: of snapshots 0 to 3, of which {refused:?} were refused, arrived {arrived:?}")
        });
    }
}

struct Run<'a> {
    sink: Box<dyn Sink>,
    found: &'a mut Violations,
    what: &'a str,
    given: u64,
    refused: u64,
    last: SinkStats,
}

impl Run<'_> {
    async fn open(&mut self) -> bool {
        let session = sample_session();
        let opened = self.found.call("open", self.sink.open(&session)).await;
        self.stats();
        match opened {
            Some(Ok(())) => true,
            Some(Err(error)) => self.complain(format!("`open` failed: {error}")),
            None => false,
        }
    }

    async fn deliver(&mut self, record: &Record, must: bool) -> Result<(), SinkError> {
        let result = self.found.call("deliver", self.sink.deliver(record)).await;
        let snapshot = u64::from(matches!(record, Record::Snapshot { .. }));
        self.given += snapshot;
        self.stats();
        match result {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => {
                self.refused += snapshot;
                if must {
                    self.complain(format!("`deliver` failed: {error}"));
                }
                Err(error)
            }
            None => Ok(()),
        }
    }

    async fn close(&mut self) {
        if let Some(Err(error)) = self.found.call("close", self.sink.close()).await {
            self.complain(format!("`close` failed: {error}"));
        }
        self.stats();
        let SinkStats { delivered_snapshots, lost, held_bytes, .. } = self.last.clone();
        if delivered_snapshots + lost.snapshots + self.refused != self.given {
            self.complain(format!(
                "of {} snapshots, {delivered_snapshots} count as delivered and {} as lost, {} were refused",
                self.given, lost.snapshots, self.refused
            ));
        }
        if held_bytes != 0 {
            self.complain(format!("{held_bytes} bytes are still held back after `close`"));
        }
        // Whatever a second one answers, it must return.
        let _ = self.found.call("close, called again,", self.sink.close()).await;
    }

    /// Counters rise only.
    fn stats(&mut self) {
        let now = self.sink.stats();
        let before = std::mem::replace(&mut self.last, now.clone());
        if now.sink != self.sink.name() {
            self.complain(format!(
                "`stats` calls the sink {:?}, and it calls itself {:?}",
                now.sink,
                self.sink.name()
            ));
        }
        let counters = |stats: &SinkStats| {
            [stats.delivered_snapshots, stats.delivered_bytes, stats.lost.snapshots, stats.lost.bytes]
        };
        if counters(&now).iter().zip(counters(&before)).any(|(now, before)| *now < before) {
            self.complain(format!("a counter fell from {before:?} to {now:?}"));
        }
    }

    fn complain(&mut self, violation: String) -> bool {
        let what = self.what;
        self.found.check(false, || format!("{what}: {violation}"));
        false
    }
}

fn seen_of(record: &Record) -> Seen {
    match record {
        Record::Snapshot { snapshot, .. } => {
            let profiles = snapshot.readings.iter().flat_map(|reading| &reading.profiles);
            let sites = Some(profiles.map(|profile| profile.sites().len()).sum());
            Seen::Snapshot { number: snapshot.number, sites }
        }
        Record::Mark(mark) => Seen::Mark { name: mark.name.clone() },
        Record::Lost(loss) => Seen::Lost(*loss),
    }
}

fn compare(found: &mut Violations, what: &str, expected: &[Seen], seen: &[Seen]) {
    let same = |expected: &Seen, seen: &Seen| match (expected, seen) {
        (Seen::Snapshot { number: wanted, .. }, Seen::Snapshot { number, sites: None }) => wanted == number,
        (expected, seen) => expected == seen,
    };
    let all = expected.len() == seen.len()
        && expected.iter().zip(seen).all(|(expected, seen)| same(expected, seen));
    found.check(all, || format!("{what}: given was {expected:?}, and read back {seen:?}"));
}
