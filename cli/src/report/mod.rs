//! `leakline report`: reads a recording and prints what it says.
//! Judges nothing by itself: verdicts, ledger and growth are core's.

mod application;
mod bridge;
mod build;
mod collections;
mod json;
mod lives;
mod model;
mod numbers;
mod open;
mod path;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod types;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use self::application::Application;
pub(crate) use self::build::Range;
pub(crate) use self::json::site_object;
pub(crate) use self::model::{Report, Row};
pub(crate) use self::open::{find, report as read};
use crate::gate::{FailOn, MaxRate};
use crate::{folder, gate, symbols};

const EXAMPLES: &str = "\
Examples:
  leakline report app.leak                  the whole session
  leakline report app.leak --top 30 --frames 99   more growing sites, and their whole call paths
  leakline report app.leak --from 5 --to 9  what grew between two snapshots, judged anew
  leakline report service                   a session of the collector, by its program's name
  leakline report 4f1c                      or by the beginning of its id
  leakline report app.leak --symbols out/   with the symbols of a build that is not installed here
  leakline report                           lists the collector's sessions
  leakline report app.leak --max-rate 10KiB/min   for CI: fails when a layer leaks faster
  leakline report app.leak --json | jq '.verdicts[] | select(.leaks)'

A recording can be read while it is written, and after its program was killed: it is shown up to
its last whole entry.

Exit status: 0 when there is a report, whatever it says, 1 when there is none. With --fail-on or
--max-rate: 3 when a layer leaks (faster than that), 4 when too little was recorded to tell.";

/// Where recordings are found, and how they are printed: options of all commands that read some.
#[derive(Debug, clap::Args)]
pub(crate) struct Shown {
    /// The collector's folder [default: leakline/sessions in the user's data folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: Option<PathBuf>,

    /// Print one JSON object, as docs/ describes it
    #[arg(long)]
    pub(crate) json: bool,

    /// Sites shown of each list [default: 10, and 3 of a layer that does not leak]
    #[arg(long, value_name = "COUNT")]
    top: Option<usize>,

    /// Look for symbols of native code in this folder first, by build id; may be given several times
    #[arg(long, value_name = "DIR")]
    pub(crate) symbols: Vec<PathBuf>,
}

impl Shown {
    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(folder::default)
    }

    /// Sites of a list, whatever it tells.
    pub(crate) fn top(&self) -> usize {
        self.top.unwrap_or(10)
    }
}

/// How much of each list a person is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Sites, where somebody asked for a number.
    top: Option<usize>,
    /// Frames of each call path, at least one.
    frames: usize,
}

impl Bounds {
    /// Sites of a list, whatever it tells.
    pub(crate) fn most(self) -> usize {
        self.top.unwrap_or(10)
    }

    /// Sites of what a layer grew by. Where it does not leak, that is mostly how the program started.
    pub(crate) fn sites(self, leaks: bool) -> usize {
        if leaks { self.most() } else { self.top.unwrap_or(3) }
    }
}

/// Options of `leakline report`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// A recording, or a session of the collector: the beginning of its id, or its program's name
    #[arg(value_name = "FILE-or-SESSION")]
    what: Option<PathBuf>,

    #[command(flatten)]
    shown: Shown,

    /// Begin with this snapshot, and count growth from it
    #[arg(long, value_name = "NUMBER")]
    from: Option<u64>,

    /// End with this snapshot
    #[arg(long, value_name = "NUMBER")]
    to: Option<u64>,

    /// Frames shown of each call path; in the JSON object there are all
    #[arg(long, value_name = "COUNT", default_value_t = 12)]
    frames: usize,

    /// End with exit status 3 when there is one, and 4 when nobody can tell
    #[arg(long, value_name = "WHAT", value_enum)]
    fail_on: Option<FailOn>,

    /// The same, but only for a layer that leaks faster than this, such as 10KiB/min
    #[arg(long, value_name = "RATE", value_parser = gate::max_rate)]
    max_rate: Option<MaxRate>,
}

/// Prints the report.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if let (Some(from), Some(to)) = (options.from, options.to)
        && from >= to
    {
        crate::style::error(&format!(
            "--from {from} is not before --to {to}; growth goes from an earlier snapshot to a later"
        ));
        return Ok(ExitCode::from(crate::USAGE));
    }
    let folder = options.shown.folder();
    let Some(what) = &options.what else {
        anstream::stdout().lock().write_all(open::list(&folder)?.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(none) = options.shown.symbols.iter().find(|folder| !folder.is_dir()) {
        crate::style::error(&format!("--symbols names no folder: {}", none.display()));
        return Ok(ExitCode::from(crate::USAGE));
    }
    let path = open::find(&folder, what)?;
    let range = Range { from: options.from, to: options.to };
    let report = open::report(&path, range)?;
    // A part of one process's time is asked for: of that one.
    let is_whole = options.from.is_none() && options.to.is_none();
    let found = if is_whole { Application::find(&path, report) } else { Err(Box::new(report)) };
    let mut out = anstream::stdout().lock();
    let (verdicts, of_lives) = match found {
        Ok(mut application) => {
            let (verdicts, rate) = (application.verdicts(), application.rate_of_lives());
            print_application(&mut application, options, &mut out)?;
            (verdicts, rate)
        }
        Err(mut report) => {
            print(&mut report, Vec::new(), options, &mut out)?;
            (report.verdicts, 0.0)
        }
    };
    out.flush()?;
    if options.fail_on.is_some() || options.max_rate.is_some() {
        let is_too_fast = of_lives > options.max_rate.map_or(0.0, |MaxRate(most)| most);
        let status = if is_too_fast { gate::LEAKS } else { gate::status(&verdicts, options.max_rate) };
        return Ok(ExitCode::from(status));
    }
    Ok(ExitCode::SUCCESS)
}

/// The processes, and then the report of the one that leaks most; as JSON, of the first one.
fn print_application(
    application: &mut Application,
    options: &Options,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let (objects, mut index) = (application.objects(), 0);
    if !options.shown.json {
        out.write_all(application.show().as_bytes())?;
        index = application.worst();
        let path = application.processes.get(index).map(|process| process.path.display().to_string());
        writeln!(
            out,
            "\nReport of {}; of another process: leakline report FILE.PID\n",
            path.unwrap_or_default()
        )?;
    }
    let Some(process) = application.processes.get_mut(index) else { return Ok(()) };
    print(&mut process.report, objects, options, out)
}

fn print(
    report: &mut Report,
    more: Vec<(&str, serde_json::Value)>,
    options: &Options,
    out: &mut impl Write,
) -> std::io::Result<()> {
    symbols::resolve(report, options.shown.top(), &options.shown.symbols);
    if options.shown.json {
        let mut object = json::show(report, options.shown.top());
        if let Some(object) = object.as_object_mut() {
            object.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        }
        serde_json::to_writer_pretty(&mut *out, &object).map_err(std::io::Error::from)?;
        writeln!(out)
    } else {
        let bounds = Bounds { top: options.shown.top, frames: options.frames.max(1) };
        out.write_all(text::show(report, bounds).as_bytes())
    }
}
