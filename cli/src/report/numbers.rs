//! The numbers over time as tables: the ledger, and the gauge that stands for each layer.
//! Decides nothing; what a number means is the verdict's to say.

use leakline_core::{PartVerdict, interval_per_minute, names, text};

use super::model::Report;
use super::table::{Table, Weight};
use super::text::moment;
use crate::style::{STRONG, paint};

/// Instants that a table of a person's width has room for.
const COLUMNS: usize = 5;

/// The gauges that stand for the layers, the first that is there of each line.
const LAYERS: &[&[&str]] = &[
    &[names::PYTHON_TRACED, names::PYTHON_BLOCKS],
    &[names::JVM_HEAP_AFTER_GC, names::JVM_HEAP_USED],
    &[names::BRIDGE_JAVA_HOLDS_PYTHON],
    &[names::BRIDGE_PYTHON_HOLDS_JAVA],
    &[names::JVM_GLOBAL_REFS],
    &[names::MALLOC_LIVE],
    &[names::RESIDENT],
];

/// The resident size and what it is made of, at a few instants from the first to the last.
pub(crate) fn ledger(report: &Report) -> String {
    let parts = report.ledger_parts();
    if parts.is_empty() {
        return String::new();
    }
    let resident: Vec<Option<f64>> =
        report.rows.iter().map(|row| row.ledger.as_ref().map(|ledger| ledger.resident)).collect();
    let columns = columns(report.rows.len());
    let mut table = Table::default();
    let head =
        columns.iter().filter_map(|column| Some(moment(report, report.rows.get(*column)?.at.unix_nanos)));
    let grows = |verdict: &PartVerdict| verdict.growth().is_some();
    let sure = if report.parts.iter().any(grows) || grows(&report.resident) { "95 %" } else { "" }.to_owned();
    table.line(
        Weight::Strong,
        [String::new()].into_iter().chain(head).chain(["per minute".to_owned(), sure]).collect(),
    );
    let mut line = |name: &str, weight: Weight, values: &[Option<f64>], verdict: Option<&PartVerdict>| {
        let cells = columns.iter().map(|column| cell(values.get(*column).copied().flatten()));
        let cells = [name.to_owned()].into_iter().chain(cells);
        let growth = match verdict.and_then(PartVerdict::growth) {
            Some(rate) => vec![text::signed_bytes(rate.bytes_per_second * 60.0), interval_per_minute(&rate)],
            None => vec![per_minute(report, values)],
        };
        table.line(weight, cells.chain(growth).collect());
    };
    line("resident", Weight::Strong, &resident, Some(&report.resident));
    for (index, (name, values)) in parts.iter().enumerate() {
        let is_nothing = columns
            .iter()
            .all(|column| values.get(*column).copied().flatten().is_none_or(|bytes| bytes < 0.5));
        // The last is what nobody accounts for: that there is nothing of it is worth a line.
        if !is_nothing || index + 1 == parts.len() {
            let verdict = report.parts.iter().find(|part| part.part == *name);
            let weight = if is_nothing { Weight::Faint } else { Weight::Plain };
            line(&format!("  {name}"), weight, values, verdict);
        }
    }
    table.text()
}

/// The gauge that stands for each layer: first, lowest, highest, last.
pub(crate) fn layers(report: &Report) -> String {
    let series = layer_series(report);
    let any = series.iter().any(|(_, values)| values.iter().any(Option::is_some));
    if any { table_of(report, series) } else { format!("{}\n", paint(STRONG, "No layer was read.")) }
}

/// First, lowest, highest, last of each series, and how it changed. Bytes, but for gauges whose name says otherwise.
pub(super) fn table_of(report: &Report, series: Vec<(String, Vec<Option<f64>>)>) -> String {
    let mut table = Table::default();
    let head = ["", "first", "lowest", "highest", "last", "change", "per minute"];
    table.line(Weight::Strong, head.map(String::from).to_vec());
    for (name, values) in series {
        let known: Vec<f64> = values.iter().filter_map(|value| *value).collect();
        let (Some(first), Some(last)) = (known.first(), known.last()) else { continue };
        let lowest = known.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = known.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // A name in words is one of bytes.
        let bytes = name.ends_with("_bytes") || !name.contains('.');
        let show = |value: f64| if bytes { text::bytes(value) } else { format!("{value:.0}") };
        let change = if bytes { text::signed_bytes(last - first) } else { format!("{:+.0}", last - first) };
        let rate = match bytes {
            true => per_minute(report, &values),
            false => report.slope(&values).map(|slope| format!("{:+.1}", slope * 60.0)).unwrap_or_default(),
        };
        let cells = [name, show(*first), show(lowest), show(highest), show(*last), change, rate];
        table.line(Weight::Plain, cells.to_vec());
    }
    table.text()
}

/// The gauge of each layer with its values by row.
fn layer_series(report: &Report) -> Vec<(String, Vec<Option<f64>>)> {
    let has = |name: &&&str| report.rows.iter().any(|row| row.gauge(name).is_some());
    LAYERS
        .iter()
        .filter_map(|names| names.iter().find(has))
        .map(|name| ((*name).to_owned(), report.rows.iter().map(|row| row.gauge(name)).collect()))
        .collect()
}

fn cell(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), text::bytes)
}

/// The median slope, as bytes per minute.
fn per_minute(report: &Report, values: &[Option<f64>]) -> String {
    match report.slope(values).map(|slope| slope * 60.0) {
        None => "-".to_owned(),
        Some(rate) if rate.abs() < 0.5 => "none".to_owned(),
        Some(rate) => text::signed_bytes(rate),
    }
}

/// The first, the last and what lies evenly between.
fn columns(rows: usize) -> Vec<usize> {
    let count = rows.min(COLUMNS);
    (0..count).map(|column| if count < 2 { 0 } else { column * (rows - 1) / (count - 1) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shows_the_first_the_last_and_some_between() {
        let cases: [(usize, &[usize]); 5] =
            [(0, &[]), (1, &[0]), (2, &[0, 1]), (5, &[0, 1, 2, 3, 4]), (17, &[0, 4, 8, 12, 16])];
        for (rows, expected) in cases {
            assert_eq!(columns(rows), expected);
        }
    }
}
