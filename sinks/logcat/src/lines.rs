//! Turns records into lines. Pure: the tick of a line is the snapshot's, not the clock's.

use std::collections::HashMap;

use leakline_core::{
    Growth, GrowthTracker, Kind, Layer, Loss, Mark, Reading, ReadingStatus, RuntimeInfo, Session, Snapshot,
    Subject, Timestamp, Verdict, names, text, verdict_line,
};

use crate::output::Priority;

/// Frames of a site that one line shows; the whole path is in the recording.
const FRAMES: usize = 6;

const MB: f64 = 1_048_576.0;

/// A line and how much it matters.
pub(crate) type Line = (Priority, String);

/// What was said before, so that only changes are said again.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    growth: GrowthTracker,
    probes: HashMap<String, String>,
    leaking: HashMap<Layer, bool>,
}

pub(crate) fn session(session: &Session) -> Line {
    let host = &session.host;
    let interval = session.interval;
    let name = if host.name.is_empty() { "?" } else { &host.name };
    (
        Priority::Info,
        format!("Session {}: {name} pid {}, {}, every {interval:?}", session.id, host.pid, host.platform),
    )
}

pub(crate) fn end(session: &Session) -> Line {
    (Priority::Info, format!("Session {} ended", session.id))
}

pub(crate) fn mark(mark: &Mark) -> Line {
    (Priority::Info, format!("Mark: {} tick={}", on_one_line(&mark.name), time(mark.at)))
}

pub(crate) fn lost(loss: Loss) -> Line {
    let Loss { snapshots, bytes } = loss;
    (Priority::Warn, format!("Lost: {snapshots} snapshots ({bytes} bytes)"))
}

impl Lines {
    /// All lines of one snapshot.
    pub(crate) fn snapshot(
        &mut self,
        snapshot: &Snapshot,
        verdicts: &[Verdict],
        top_sites: usize,
    ) -> Vec<Line> {
        let tick = time(snapshot.tick.at);
        let mut lines = self.probe_changes(snapshot, &tick);
        lines.push((Priority::Info, memory(snapshot, &tick)));
        for (probe, growth) in self.growth.push(snapshot) {
            let runtime = snapshot.reading(&probe).and_then(|reading| reading.runtime.as_deref());
            lines.extend(sites(&growth, roots(runtime), top_sites, &tick));
        }
        lines.extend(self.verdicts(snapshot, verdicts, top_sites, &tick));
        lines
    }

    fn probe_changes(&mut self, snapshot: &Snapshot, tick: &str) -> Vec<Line> {
        let mut lines = Vec::new();
        for reading in &snapshot.readings {
            let (priority, state) = state(reading);
            let before = self.probes.insert(reading.probe.to_string(), state.clone());
            // A runtime that was never there is no news.
            let news = before.as_ref() != Some(&state)
                && !(before.is_none() && matches!(reading.status, ReadingStatus::Absent { .. }));
            if news {
                lines.push((priority, format!("Probe: {} {state} tick={tick}", reading.probe)));
            }
        }
        lines
    }

    fn verdicts(
        &mut self,
        snapshot: &Snapshot,
        verdicts: &[Verdict],
        top_sites: usize,
        tick: &str,
    ) -> Vec<Line> {
        let (mut lines, mut sites_left) = (Vec::new(), top_sites);
        for verdict in verdicts {
            match &verdict.subject {
                Subject::Layer(layer) => {
                    let leaks = verdict.kind == Kind::Leaking;
                    let leaked = self.leaking.insert(*layer, leaks).unwrap_or(false);
                    if leaks || leaked {
                        let priority = if leaks { Priority::Warn } else { Priority::Info };
                        lines.push((priority, format!("{} tick={tick}", verdict_line(verdict, &[]))));
                    }
                }
                Subject::Site(..) if sites_left == 0 => {}
                Subject::Site(layer, _) => {
                    sites_left -= 1;
                    let of_layer = |reading: &&Reading| reading.layer == *layer && reading.runtime.is_some();
                    let runtime =
                        snapshot.readings.iter().find(of_layer).and_then(|found| found.runtime.as_deref());
                    lines.push((
                        Priority::Warn,
                        format!("{} tick={tick}", verdict_line(verdict, roots(runtime))),
                    ));
                }
            }
        }
        lines
    }
}

fn roots(runtime: Option<&RuntimeInfo>) -> &[String] {
    runtime.map_or(&[], |runtime| &runtime.source_roots)
}

fn state(reading: &Reading) -> (Priority, String) {
    match &reading.status {
        ReadingStatus::Ok => {
            let runtime = reading.runtime.as_ref().filter(|runtime| !runtime.name.is_empty());
            (Priority::Info, runtime.map_or("found".to_owned(), |runtime| format!("found: {}", runtime.name)))
        }
        ReadingStatus::Absent { reason } => (Priority::Info, format!("absent: {reason}")),
        // How late is another matter at each tick; that it is late is said once.
        ReadingStatus::Late { .. } => {
            (Priority::Warn, "late: its reading is missing until it answers".to_owned())
        }
        ReadingStatus::Failed { error, .. } => (Priority::Warn, format!("failed: {error}")),
    }
}

fn memory(snapshot: &Snapshot, tick: &str) -> String {
    let megabytes =
        |name| snapshot.gauge(name).map_or("-".to_owned(), |bytes| format!("{:.1}MB", bytes / MB));
    let max = snapshot.gauge(names::JVM_HEAP_MAX).map_or(String::new(), |max| format!("/{:.0}MB", max / MB));
    format!(
        "Memory: JVM={}{max} Native={} Python={} RSS={} tick={tick} #{}",
        megabytes(names::JVM_HEAP_USED),
        megabytes(names::MALLOC_LIVE),
        megabytes(names::PYTHON_TRACED),
        megabytes(names::RESIDENT),
        snapshot.number,
    )
}

fn sites(growth: &Growth, roots: &[String], top_sites: usize, tick: &str) -> Vec<Line> {
    growth
        .grown()
        .take(top_sites)
        .enumerate()
        .map(|(index, site)| {
            let bytes = text::signed_bytes(site.bytes as f64);
            let place = text::site(&site.site, roots, FRAMES);
            (
                Priority::Info,
                format!("#{}: {bytes} ({:+} blocks) at {place} tick={tick}", index + 1, site.blocks),
            )
        })
        .collect()
}

/// Control characters as their escapes, so that a name with a line break stays one line and can be told from others.
fn on_one_line(name: &str) -> String {
    let mut line = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_control() || c == '\\' { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// UTC to the millisecond, which is left out where it is zero: `2026-01-29T09:05:00Z`.
fn time(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond((at.unix_nanos / 1_000_000) as i64)
        .map_or_else(|_| at.unix_nanos.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests;
