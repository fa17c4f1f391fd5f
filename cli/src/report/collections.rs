//! The part of a report about Java's collector: how often it ran, and what it left in each pool of the heap. What is there
//! after a collection is not garbage, or not of the kind that was collected.
//! Pure: gives a string with colours in it.

use std::collections::BTreeSet;
use std::time::Duration;

use leakline_core::names;

use super::model::Report;
use super::numbers;
use crate::duration::words as time_words;
use crate::style::{STRONG, paint};
use crate::words::{clean, plural};

/// Pools that are shown: a JVM has at most three.
const MAX_POOLS: usize = 8;

/// Nothing where no JVM was read, or none that tells.
pub(super) fn show(report: &Report) -> String {
    let last = |name: &str| report.rows.iter().rev().find_map(|row| row.gauge(name));
    let (Some(count), Some(nanos)) = (last(names::JVM_GC_COUNT), last(names::JVM_GC_TIME)) else {
        return String::new();
    };
    let ran = |count: f64, nanos: f64| format!("{count:.0} in {}", rounded(nanos));
    let mut words = if count < 1.0 {
        vec!["none so far".to_owned()]
    } else {
        vec![plural(count as u64, "collection", "collections") + &format!(" in {} so far", rounded(nanos))]
    };
    if let (Some(count), Some(nanos)) = (last(names::JVM_OLD_GC_COUNT), last(names::JVM_OLD_GC_TIME))
        && count >= 1.0
    {
        words.push(format!("{} of the old generation", ran(count, nanos)));
    }
    words.extend(
        last(names::JVM_GC_AGE).map(|age| format!("the last ended {} before the last reading", rounded(age))),
    );
    let mut out = format!("{} {}\n", paint(STRONG, "Java's collector:"), words.join(", "));
    let series = |name: &str| report.rows.iter().map(|row| row.gauge(name)).collect::<Vec<_>>();
    let mut lines: Vec<(String, Vec<Option<f64>>)> = pools(report)
        .into_iter()
        .map(|(pool, gauge)| (format!("{pool}, left by the last"), series(gauge)))
        .collect();
    lines.push(("old generation, left by the last of it".to_owned(), series(names::JVM_OLD_FLOOR)));
    lines.retain(|(_, values)| values.iter().flatten().next().is_some());
    if !lines.is_empty() {
        out += &numbers::table_of(report, lines);
    }
    out
}

/// The heap's pools that any row has, as (name, gauge).
fn pools(report: &Report) -> Vec<(String, &str)> {
    let gauges = report.rows.iter().flat_map(|row| row.gauges.iter().map(|(name, _)| &**name));
    let found: BTreeSet<&str> =
        gauges.filter(|name| name.starts_with(names::JVM_POOL_AFTER_GC_PREFIX)).collect();
    let name = |gauge: &str| {
        let pool = gauge.trim_start_matches(names::JVM_POOL_AFTER_GC_PREFIX).trim_end_matches("_bytes");
        clean(pool).replace('_', " ")
    };
    found.into_iter().take(MAX_POOLS).map(|gauge| (name(gauge), gauge)).collect()
}

fn rounded(nanos: f64) -> String {
    let millis = (nanos / 1e6).max(0.0) as u64;
    let step = if millis < 10_000 { 1 } else { 1000 };
    time_words(Duration::from_millis(millis / step * step))
}
