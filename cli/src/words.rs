//! Words that the report and the collector's lines share.
//! Knows neither files nor the terminal.

use leakline_core::{Kind, SessionId, Verdict, verdict_line};

use crate::style::{BAD, CAUTION, GOOD, paint};

/// Digits of a session's id that tell it from others on one workstation, and that `leakline report` takes.
const SHORT_ID: usize = 8;

/// The part of a session's id that is shown.
pub(crate) fn short_id(id: SessionId) -> String {
    id.to_string().chars().take(SHORT_ID).collect()
}

/// Control characters of a recording could drive the terminal that shows it.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Core's line for a verdict, its first word in a colour.
pub(crate) fn painted(verdict: &Verdict, roots: &[String]) -> String {
    let line = clean(&verdict_line(verdict, roots));
    let style = match verdict.kind {
        kind if kind.leaks() => BAD,
        Kind::NotEnoughData | Kind::Fragmentation => CAUTION,
        _ => GOOD,
    };
    match line.split_once(' ') {
        Some((tag, rest)) => format!("{} {rest}", paint(style, tag)),
        None => line,
    }
}

/// `1 site`, `2 sites`.
pub(crate) fn plural(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}
