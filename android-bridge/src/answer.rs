//! Texts between Java and Rust: settings come in, snapshots and statistics go out, the app's gauges come in.
//! One fact a line, fields between tabs; a field has no tab or line break. Pure; what is not understood is left out.

use std::fmt::Write as _;

use leakline::{Gauge, GaugeKind, ReadingStatus, Snapshot, Stats, Unit};

/// Gauges of the app in one reading, all its probes together.
const MAX_GAUGES: usize = 256;
/// Notes of the app in one reading.
const MAX_NOTES: usize = 16;
/// Characters of a gauge's name or of a note.
const MAX_CHARS: usize = 200;

/// `name`, `value` pairs, a line each.
pub(crate) fn settings(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once('\t'))
}

/// The app's gauges (`gauge`, name, `bytes` or `count`, `level` or `total`, value) and notes (`note`, text).
pub(crate) fn gauges(text: &str) -> (Vec<Gauge>, Vec<String>) {
    let (mut gauges, mut notes) = (Vec::new(), Vec::new());
    for line in text.lines() {
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["gauge", name, unit, kind, value] if gauges.len() < MAX_GAUGES => {
                gauges.extend(gauge(name, unit, kind, value));
            }
            ["note", note] if notes.len() < MAX_NOTES => notes.push(note.chars().take(MAX_CHARS).collect()),
            _ => {}
        }
    }
    (gauges, notes)
}

fn gauge(name: &str, unit: &str, kind: &str, value: &str) -> Option<Gauge> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.');
    if name.is_empty() || name.len() > MAX_CHARS || !name.chars().all(plain) {
        return None;
    }
    let unit = match unit {
        "bytes" => Unit::Bytes,
        "count" => Unit::Count,
        _ => return None,
    };
    let kind = match kind {
        "level" => GaugeKind::Level,
        "total" => GaugeKind::Total,
        _ => return None,
    };
    let value = value.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0)?;
    Some(Gauge { name: name.to_owned().into(), unit, kind, value })
}

/// A snapshot: `snapshot` with its number and time, `probe` with layer and state, `gauge` with value.
pub(crate) fn snapshot(snapshot: &Snapshot) -> String {
    let mut text = head(snapshot);
    for reading in &snapshot.readings {
        probe(&mut text, &reading.probe, reading.layer.name(), &reading.status);
        for gauge in &reading.gauges {
            let _ = writeln!(text, "gauge\t{}\t{}", gauge.name, gauge.value);
        }
        for note in &reading.notes {
            let _ = writeln!(text, "note\t{}", one_line(note));
        }
    }
    text
}

/// As [`snapshot`], with each level's peak, and what leakline itself costs as `own`.
pub(crate) fn stats(stats: &Stats) -> String {
    let mut text = head(&stats.snapshot);
    for layer in &stats.layers {
        probe(&mut text, &layer.probe, layer.layer.name(), &layer.status);
        for (name, value, peak) in &layer.gauges {
            let peak = peak.map(|peak| format!("\t{peak}")).unwrap_or_default();
            let _ = writeln!(text, "gauge\t{name}\t{value}{peak}");
        }
    }
    let held = stats.own.held_bytes.unwrap_or(0);
    let stall = stats.own.longest_stall.as_nanos();
    let _ = writeln!(text, "own\t{}\t{held}\t{stall}", stats.own.cpu.as_nanos());
    text
}

fn head(snapshot: &Snapshot) -> String {
    let millis = snapshot.tick.at.unix_nanos / 1_000_000;
    format!("snapshot\t{}\t{millis}\t{}\n", snapshot.number, snapshot.baseline)
}

fn probe(text: &mut String, name: &str, layer: &str, status: &ReadingStatus) {
    let (state, why) = match status {
        ReadingStatus::Ok => ("ok", String::new()),
        ReadingStatus::Absent { reason } => ("absent", one_line(reason)),
        ReadingStatus::Late { since } => ("late", format!("{} ms", since.as_millis())),
        ReadingStatus::Failed { error, .. } => ("failed", one_line(error)),
    };
    let _ = writeln!(text, "probe\t{name}\t{layer}\t{state}\t{why}");
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let (gauges, notes) = gauges(text);
        let gauges = gauges.iter().map(|g| format!("{} {:?} {:?} {}", g.name, g.unit, g.kind, g.value));
        assert_eq!(gauges.chain(notes).collect::<Vec<_>>().join("; "), expected);
    }

    #[test]
    fn gauges_of_the_app_are_read_and_what_is_no_gauge_is_left_out() {
        check("", "");
        check("gauge\tjvm.cache_entries\tcount\tlevel\t12\n", "jvm.cache_entries Count Level 12");
        check(
            "gauge\tjvm.sent_bytes\tbytes\ttotal\t1e6\nnote\tqueue: gone\n",
            "jvm.sent_bytes Bytes Total 1000000; queue: gone",
        );
        for bad in [
            "gauge\tJVM.x\tcount\tlevel\t1",
            "gauge\t\tcount\tlevel\t1",
            "gauge\tjvm.x\tmiles\tlevel\t1",
            "gauge\tjvm.x\tcount\tmood\t1",
            "gauge\tjvm.x\tcount\tlevel\tNaN",
            "gauge\tjvm.x\tcount\tlevel\t-1",
            "gauge\tjvm.x\tcount\tlevel",
            "junk",
        ] {
            check(bad, "");
        }
    }

    #[test]
    fn an_app_with_too_many_gauges_keeps_the_first_ones() {
        let line = "gauge\tjvm.x\tcount\tlevel\t1\n";
        assert_eq!(gauges(&line.repeat(1000)).0.len(), MAX_GAUGES);
        assert_eq!(gauges(&"note\tx\n".repeat(1000)).1.len(), MAX_NOTES);
    }

    #[test]
    fn settings_are_pairs_a_line_each() {
        let found: Vec<_> = settings("interval\t1m\njunk\nfile.path\t/a b\n").collect();
        assert_eq!(found, [("interval", "1m"), ("file.path", "/a b")]);
    }
}
