//! The part of a report about what lies between two runtimes: what each holds of the other's, and how that grows.
//! Pure: gives a string with colours in it. Decides nothing; what grows is said by the verdicts.

use std::fmt::Write as _;

use leakline_core::{Cycle, names};
use serde_json::{Value, json};

use super::model::Report;
use crate::style::{CAUTION, STRONG, paint};
use crate::words::{clean, plural};

/// Gauges of the bridge, and what they count.
const PARTS: &[(&str, &str)] = &[
    (names::BRIDGE_JAVA_HOLDS_PYTHON, "Java holds Python objects"),
    (names::BRIDGE_PYTHON_HOLDS_JAVA, "Python holds Java objects"),
    (names::JVM_GLOBAL_REFS, "native code, Python's bridge among it, holds Java objects"),
    (names::JVM_WEAK_GLOBAL_REFS, "and has weak references to Java objects"),
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

/// What neither collector can free, when it was looked for last; nothing where none was found.
pub(super) fn cycles(report: &Report, top: usize) -> String {
    if report.cycles.is_empty() { String::new() } else { of_cycles(&report.cycles, top) }
}

fn of_cycles(cycles: &[Cycle], top: usize) -> String {
    let count = cycles.iter().map(|cycle| cycle.count).sum();
    let objects = plural(count, "Python object", "Python objects");
    let heading = paint(CAUTION, "Cycles across both heaps");
    let mut out = format!("{heading} hold {objects}, which neither collector can free:\n");
    for cycle in cycles.iter().take(top) {
        let _ = writeln!(out, "{:>6}  Java holds   {}", cycle.count, clean(&cycle.python));
        let _ = writeln!(out, "        Python holds {}", clean(&cycle.java));
    }
    if cycles.len() > top {
        let _ = writeln!(out, "  and {} more kinds (--top {})", cycles.len() - top, cycles.len());
    }
    out
}

/// The same as values.
pub(super) fn cycle_objects(report: &Report) -> Vec<Value> {
    let of = |cycle: &Cycle| json!({ "python": cycle.python, "java": cycle.java, "count": cycle.count });
    report.cycles.iter().map(of).collect()
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
    fn both_halves_of_a_cycle_are_told() {
        let cycle = |python: &str, count| Cycle {
            python: python.into(),
            java: "java.util.ArrayList.elementData > java.lang.Object[] > $Proxy4".into(),
            count,
        };
        let cycles =
            [cycle("app.Listener.target > java.util.ArrayList", 412), cycle("app.Other > java.util.List", 1)];
        let shown = anstream::adapter::strip_str(&of_cycles(&cycles, 1)).to_string();
        assert_eq!(
            shown,
            "Cycles across both heaps hold 413 Python objects, which neither collector can free:\n   \
             412  Java holds   app.Listener.target > java.util.ArrayList\n        \
             Python holds java.util.ArrayList.elementData > java.lang.Object[] > $Proxy4\n  \
             and 1 more kinds (--top 2)\n"
        );
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
