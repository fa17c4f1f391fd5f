//! Makes a report of a session's events, one after the other.
//! Pure: no file, no clock. Holds gauges of every snapshot, but profiles of two only.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use leakline_core::{
    Cycle, FragmentationWatch, Growth, GrowthPerMark, Holder, Layer, Ledger, Loss, Mark, PartWatch, Profile,
    Reading, ReadingStatus, ResourceWatch, Session, Snapshot, Subject, Timestamp, Verdict, VerdictEngine,
    explanations, growth_per_mark, names, text,
};
use leakline_proto::Event;

use super::bridge;
use super::model::{ProbeGrowth, ProbeHealth, Report, Row};

/// Problems that are told one by one; a file of noise has thousands.
const MAX_PROBLEMS: usize = 8;

/// Which snapshots a report is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Range {
    /// Number of the first; `None`: the first there is.
    pub(crate) from: Option<u64>,
    /// Number of the last; `None`: the last there is.
    pub(crate) to: Option<u64>,
}

impl Range {
    fn is_all(self) -> bool {
        self == Self::default()
    }

    fn has(self, number: u64) -> bool {
        self.from.is_none_or(|from| number >= from) && self.to.is_none_or(|to| number <= to)
    }
}

/// Why there is no report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoReport {
    /// There is no session in it.
    NoSession,
    /// Not one snapshot was taken.
    NoSnapshot,
    /// None within the range; there are those from the first to the last number.
    NoneInRange(u64, u64),
}

/// Follows a session.
#[derive(Debug)]
pub(crate) struct Builder {
    range: Range,
    session: Option<Session>,
    ended: Option<Timestamp>,
    cut: Option<String>,
    /// By probe, of its last reading.
    incomplete: BTreeMap<String, Vec<String>>,
    seen: Option<(u64, u64)>,
    rows: Vec<Row>,
    last: Option<Arc<Snapshot>>,
    verdicts: Vec<Verdict>,
    engine: VerdictEngine,
    resources: ResourceWatch,
    fragmentation: FragmentationWatch,
    parts: PartWatch,
    growth: Baseline,
    holders: BTreeMap<String, Vec<Holder>>,
    cycles: Vec<Cycle>,
    marks: Vec<Mark>,
    /// By probe: its layer, the runtime's name, its source roots.
    runtimes: BTreeMap<String, (Layer, String, Vec<String>)>,
    probes: BTreeMap<String, ProbeHealth>,
    /// Gauge names, each once.
    names: BTreeSet<Arc<str>>,
    lost: Loss,
    missing_entries: u64,
    problems: Vec<String>,
    more_problems: u64,
    damaged: bool,
}

/// The profiles that growth is counted from, and the latest.
#[derive(Debug, Default)]
struct Baseline {
    number: Option<u64>,
    /// By probe and the name of the source.
    profiles: HashMap<(String, String), Compared>,
}

#[derive(Debug)]
struct Compared {
    layer: Layer,
    from: u64,
    to: u64,
    then: Arc<Profile>,
    now: Arc<Profile>,
}

impl Builder {
    /// A report on the snapshots of `range`.
    pub(crate) fn new(range: Range) -> Self {
        Self {
            range,
            session: None,
            ended: None,
            cut: None,
            incomplete: BTreeMap::new(),
            seen: None,
            rows: Vec::new(),
            last: None,
            verdicts: Vec::new(),
            engine: VerdictEngine::default(),
            resources: ResourceWatch::default(),
            fragmentation: FragmentationWatch::default(),
            parts: PartWatch::default(),
            growth: Baseline::default(),
            holders: BTreeMap::new(),
            cycles: Vec::new(),
            marks: Vec::new(),
            runtimes: BTreeMap::new(),
            probes: BTreeMap::new(),
            names: BTreeSet::new(),
            lost: Loss::default(),
            missing_entries: 0,
            problems: Vec::new(),
            more_problems: 0,
            damaged: false,
        }
    }

    /// Takes the next event.
    pub(crate) fn event(&mut self, event: Event) {
        match event {
            Event::Session(session) => self.session(session),
            Event::Snapshot { snapshot, verdicts } => self.snapshot(&snapshot, verdicts),
            Event::Mark(mark) => self.marks.push(mark),
            Event::Lost(loss) => {
                self.lost.snapshots = self.lost.snapshots.saturating_add(loss.snapshots);
                self.lost.bytes = self.lost.bytes.saturating_add(loss.bytes);
            }
            Event::Gap { missing_entries } => {
                self.missing_entries = self.missing_entries.saturating_add(missing_entries);
            }
            Event::End(at) => self.ended = Some(at),
            Event::Cut { reason, .. } => self.cut = Some(reason),
            // A duplicate says nothing new; of what only a newer leakline tells, nothing can be said.
            _ => {}
        }
    }

    /// An older part of a file's name may belong to a session before: the one that comes last is meant.
    fn session(&mut self, session: Session) {
        if self.session.as_ref().is_some_and(|known| known.id != session.id) {
            *self = Self::new(self.range);
        }
        self.session = Some(session);
    }

    /// Takes a line about a part that could not be read; `damage`: not just an end that is not written yet.
    pub(crate) fn problem(&mut self, line: String, damage: bool) {
        self.damaged |= damage;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(line);
        } else {
            self.more_problems += 1;
        }
    }

    /// What could not be read so far.
    pub(crate) fn problems(&self) -> &[String] {
        &self.problems
    }

    fn snapshot(&mut self, snapshot: &Arc<Snapshot>, verdicts: Vec<Verdict>) {
        let number = snapshot.number;
        self.seen =
            Some(self.seen.map_or((number, number), |(first, last)| (first.min(number), last.max(number))));
        if !self.range.has(number) {
            return;
        }
        let limit =
            self.session.as_ref().and_then(|session| session.host.limit.as_ref()).map(|(bytes, _)| *bytes);
        // The agent has seen all of its session and its word holds; of a part of it somebody has to judge anew.
        self.verdicts = match verdicts {
            verdicts if self.range.is_all() && !verdicts.is_empty() => verdicts,
            _ => self.engine.push(snapshot, limit),
        };
        self.growth.push(snapshot, self.range.from.is_some());
        self.readings(snapshot);
        let row = self.row(snapshot);
        self.rows.push(row);
        self.last = Some(Arc::clone(snapshot));
    }

    fn readings(&mut self, snapshot: &Snapshot) {
        for reading in &snapshot.readings {
            if let Some(runtime) = reading.runtime.as_ref().filter(|runtime| !runtime.name.is_empty()) {
                let known = (reading.layer, runtime.name.clone(), runtime.source_roots.clone());
                self.runtimes.insert(reading.probe.to_string(), known);
            }
            let health = self.probes.entry(reading.probe.to_string()).or_default();
            match &reading.status {
                ReadingStatus::Ok => {
                    health.ok += 1;
                    // Why it was not there before is of no interest once it is; why it failed is.
                    if health.failed == 0 {
                        health.last_words.clear();
                    }
                }
                ReadingStatus::Late { .. } => health.late += 1,
                ReadingStatus::Failed { error, .. } => {
                    health.failed += 1;
                    health.last_words.clone_from(error);
                }
                ReadingStatus::Absent { reason } => {
                    health.absent += 1;
                    health.last_words.clone_from(reason);
                }
            }
            for note in &reading.notes {
                health.note(note);
            }
            // A runtime that has ended has said what there was to say.
            if !matches!(reading.status, ReadingStatus::Absent { .. }) {
                self.incomplete.insert(reading.probe.to_string(), incomplete(reading));
            }
            if !reading.holders.is_empty() {
                self.holders.insert(reading.probe.to_string(), reading.holders.clone());
            }
            if !reading.cycles.is_empty() {
                self.cycles.clone_from(&reading.cycles);
            }
        }
    }

    fn row(&mut self, snapshot: &Snapshot) -> Row {
        self.resources.push(snapshot);
        self.fragmentation.push(snapshot);
        self.parts.push(snapshot);
        let gauges = snapshot.readings.iter().flat_map(|reading| &reading.gauges);
        let names = &mut self.names;
        let costs = snapshot
            .readings
            .iter()
            .map(|reading| (name_once(names, &reading.probe), reading.cost))
            .collect();
        Row {
            number: snapshot.number,
            at: snapshot.tick.at,
            cause: snapshot.tick.cause,
            interval: snapshot.interval,
            missed_ticks: snapshot.missed_ticks,
            clock_jump_nanos: snapshot.clock_jump_nanos,
            skew_nanos: snapshot.skew_nanos,
            ledger: Ledger::of(snapshot),
            gauges: gauges.map(|gauge| (name_once(&mut self.names, &gauge.name), gauge.value)).collect(),
            costs,
        }
    }

    /// The report, or why there is none.
    pub(crate) fn finish(self) -> Result<Report, NoReport> {
        let session = self.session.ok_or(NoReport::NoSession)?;
        let Some(last) = self.last else {
            return Err(self
                .seen
                .map_or(NoReport::NoSnapshot, |(first, last)| NoReport::NoneInRange(first, last)));
        };
        let whole = self.range.is_all();
        let (begin, end) = match (self.rows.first(), self.rows.last()) {
            (Some(first), Some(last)) => (first.at.boot_nanos, last.at.boot_nanos),
            _ => return Err(NoReport::NoSnapshot),
        };
        let is_meant = |mark: &Mark| whole || (begin..=end).contains(&mark.at.boot_nanos);
        let marks: Vec<Mark> = self.marks.into_iter().filter(is_meant).collect();
        let roots = self.runtimes.values().flat_map(|(_, _, roots)| roots.iter().cloned()).collect();
        let runtimes = self.runtimes.into_values().map(|(layer, name, _)| (layer, name)).collect();
        let unshared = session.origin.and_then(|_| unshared(&self.rows));
        let remarks =
            [self.resources.line(), self.fragmentation.line(), unshared].into_iter().flatten().collect();
        let per_mark = per_mark(&marks, &self.verdicts, &self.rows);
        let mut report = Report {
            parts: self.parts.verdicts(&self.verdicts),
            resident: self.parts.resident(),
            explanations: explanations(&self.verdicts, &self.parts),
            growing: self.resources.growing(),
            fragmentation: self.fragmentation.mark(),
            remarks,
            session,
            runtimes,
            roots,
            ended: self.ended,
            cut: self.cut,
            incomplete: self
                .incomplete
                .iter()
                .flat_map(|(probe, lines)| lines.iter().map(move |line| format!("{probe}: {line}")))
                .chain(unwatched_children(&marks))
                .collect(),
            rows: self.rows,
            verdicts: self.verdicts,
            growths: self.growth.finish(),
            holders: self.holders,
            cycles: self.cycles,
            per_mark,
            marks,
            probes: self.probes,
            lost: self.lost,
            missing_entries: self.missing_entries,
            own: last.own.clone(),
            problems: self.problems,
            more_problems: self.more_problems,
            damaged: self.damaged,
            without_symbols: Vec::new(),
        };
        report.explanations.extend(bridge::java_holds(&report));
        Ok(report)
    }
}

/// What a child has less in common with other processes than at first: what it has written to since is its own. The resident
/// size does not tell, since it counts what is shared, too.
fn unshared(rows: &[Row]) -> Option<String> {
    /// Less comes from processes that begin and end.
    const LEAST: f64 = 8.0 * 1_048_576.0;
    let both = |row: &Row| Some((row.gauge(names::PROPORTIONAL)?, row.gauge(names::RESIDENT)?));
    let (first, last) = (rows.iter().find_map(both)?, rows.iter().rev().find_map(both)?);
    let bytes = (last.0 - first.0) - (last.1 - first.1);
    (bytes >= LEAST.max(last.1 / 10.0)).then(|| {
        format!(
            "{} that it had in common with other processes are its own now: pages that were written to since the fork, as \
             by reference counts and collections; no leak. In Python, gc.freeze() before the fork keeps them shared.",
            text::bytes(bytes)
        )
    })
}

/// Children that grew and are in no recording; of each the last that was said.
fn unwatched_children(marks: &[Mark]) -> Vec<String> {
    let mut last = BTreeMap::new();
    for mark in marks {
        if let Some(said) = mark.name.strip_prefix("leakline: ")
            && let Some(process) = said.strip_prefix("child ").and_then(|rest| rest.split_whitespace().next())
            && said.contains("is not watched")
        {
            last.insert(process.to_owned(), said.to_owned());
        }
    }
    last.into_values().collect()
}

/// Why a reading's figures are incomplete.
fn incomplete(reading: &Reading) -> Vec<String> {
    let status = match &reading.status {
        ReadingStatus::Failed { error, .. } => Some(format!("the last reading failed: {error}")),
        ReadingStatus::Late { .. } => Some("the last reading was not answered in time".to_owned()),
        _ => None,
    };
    let notes = reading.notes.iter().filter(|note| text::is_incomplete(note)).cloned();
    status.into_iter().chain(notes).collect()
}

/// Which leaking layers grow with which marks.
fn per_mark(marks: &[Mark], verdicts: &[Verdict], rows: &[Row]) -> Vec<(String, Layer, GrowthPerMark)> {
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for mark in marks {
        times.entry(&mark.name).or_default().push(mark.at.boot_nanos as f64 / 1e9);
    }
    let mut found = Vec::new();
    for verdict in verdicts.iter().filter(|verdict| verdict.kind.leaks()) {
        let Subject::Layer(layer) = verdict.subject else { continue };
        let points: Vec<(f64, f64)> = rows
            .iter()
            .filter_map(|row| {
                let value = row.gauges.iter().find(|(name, _)| **name == *verdict.gauge)?.1;
                Some((row.at.boot_nanos as f64 / 1e9, value))
            })
            .collect();
        let told = times
            .iter()
            .filter_map(|(name, times)| Some(((*name).to_owned(), layer, growth_per_mark(&points, times)?)));
        found.extend(told);
    }
    found
}

fn name_once(names: &mut BTreeSet<Arc<str>>, name: &str) -> Arc<str> {
    if let Some(known) = names.get(name) {
        return Arc::clone(known);
    }
    let new: Arc<str> = name.into();
    names.insert(Arc::clone(&new));
    new
}

impl Baseline {
    /// As core's `GrowthTracker` chooses what growth is counted from, without the growth at every snapshot.
    /// With `fixed` the first profile stays, whatever the host said to be its baseline later.
    fn push(&mut self, snapshot: &Snapshot, fixed: bool) {
        if self.number != Some(snapshot.baseline) && !(fixed && self.number.is_some()) {
            self.number = Some(snapshot.baseline);
            self.profiles.clear();
        }
        for reading in &snapshot.readings {
            for now in &reading.profiles {
                let source = now.source();
                let new = || Compared {
                    layer: reading.layer,
                    from: snapshot.number,
                    to: snapshot.number,
                    then: Arc::clone(now),
                    now: Arc::clone(now),
                };
                let key = (reading.probe.to_string(), source.name.to_string());
                let compared = self.profiles.entry(key).or_insert_with(new);
                if compared.now.source().epoch != source.epoch {
                    *compared = new();
                }
                compared.to = snapshot.number;
                compared.now = Arc::clone(now);
            }
        }
    }

    fn finish(self) -> Vec<ProbeGrowth> {
        let mut growths: Vec<ProbeGrowth> = self
            .profiles
            .into_iter()
            .map(|((probe, _), compared)| ProbeGrowth {
                probe,
                source: compared.now.source().clone(),
                layer: compared.layer,
                from: compared.from,
                to: compared.to,
                growth: Growth::between(&compared.then, &compared.now),
            })
            .collect();
        // What has been followed for longest first: a window is short.
        let order = |growth: &ProbeGrowth| (growth.layer, growth.probe.clone(), growth.from);
        growths.sort_by(|one, other| {
            order(one).cmp(&order(other)).then_with(|| one.source.name.cmp(&other.source.name))
        });
        growths
    }
}

#[cfg(test)]
mod unshared_tests {
    use std::time::Duration;

    use leakline_core::Cause;

    use super::*;

    /// One row for each pair of proportional and resident MiB; a proportional 0 was not asked.
    fn check(rows: &[(f64, f64)], expected: Option<&str>) {
        let row = |(number, (proportional, resident)): (usize, &(f64, f64))| {
            let gauge = |name: &str, mebibytes: f64| (Arc::from(name), mebibytes * 1_048_576.0);
            let mut gauges = vec![gauge(names::RESIDENT, *resident)];
            gauges.extend((*proportional > 0.0).then(|| gauge(names::PROPORTIONAL, *proportional)));
            Row {
                number: number as u64,
                at: Timestamp::default(),
                cause: Cause::Tick,
                interval: Duration::from_secs(1),
                missed_ticks: 0,
                clock_jump_nanos: 0,
                skew_nanos: None,
                ledger: None,
                gauges,
                costs: Vec::new(),
            }
        };
        let rows: Vec<Row> = rows.iter().enumerate().map(row).collect();
        let told = unshared(&rows);
        assert_eq!(told.as_deref().map(|line| line.split(" that").next().unwrap_or_default()), expected);
    }

    #[test]
    fn pages_that_are_written_to_are_told_and_growth_is_not() {
        check(&[(60.0, 120.0), (0.0, 121.0), (100.0, 122.0), (0.0, 122.0)], Some("38.0 MiB"));
        // It grew as much.
        check(&[(60.0, 120.0), (100.0, 160.0)], None);
        // A little, or a little of much.
        check(&[(60.0, 120.0), (67.0, 120.0)], None);
        check(&[(600.0, 1200.0), (700.0, 1200.0)], None);
        check(&[(0.0, 120.0), (0.0, 120.0)], None);
        check(&[], None);
    }
}
