//! The part of a report about what lies between two runtimes: what each holds of the other's, and how that grows.
//! Pure: gives a string with colours in it. Decides nothing; what grows is said by the verdicts.

use leakline_core::names;

use super::model::Report;
use crate::style::{STRONG, paint};
use crate::words::clean;

/// Gauges of the bridge, and what they count.
const PARTS: &[(&str, &str)] = &[
    (names::BRIDGE_JAVA_HOLDS_PYTHON, "Java holds Python objects"),
    (names::JVM_GLOBAL_REFS, "native code, Python's bridge among it, holds Java objects"),
];

/// Nothing where no bridge was read.
pub(super) fn show(report: &Report) -> String {
    let values = |gauge: &str| report.rows.iter().map(|row| row.gauge(gauge)).collect::<Vec<_>>();
    if values(names::BRIDGE_JAVA_HOLDS_PYTHON).iter().all(Option::is_none) {
        return String::new();
    }
    let ticks = report.rows.last().map_or(0.0, |row| row.interval.as_secs_f64());
    let words = PARTS.iter().filter_map(|(gauge, words)| {
        let values = values(gauge);
        let held = values.iter().rev().flatten().next()?;
        Some(part(words, *held, report.slope(&values).map(|slope| slope * ticks)))
    });
    let words: Vec<String> = words.collect();
    format!("{} {}\n", paint(STRONG, "Between Python and Java:"), clean(&words.join("; ")))
}

/// `Java holds Python objects: 4120, +412 per tick`.
fn part(words: &str, held: f64, per_tick: Option<f64>) -> String {
    let growth = match per_tick {
        None => String::new(),
        Some(growth) if growth.abs() < 0.05 => ", as many at each tick".to_owned(),
        Some(growth) if growth.abs() < 10.0 => format!(", {growth:+.1} per tick"),
        Some(growth) => format!(", {growth:+.0} per tick"),
    };
    format!("{words}: {held:.0}{growth}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(held: f64, per_tick: Option<f64>, expected: &str) {
        assert_eq!(part("Java holds", held, per_tick), format!("Java holds: {expected}"));
    }

    #[test]
    fn what_is_held_is_told_with_its_growth_per_tick() {
        check(4120.0, Some(412.2), "4120, +412 per tick");
        check(7.0, Some(1.04), "7, +1.0 per tick");
        check(40.0, Some(-13.0), "40, -13 per tick");
        check(40.0, Some(0.01), "40, as many at each tick");
        check(40.0, None, "40");
    }
}
