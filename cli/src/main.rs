//! The program `leakline`: runs programs under watch, receives what they send, prints what was found.
//! Decides nothing by itself: verdict and ledger are core's, storing is the collector's.

mod ask;
mod collect;
mod compare;
mod duration;
mod folder;
mod gate;
mod heapdump;
mod holders;
mod pull;
mod report;
mod run;
mod style;
mod symbols;
mod when;
mod words;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

const ABOUT: &str = "\
Finds which layer of a mixed Python / JVM / native process leaks memory, how fast, and on which line.";

const EXAMPLES: &str = "\
Start here:
  leakline run -o app.leak -- python3 app.py   watch a program, no code changed
  leakline report app.leak                     what leaks, how fast, where
  leakline compare before.leak after.leak      whether a change made it better

With several programs or machines:
  leakline collect --listen 0.0.0.0:7474                    on the workstation
  leakline run --collector WORKSTATION:7474 -- ./service    on each machine
  leakline report service                                   on the workstation

`leakline COMMAND --help` explains each command, with examples.";

/// Exit status of a command line that cannot be meant; clap's own.
pub(crate) const USAGE: u8 = 2;

#[derive(Debug, Parser)]
#[command(name = "leakline", version, about = ABOUT, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a program and watch its memory (Linux)
    Run(run::Options),
    /// Receive readings from programs, keep each session, and print what happens
    Collect(collect::Options),
    /// Have a connected program take a snapshot, look closer for a while, or count its objects
    Ask(ask::Options),
    /// Print what was recorded: what leaks, how fast, and where
    Report(report::Options),
    /// Compare two recordings, before a change and after it: did the fix work?
    Compare(compare::Options),
    /// Have the JVM in a process write its heap dump (HPROF) to a file (Linux)
    Heapdump(heapdump::Options),
    /// Read a JVM's heap dump: who holds the objects of the growing classes
    Holders(holders::Options),
    /// Fetch an Android app's recordings from a device, through adb
    Pull(pull::Options),
    /// Print a completion script for a shell
    ///
    /// For bash:  leakline completions bash > ~/.local/share/bash-completion/completions/leakline
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    match act(Cli::parse().command) {
        Ok(status) => status,
        // `leakline report | head` closed the pipe: it has what it wanted.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            style::error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn act(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(options) => run::run(&options),
        Command::Collect(options) => collect::run(&options),
        Command::Ask(options) => ask::run(&options),
        Command::Report(options) => report::run(&options),
        Command::Compare(options) => compare::run(&options),
        Command::Heapdump(options) => heapdump::run(&options),
        Command::Holders(options) => holders::run(&options),
        Command::Pull(options) => pull::run(&options),
        Command::Completions { shell } => completions(shell),
    }
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    // Into memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "leakline", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
