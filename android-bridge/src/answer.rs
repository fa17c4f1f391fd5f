//! Texts between Java and Rust: settings come in, snapshots and statistics go out. (What the app's probes say is read by
//! [`leakline::custom::gauges`], as that of any language.)
//! One fact a line, fields between tabs; a field has no tab or line break. Pure; what is not understood is left out.

use std::fmt::Write as _;

use leakline::{ReadingStatus, Snapshot, Stats};

/// `name`, `value` pairs, a line each.
pub(crate) fn settings(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once('\t'))
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

    #[test]
    fn settings_are_pairs_a_line_each() {
        let found: Vec<_> = settings("interval\t1m\njunk\nfile.path\t/a b\n").collect();
        assert_eq!(found, [("interval", "1m"), ("file.path", "/a b")]);
    }
}
