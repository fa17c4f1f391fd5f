//! What the host's own probes say, whatever their language: a line for each fact, fields between tabs.
//! Pure; what is not understood is left out.

use leakline_core::{Gauge, GaugeKind, Unit};

/// Gauges in one reading, all of the host's probes together.
const MAX_GAUGES: usize = 256;
/// Notes in one reading.
const MAX_NOTES: usize = 16;
/// Characters of a gauge's name or of a note.
const MAX_CHARS: usize = 200;

/// Gauges (`gauge`, name, `bytes` or `count`, `level` or `total`, value) and notes (`note`, text) of `text`.
pub fn gauges(text: &str) -> (Vec<Gauge>, Vec<String>) {
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

/// The probe whose turn it was last (`probe`, name).
pub(super) fn last_probe(text: &str) -> Option<&str> {
    text.lines().rev().find_map(|line| line.strip_prefix("probe\t"))
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
    fn gauges_of_the_host_are_read_and_what_is_no_gauge_is_left_out() {
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
            "probe\tqueue",
            "junk",
        ] {
            check(bad, "");
        }
    }

    #[test]
    fn a_host_with_too_many_gauges_keeps_the_first_ones() {
        let line = "gauge\tjvm.x\tcount\tlevel\t1\n";
        assert_eq!(gauges(&line.repeat(1000)).0.len(), MAX_GAUGES);
        assert_eq!(gauges(&"note\tx\n".repeat(1000)).1.len(), MAX_NOTES);
    }

    #[test]
    fn the_last_probe_that_had_its_turn_is_known() {
        assert_eq!(last_probe("probe\ta\ngauge\tx\nprobe\tb\n"), Some("b"));
        assert_eq!(last_probe("gauge\tx\n"), None);
    }
}
