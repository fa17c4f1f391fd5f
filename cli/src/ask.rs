//! `leakline ask`: has a collector on this machine tell a connected program something.
//! Never waits for the program: what comes of it is in its next readings.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};
use leakline_core::{Command, ProbeRequest, Window, WindowSource};

use crate::words::clean;

const EXAMPLES: &str = "\
Examples:
  leakline ask snapshot
      A reading now, of the only program that is connected to the collector on this machine.

  leakline ask --session 3f2a window --duration 60s
      Record every allocation of one program for a minute; see its session's id with `leakline report`.

  leakline ask --session service census
      Count the objects of the program of that name by type.

The collector must run on this machine: it obeys nobody else.";

/// Options of `leakline ask`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// The collector on this machine
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7474")]
    collector: String,

    /// The session's id or its first digits, or the program's name; without it, the only one that is connected
    #[arg(long, value_name = "SESSION")]
    session: Option<String>,

    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Take a snapshot now
    Snapshot,
    /// Take a snapshot that growth is counted from
    Reset,
    /// Record every allocation for a while; slows the program down meanwhile
    Window {
        /// For how long
        #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
        duration: Duration,
        /// Who records
        #[arg(long, value_enum, default_value_t = Source::Exact)]
        source: Source,
        /// Frames of each call path [default: as the program was told]
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=128))]
        frames: Option<u16>,
        /// Close it when so many allocations are live [default: as the program was told]
        #[arg(long, value_name = "COUNT")]
        traces: Option<u64>,
    },
    /// End the window that is open
    Close,
    /// Count objects by type
    Census,
    /// Look for cycles across Python's and Java's heaps, which neither collector can free
    Cycles,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Source {
    /// leakline's own hook
    Exact,
    /// The standard library's tracer
    Tracemalloc,
}

impl What {
    fn command(&self) -> Result<Command> {
        Ok(match *self {
            Self::Snapshot => Command::SnapshotNow,
            Self::Reset => Command::ResetBaseline,
            Self::Window { duration, source, frames, traces } => {
                if duration.is_zero() || duration > Window::MAX_DURATION {
                    bail!("a window is open for longer than nothing and for a day at most: --duration 60s");
                }
                let source = match source {
                    Source::Exact => WindowSource::Exact,
                    Source::Tracemalloc => WindowSource::Tracemalloc,
                };
                let window = Window { source, frames, duration, max_traces: traces };
                Command::Ask(ProbeRequest::OpenWindow(window))
            }
            Self::Close => Command::Ask(ProbeRequest::CloseWindow),
            Self::Census => Command::Ask(ProbeRequest::Census),
            Self::Cycles => Command::Ask(ProbeRequest::Cycles),
        })
    }
}

/// Asks, and says who was asked.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let command = options.what.command()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let session = options.session.as_deref().unwrap_or_default();
    let host = runtime.block_on(leakline_collector::ask(&options.collector, session, &command))?;
    anstream::println!("{} is asked: {}", clean(&host), command.name());
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn check(line: &str, expected: &str) {
        let words = std::iter::once("ask").chain(line.split_whitespace());
        let command = match Line::try_parse_from(words) {
            Ok(line) => line.options.what.command().map_err(|error| error.to_string()),
            Err(error) => Err(error.kind().to_string()),
        };
        let shown = command.map_or_else(|error| error, |command| format!("{command:?}"));
        assert!(shown.contains(expected), "{line}: {shown}");
    }

    #[test]
    fn each_word_is_a_command() {
        check("snapshot", "SnapshotNow");
        check("reset", "ResetBaseline");
        check("--session 3f window --duration 2m --frames 7", "frames: Some(7), duration: 120s");
        check("window --source tracemalloc --traces 1000", "Tracemalloc");
        check("close", "CloseWindow");
        check("census", "Census");
        check("cycles", "Cycles");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        check("window --duration 60", "invalid value");
        check("window --duration 0s", "longer than nothing");
        check("window --frames 0", "invalid value");
        check("dance", "unrecognized subcommand");
    }
}
