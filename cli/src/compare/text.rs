//! A comparison as lines for a person: the answer first, then the sites that explain it.
//! Pure: gives a string with colours in it, which the writer takes off where nobody sees them.

use std::fmt::Write as _;

use leakline_core::{Rate, text};

use super::model::{Change, Comparison, Word};
use crate::duration::words as time_words;
use crate::report::Report;
use crate::style::{BAD, CAUTION, FAINT, GOOD, STRONG, paint};
use crate::words::{clean, plural, short_id};

/// Frames shown of each call path.
const MAX_FRAMES: usize = 6;

/// Everything, with at most `top` sites.
pub(super) fn show(before: &Report, after: &Report, compared: &Comparison, top: usize) -> String {
    let mut out = session("before", before) + &session("after ", after) + "\n";
    for layer in &compared.layers {
        let _ =
            writeln!(out, "{} {:<8} {}", tag(layer.change.word), layer.layer.name(), rates(&layer.change));
    }
    if compared.layers.is_empty() {
        out += "Neither recording has a verdict on any layer.\n";
    }
    let sure: Vec<_> = compared
        .sites
        .iter()
        .filter(|site| !matches!(site.change.word, Word::Same | Word::CannotTell))
        .collect();
    if sure.is_empty() {
        out += "\nNo call path surely grows faster or slower than before.\n";
        return out;
    }
    let _ = writeln!(
        out,
        "\n{} {}",
        paint(STRONG, plural(sure.len() as u64, "call path has changed", "call paths have changed")),
        paint(FAINT, "(matched by function and file; start-up left out)")
    );
    for site in sure.iter().take(top) {
        let _ = writeln!(out, "{} {:<8} {}", tag(site.change.word), site.layer.name(), rates(&site.change));
        let path = clean(&text::site(&site.site, &after.roots, MAX_FRAMES));
        let _ = writeln!(out, "           {}", path.replace(" < ", "\n           < "));
    }
    out
}

fn session(side: &str, report: &Report) -> String {
    let mut line = paint(STRONG, side);
    let _ = writeln!(
        line,
        "  {}  {}  {} over {}",
        short_id(report.session.id),
        clean(&report.session.host.name),
        plural(report.rows.len() as u64, "snapshot", "snapshots"),
        time_words(report.span())
    );
    line
}

/// The word in front of a line.
fn tag(word: Word) -> String {
    let (style, text) = match word {
        Word::Fixed => (GOOD, "FIXED "),
        Word::Better => (GOOD, "better"),
        Word::NewLeak => (BAD, "NEW   "),
        Word::Worse => (BAD, "WORSE "),
        Word::Same => (FAINT, "same  "),
        Word::CannotTell => (CAUTION, "?     "),
    };
    paint(style, text)
}

fn rates(change: &Change) -> String {
    let rate = |rate: Option<Rate>| {
        rate.map_or("not enough data".to_owned(), |rate| per_minute(rate.bytes_per_second))
    };
    let mut line = format!("{} → {}", rate(change.before), rate(change.after));
    if let Some(difference) = change.difference {
        let _ = write!(
            line,
            ", {} (95 %: {} to {})",
            per_minute(difference.bytes_per_second),
            per_minute(difference.low),
            per_minute(difference.high)
        );
    }
    line
}

fn per_minute(bytes_per_second: f64) -> String {
    format!("{}/min", text::signed_bytes(bytes_per_second * 60.0))
}
