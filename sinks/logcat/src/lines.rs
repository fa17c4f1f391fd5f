//! What the log says of each record: text only, as the crate's page promises it.
//! Pure: writes nothing, reads no clock.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use leakline_core::{
    FragmentationWatch, GrowthTracker, Holder, Kind, Layer, Loss, Mark, PartWatch, ProfileGrowth, Reading,
    ReadingStatus, ResourceWatch, Session, SiteGrowth, Snapshot, Subject, Timestamp, Verdict, explanations,
    names, text, verdict_line,
};

/// No line is longer: liblog cuts at 4,068 bytes, tag included, and would take the tick away.
pub const MAX_LINE_BYTES: usize = 4000;
/// Frames of a site that a line shows.
const FRAMES: usize = 6;
/// A clock that was set by less than this is not worth a line.
const CLOCK_JUMP: Duration = Duration::from_secs(1);
/// Probes' notes that are told of at a snapshot, each.
const MAX_NOTES: usize = 8;

/// How a line is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// For whom it may interest.
    Info,
    /// Something that somebody should look at.
    Warn,
}

/// One line, without tag and without an end of line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) severity: Severity,
    pub(crate) text: String,
}

/// Turns records into lines, and remembers what it takes to tell only what changed.
#[derive(Debug)]
pub(crate) struct Teller {
    top_sites: usize,
    growth: GrowthTracker,
    probes: HashMap<String, Told>,
    sinks: HashMap<String, (u64, bool)>,
    roots: HashMap<Layer, Vec<String>>,
    judged: HashMap<Layer, Kind>,
    /// By probe: where its sites come from, as last told.
    sources: HashMap<String, String>,
    resources: ResourceWatch,
    fragmentation: FragmentationWatch,
    parts: PartWatch,
    /// The end of lines that belong to the latest snapshot.
    tick: String,
}

/// What was last said of a probe.
#[derive(Debug, Default)]
struct Told {
    status: Option<std::mem::Discriminant<ReadingStatus>>,
    notes: Vec<String>,
}

impl Teller {
    pub(crate) fn new(top_sites: usize) -> Self {
        Self {
            top_sites,
            growth: GrowthTracker::default(),
            probes: HashMap::new(),
            sinks: HashMap::new(),
            roots: HashMap::new(),
            judged: HashMap::new(),
            sources: HashMap::new(),
            resources: ResourceWatch::default(),
            fragmentation: FragmentationWatch::default(),
            parts: PartWatch::default(),
            tick: " tick=-".to_owned(),
        }
    }

    pub(crate) fn session(&mut self, session: &Session) -> Vec<Line> {
        let host = &session.host;
        let limit = host.limit.as_ref().map_or("-".to_owned(), |(bytes, source)| {
            format!("{} ({source})", megabytes(Some(*bytes as f64)))
        });
        let origin = session.origin.map_or(String::new(), |origin| {
            format!(" application={} parent={}", origin.application, origin.parent)
        });
        self.tick = instant(session.started);
        vec![self.info(format!(
            "Session: id={} host={} pid={} interval={} limit={limit} platform={} leakline={}{origin}",
            session.id,
            host.name,
            host.pid,
            humantime::format_duration(session.interval),
            host.platform,
            session.agent_version,
        ))]
    }

    pub(crate) fn snapshot(&mut self, snapshot: &Snapshot, verdicts: &[Verdict]) -> Vec<Line> {
        self.tick = format!("{} #{}", instant(snapshot.tick.at), snapshot.number);
        let mut lines = Vec::new();
        self.gaps(snapshot, &mut lines);
        for reading in &snapshot.readings {
            self.probe(reading, &mut lines);
        }
        lines.push(self.info(memory(snapshot)));
        self.sites(snapshot, &mut lines);
        self.parts.push(snapshot);
        self.verdicts(verdicts, &mut lines);
        self.remarks(snapshot, &mut lines);
        self.sinks(snapshot, &mut lines);
        lines
    }

    pub(crate) fn mark(&self, mark: &Mark) -> Vec<Line> {
        vec![line(Severity::Info, &format!("Mark: {}", mark.name), &instant(mark.at))]
    }

    pub(crate) fn lost(&self, loss: Loss) -> Vec<Line> {
        vec![self.warn(format!("Lost: {} snapshots, {} bytes", loss.snapshots, loss.bytes))]
    }

    pub(crate) fn end(&self, snapshots: u64) -> Vec<Line> {
        vec![self.info(format!("End: {snapshots} snapshots"))]
    }

    /// Ticks that passed without a snapshot, and a clock that was set.
    fn gaps(&self, snapshot: &Snapshot, lines: &mut Vec<Line>) {
        let jump = Duration::from_nanos(snapshot.clock_jump_nanos.unsigned_abs());
        let jumped = jump >= CLOCK_JUMP;
        if snapshot.missed_ticks == 0 && !jumped {
            return;
        }
        let mut words = format!("Missed: {} ticks", snapshot.missed_ticks);
        if jumped {
            let sign = if snapshot.clock_jump_nanos < 0 { '-' } else { '+' };
            words.push_str(&format!(", clock jumped by {sign}{:.1}s", jump.as_secs_f64()));
        }
        lines.push(self.info(words));
    }

    /// What changed about a probe.
    fn probe(&mut self, reading: &Reading, lines: &mut Vec<Line>) {
        if let Some(runtime) = &reading.runtime {
            self.roots.insert(reading.layer, runtime.source_roots.clone());
        }
        let told = self.probes.entry(reading.probe.to_string()).or_default();
        let status = std::mem::discriminant(&reading.status);
        let before = told.status.replace(status);
        // A runtime that was never there is no news.
        let never_there = before.is_none() && matches!(reading.status, ReadingStatus::Absent { .. });
        let changed = before != Some(status) && !never_there;
        // A probe that did not answer has no notes; that is no change of them.
        let noted = matches!(reading.status, ReadingStatus::Ok) && told.notes != reading.notes;
        let new_notes = noted.then(|| std::mem::replace(&mut told.notes, reading.notes.clone()));

        let probe = &reading.probe;
        if changed {
            lines.push(match &reading.status {
                ReadingStatus::Ok => {
                    let runtime = reading.runtime.as_ref().map_or("", |runtime| runtime.name.as_str());
                    let colon = if runtime.is_empty() { "" } else { ": " };
                    self.info(format!("Probe: {probe} ok{colon}{runtime}"))
                }
                ReadingStatus::Absent { reason } => self.info(format!("Probe: {probe} absent: {reason}")),
                ReadingStatus::Late { since } => {
                    self.warn(format!("Probe: {probe} late: for {}", short(*since)))
                }
                ReadingStatus::Failed { error, retry_in } => {
                    self.warn(format!("Probe: {probe} failed: {error}, again in {}", short(*retry_in)))
                }
            });
        }
        if let Some(before) = new_notes {
            let new = reading.notes.iter().filter(|note| !before.contains(note)).take(MAX_NOTES);
            lines.extend(new.map(|note| self.info(format!("Note: {probe}: {note}"))));
        }
    }

    /// The sites of all layers that grew most since the baseline.
    fn sites(&mut self, snapshot: &Snapshot, lines: &mut Vec<Line>) {
        let growths = self.growth.push(snapshot);
        let sources = told_sources(&growths);
        for told in &sources {
            let words = text::source(&told.source);
            if self.sources.get(&told.probe) != Some(&words) {
                lines.push(self.info(format!("Sites: {} {words}", told.probe)));
                self.sources.insert(told.probe.clone(), words);
            }
        }
        let mut grown: Vec<(&SiteGrowth, Option<Layer>)> = sources
            .iter()
            .flat_map(|told| {
                let layer = snapshot.reading(&told.probe).map(|reading| reading.layer);
                told.growth.grown().take(self.top_sites).map(move |site| (site, layer))
            })
            .collect();
        // Each list is in order already, and a stable sort keeps equal ones so.
        grown.sort_by_key(|(growth, _)| std::cmp::Reverse(growth.bytes));
        for (rank, (growth, layer)) in grown.into_iter().take(self.top_sites).enumerate() {
            let roots = layer.and_then(|layer| self.roots.get(&layer)).map_or(&[][..], Vec::as_slice);
            lines.push(self.info(format!(
                "#{}: {}{} ({:+} blocks) at {}",
                rank + 1,
                text::signed_bytes(growth.bytes as f64),
                text::plus_minus(growth.standard_error_bytes),
                growth.blocks,
                text::site(&growth.site, roots, FRAMES),
            )));
        }
        for growth in growths.iter().filter(|growth| growth.source.is_types()) {
            let holders = snapshot.reading(&growth.probe).map_or(&[][..], |reading| &reading.holders);
            let grown = growth.growth.sites.iter().filter(|site| site.blocks > 0);
            lines.extend(grown.take(self.top_sites).map(|site| self.info(type_words(site, holders))));
        }
    }

    /// A leak each time, with what explains it and its sites; other layers when they are judged differently than before.
    fn verdicts(&mut self, verdicts: &[Verdict], lines: &mut Vec<Line>) {
        let mut sites_left = self.top_sites;
        // The line that an explanation names may be another layer's.
        let all_roots: Vec<String> = self.roots.values().flatten().cloned().collect();
        let explained = explanations(verdicts, &self.parts);
        for verdict in verdicts {
            let leaks = verdict.kind.leaks();
            let layer = match &verdict.subject {
                Subject::Layer(layer) => {
                    let before = self.judged.insert(*layer, verdict.kind);
                    if !leaks && before == Some(verdict.kind) {
                        continue;
                    }
                    layer
                }
                Subject::Site(layer, _) => {
                    if !leaks || sites_left == 0 {
                        continue;
                    }
                    sites_left -= 1;
                    layer
                }
            };
            let roots = self.roots.get(layer).map_or(&[][..], Vec::as_slice);
            let words = format!("Verdict: {}", verdict_line(verdict, roots));
            lines.push(if leaks { self.warn(words) } else { self.info(words) });
            if let Subject::Layer(layer) = &verdict.subject {
                let of_layer = explained.iter().filter(|found| found.layer == *layer);
                lines.extend(
                    of_layer.map(|found| self.warn(format!("Verdict:       {}", found.words(&all_roots)))),
                );
            }
        }
    }

    /// Resources that grow, and malloc's free bytes where they explain the growth.
    fn remarks(&mut self, snapshot: &Snapshot, lines: &mut Vec<Line>) {
        self.resources.push(snapshot);
        self.fragmentation.push(snapshot);
        let remarks = [self.resources.line(), self.fragmentation.line()];
        lines.extend(remarks.into_iter().flatten().map(|words| self.warn(format!("Remark: {words}"))));
    }

    /// Sinks that lost more than was told before, or that began to fail or to work again.
    fn sinks(&mut self, snapshot: &Snapshot, lines: &mut Vec<Line>) {
        for sink in &snapshot.own.sinks {
            let now = (sink.lost.snapshots, !sink.last_error.is_empty());
            let before = self.sinks.insert(sink.sink.to_string(), now).unwrap_or((0, false));
            if before == now {
                continue;
            }
            let why = if now.1 { format!(": {}", sink.last_error) } else { String::new() };
            lines.push(self.warn(format!("Sink: {} lost {} snapshots so far{why}", sink.sink, now.0)));
        }
    }

    fn info(&self, words: String) -> Line {
        line(Severity::Info, &words, &self.tick)
    }

    fn warn(&self, words: String) -> Line {
        line(Severity::Warn, &words, &self.tick)
    }
}

/// Of each probe's sources with call paths the first: the others see the same memory.
fn told_sources(growths: &[ProfileGrowth]) -> Vec<&ProfileGrowth> {
    let mut told: Vec<&ProfileGrowth> = Vec::new();
    for growth in growths.iter().filter(|growth| !growth.source.is_types()) {
        if told.iter().all(|known| known.probe != growth.probe) {
            told.push(growth);
        }
    }
    told
}

/// A type of which there are more now, and the one that holds most of them.
fn type_words(grown: &SiteGrowth, holders: &[Holder]) -> String {
    let name = text::site(&grown.site, &[], 1);
    let most = holders.iter().filter(|held| *held.of == *name).max_by_key(|held| held.count);
    let held = most.map_or(String::new(), |held| {
        format!(", held by {} (+{} since the census before)", held.holder, held.count)
    });
    format!("Type: {:+} {name} ({}){held}", grown.blocks, text::signed_bytes(grown.bytes as f64))
}

fn memory(snapshot: &Snapshot) -> String {
    let read = |name| megabytes(snapshot.gauge(name));
    let most = snapshot
        .gauge(names::JVM_HEAP_MAX)
        .filter(|_| snapshot.gauge(names::JVM_HEAP_USED).is_some())
        .map_or(String::new(), |bytes| format!("/{:.0}MB", bytes / MEGABYTE));
    format!(
        "Memory: JVM={}{most} Native={} Python={} RSS={}",
        read(names::JVM_HEAP_USED),
        read(names::MALLOC_LIVE),
        megabytes(snapshot.python_bytes().map(|(bytes, _)| bytes)),
        read(names::RESIDENT),
    )
}

const MEGABYTE: f64 = 1_048_576.0;

fn megabytes(bytes: Option<f64>) -> String {
    bytes.map_or("-".to_owned(), |bytes| format!("{:.1}MB", bytes / MEGABYTE))
}

/// Without the nanoseconds.
fn short(time: Duration) -> humantime::FormattedDuration {
    let unit = if time >= Duration::from_secs(1) { 1_000_000_000 } else { 1_000_000 };
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_nanos(nanos - nanos % unit))
}

/// ` tick=` and the instant in UTC.
fn instant(at: Timestamp) -> String {
    // The library's dates end with the year 9999.
    const LAST_SECOND: u64 = 253_402_300_799;
    let whole = at.unix_nanos.is_multiple_of(1_000_000_000);
    let since_epoch = Duration::from_nanos(at.unix_nanos).min(Duration::from_secs(LAST_SECOND));
    let time = SystemTime::UNIX_EPOCH + since_epoch;
    if whole {
        format!(" tick={}", humantime::format_rfc3339_seconds(time))
    } else {
        format!(" tick={}", humantime::format_rfc3339_millis(time))
    }
}

/// One line of bounded length that ends with `tick`.
fn line(severity: Severity, words: &str, tick: &str) -> Line {
    let words = one_line(words);
    let room = MAX_LINE_BYTES.saturating_sub(tick.len());
    let text = if words.len() <= room {
        format!("{words}{tick}")
    } else {
        let most = room.saturating_sub("…".len());
        let end = (0..=most).rev().find(|at| words.is_char_boundary(*at)).unwrap_or(0);
        format!("{}…{tick}", &words[..end])
    };
    Line { severity, text }
}

/// Control characters escaped: a name with an end of line in it must not forge a line.
fn one_line(words: &str) -> Cow<'_, str> {
    if !words.contains(char::is_control) {
        return Cow::Borrowed(words);
    }
    let mut escaped = String::with_capacity(words.len() + 8);
    for letter in words.chars() {
        if letter.is_control() {
            escaped.extend(letter.escape_default());
        } else {
            escaped.push(letter);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests;
