//! Colours, and the two kinds of line that leakline says of itself on standard error.
//! Plain text where standard error or output is no terminal, or NO_COLOR is set: anstream sees to that.

use std::io::Write;

use anstyle::{AnsiColor, Style};

/// What is wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What deserves a look.
pub(crate) const CAUTION: Style = AnsiColor::Yellow.on_default().bold();
/// What is as it should be.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Headings.
pub(crate) const STRONG: Style = Style::new().bold();
/// What one may skip.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// `text` between the style's escapes.
pub(crate) fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// A line that begins `leakline: warning:`.
pub(crate) fn warn(message: &str) {
    say(&format!("leakline: {}: {message}", paint(CAUTION, "warning")));
}

/// A line that begins `leakline: error:`.
pub(crate) fn error(message: &str) {
    say(&format!("leakline: {}: {message}", paint(BAD, "error")));
}

/// Where nobody can read it, nothing is lost by not saying it.
fn say(line: &str) {
    drop(writeln!(anstream::stderr(), "{line}"));
}
