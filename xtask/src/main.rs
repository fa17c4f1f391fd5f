//! Every task of the project behind one command: `cargo xtask TASK`. `./x` installs what they need and calls this.
//! Never part of what users get.

#![expect(clippy::print_stdout, reason = "a task talks to whoever started it")]

mod aar;
mod android;
mod bench;
mod check_libs;
mod corpus;
mod cpython_tests;
mod demo;
mod dist;
mod faults;
mod gradle;
mod hosts;
mod java_library;
mod layers;
mod layouts;
mod left_behind;
mod maven;
mod process;
pub mod proto;
mod r8;
mod run_tests;
mod runtimes;
mod style;
mod test;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the leakline project.
#[derive(Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Make the code for the messages in proto/proto
    Proto {
        /// Only compare with what is committed
        #[arg(long)]
        check: bool,
    },
    /// Check who uses whom among the crates
    Layers,
    /// Derive from a Python's headers where it keeps what leakline reads, and compare that with the table
    Layouts(layouts::Options),
    /// Check the sizes of files
    Style,
    /// Build what users get: target/leakline, with the program and its libraries
    Build {
        /// Also copy it to PREFIX/bin and PREFIX/lib/leakline
        #[arg(long, value_name = "PREFIX")]
        install: Option<PathBuf>,
    },
    /// Build the library for Android's four ABIs, check it, and tell its sizes
    Android {
        #[arg(value_name = "ABI", help = "Only these: arm64-v8a, x86_64, armeabi-v7a, x86")]
        only: Vec<String>,
    },
    /// Pack the Java side: the facade as a JAR, the runtime as an AAR, in a Maven repository in a folder; test and check both
    Aar,
    /// Build a small app with Gradle and its Android plugin, debug and release, and compare what is in the packages
    Gradle,
    /// Check what the built libraries need and export, and that no path of this machine is in them
    CheckLibs,
    /// Compile the host programs of the demo and of the end-to-end tests into .leakline/hosts
    Hosts,
    /// Prepare today's CPython and JDK from Debian's sid, beside their own libc, in .leakline/runtimes
    Runtimes {
        /// Not only the newest of each
        #[arg(long)]
        all: bool,
    },
    /// Watch a real program with one leak planted in each layer in turn, and say what was found
    Demo,
    /// Measure what leakline costs
    Bench {
        #[arg(value_name = "NAME", help = format!("Only this one: {}", bench::names().collect::<Vec<_>>().join(", ")))]
        name: Option<String>,
        /// A short run, for the tests
        #[arg(long)]
        smoke: bool,
        /// Of `python`: this program only (alloc, mixed, real), or `tables`
        #[arg(long, value_name = "PART")]
        only: Option<String>,
        /// Of `python`: with this version of Python only, such as 3.11
        #[arg(long, value_name = "VERSION")]
        python: Option<String>,
        /// Measure in turns with the installation at PREFIX, and show both
        #[arg(long, value_name = "PREFIX")]
        against: Option<PathBuf>,
        /// Only show: figures over their limits are no error
        #[arg(long)]
        no_judgement: bool,
    },
    /// Run the leaking and the innocent programs of tests/leaks, and hold what leakline says against the truth
    Corpus(corpus::Options),
    /// Let faults happen to real programs, bare and watched, and compare; 100,000 take an hour or so
    Faults(faults::Options),
    /// Run CPython's own tests with and without leakline, with every Python that has them; takes half an hour
    CpythonTests {
        /// Only some, with one Python
        #[arg(long)]
        few: bool,
    },
    /// Everything that must pass before a change goes in
    Test {
        #[arg(value_name = "STEP", help = format!("Only these steps: {}", test::names().collect::<Vec<_>>().join(", ")))]
        steps: Vec<String>,
        /// Also with today's runtimes from Debian's sid, all of them; the same as XTASK_RUNTIMES=all
        #[arg(long)]
        all_runtimes: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Proto { check: true } => proto::check(),
        Task::Proto { check: false } => proto::generate(),
        Task::Layers => layers::check(),
        Task::Layouts(options) => layouts::check(&options),
        Task::Style => style::check(),
        Task::Build { install } => dist::build(install.as_deref()),
        Task::Android { only } => android::build(&only),
        Task::Aar => aar::build(),
        Task::Gradle => gradle::build(),
        Task::CheckLibs => check_libs::check(),
        Task::Hosts => hosts::build().map(drop),
        Task::Runtimes { all } => runtimes::prepare(all),
        Task::Demo => demo::run_all(),
        Task::Bench { name, smoke, only, python, against, no_judgement } => {
            // Where another one is measured, whoever asks for it has built ours.
            if std::env::var_os(dist::INSTALLATION).is_none() {
                dist::build(None)?;
            }
            bench::run(name.as_deref(), &bench::Scope { smoke, only, python, against, no_judgement })
        }
        Task::Corpus(options) => {
            dist::build(None)?;
            corpus::run(&options)
        }
        Task::Faults(options) => {
            if std::env::var_os(dist::INSTALLATION).is_none() {
                dist::build(None)?;
            }
            faults::run(&options)
        }
        Task::CpythonTests { few } => {
            dist::build(None)?;
            cpython_tests::run(few)
        }
        Task::Test { steps, all_runtimes } => test::run_steps(&steps, all_runtimes),
    }
}
