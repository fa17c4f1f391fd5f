//! `leakline compare`: holds two recordings against each other, before a change and after it.
//! Judges no series: whether something leaks, and how fast, is core's verdict on each recording by itself.

mod json;
mod model;
#[cfg(test)]
mod tests;
mod text;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use self::model::Comparison;
use crate::gate::{self, FailOn, MaxRate};
use crate::report::{self, Range, Report, Shown};
use crate::symbols;

/// Sites of each list that are looked up and matched: those that grew most.
const MAX_SITES: usize = 1000;

const EXAMPLES: &str = "\
Examples:
  leakline compare before.leak after.leak                 did the fix work?
  leakline compare before.leak after.leak --fail-on leak  for CI: fails, too, when it still leaks
  leakline compare before.leak after.leak --json | jq '.layers[] | {layer, word}'

Sites are matched by their functions and files, not by their lines, which move when a program is
changed. Their growth counts from a quarter of each session on, so that start-up does not count.

Exit status: 0 when no layer surely grows faster than before, 3 when one does, 4 when too little
was recorded to tell, 1 when a recording cannot be read. With --fail-on or --max-rate also 3 when a
layer leaks after the change (faster than that). Sites do not count: among many, one grows by chance.";

/// Options of `leakline compare`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The recording from before the change, or a session of the collector
    #[arg(value_name = "BEFORE")]
    before: PathBuf,

    /// The recording from after it
    #[arg(value_name = "AFTER")]
    after: PathBuf,

    #[command(flatten)]
    shown: Shown,

    /// Also end with exit status 3 when there is one after the change
    #[arg(long, value_name = "WHAT", value_enum)]
    fail_on: Option<FailOn>,

    /// The same, but only for a layer that leaks faster than this, such as 10KiB/min
    #[arg(long, value_name = "RATE", value_parser = gate::max_rate)]
    max_rate: Option<MaxRate>,
}

/// Prints the comparison.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let folder = options.shown.folder();
    let side = |what: &Path| {
        let path = report::find(&folder, what)?;
        read(&path, &options.shown.symbols).with_context(|| format!("cannot compare with {}", what.display()))
    };
    let (before, after) = (side(&options.before)?, side(&options.after)?);
    let compared = Comparison::of(&before, &after);
    let mut out = anstream::stdout().lock();
    if options.shown.json {
        serde_json::to_writer_pretty(&mut out, &json::show(&before, &after, &compared, options.shown.top()))
            .map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        out.write_all(text::show(&before, &after, &compared, options.shown.top()).as_bytes())?;
    }
    out.flush()?;
    let still_leaks = (options.fail_on.is_some() || options.max_rate.is_some())
        && gate::status(&after.verdicts, options.max_rate) == gate::LEAKS;
    Ok(ExitCode::from(if still_leaks { gate::LEAKS } else { compared.status() }))
}

/// The verdicts on the whole recording, and growth without start-up and without the snapshot of a program at its end,
/// which has perhaps given everything back.
fn read(path: &Path, folders: &[PathBuf]) -> Result<Report> {
    let whole = report::read(path, Range::default())?;
    let mut part = match range(&whole) {
        Some(range) => report::read(path, range)?,
        None => report::read(path, Range::default())?,
    };
    part.verdicts = whole.verdicts;
    part.rows = whole.rows;
    symbols::resolve(&mut part, MAX_SITES, folders);
    Ok(part)
}

fn range(whole: &Report) -> Option<Range> {
    let is_running = |row: &&report::Row| row.cause != leakline_core::Cause::Final;
    let numbers: Vec<u64> = whole.rows.iter().filter(is_running).map(|row| row.number).collect();
    let (from, to) = (*numbers.get(numbers.len() / 4)?, *numbers.last()?);
    (from < to).then_some(Range { from: Some(from), to: Some(to) })
}
