//! The tracers that are compared, as their users start them, and a program that runs under one of them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, ensure};

use super::super::{recording, report};
use super::interpreters::Interpreter;
use crate::dist;
use crate::process::root;

/// What watches a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    Off,
    /// Mean between two samples.
    Sampling(&'static str),
    /// Frames.
    Exact(u16),
    /// Frames.
    Tracemalloc(u16),
    Memray {
        python_allocators: bool,
    },
}

/// All of them, in the order in which they are told. `Off` measures how good the measurement is.
pub(super) const ALL: &[Variant] = &[
    Variant::Off,
    Variant::Sampling("512KiB"),
    Variant::Sampling("64KiB"),
    Variant::Exact(10),
    Variant::Tracemalloc(1),
    Variant::Tracemalloc(10),
    Variant::Memray { python_allocators: false },
    Variant::Memray { python_allocators: true },
];

impl Variant {
    pub(super) fn name(self) -> String {
        match self {
            Self::Off => "off, once more".to_owned(),
            Self::Sampling(mean) => format!("leakline, sampling, {mean}"),
            Self::Exact(frames) => format!("leakline, exact, {frames} frames"),
            Self::Tracemalloc(frames) => {
                format!("tracemalloc, {frames} frame{}", if frames == 1 { "" } else { "s" })
            }
            Self::Memray { python_allocators: false } => "memray".to_owned(),
            Self::Memray { python_allocators: true } => "memray, Python allocators".to_owned(),
        }
    }

    /// Whether it takes a multiple of the time, so that fewer and smaller runs have to do.
    pub(super) fn is_slow(self) -> bool {
        matches!(self, Self::Tracemalloc(_) | Self::Memray { .. })
    }

    /// Most that it may cost, by program.
    pub(super) fn limit(self, program: &str) -> Option<f64> {
        match (self, program) {
            (Self::Sampling("512KiB"), "real") => Some(1.02),
            (Self::Sampling("512KiB"), "mixed") => Some(1.03),
            (Self::Sampling("512KiB"), "alloc") => Some(1.05),
            (Self::Sampling("64KiB"), "real") => Some(1.03),
            (Self::Sampling("64KiB"), "mixed") => Some(1.04),
            (Self::Sampling("64KiB"), "alloc") => Some(1.07),
            _ => None,
        }
    }

    /// Starts a program that does so many rounds each time that it is asked, and waits until it is warm.
    pub(super) fn start(self, python: &Interpreter, program: &str, rounds: u64) -> anyhow::Result<Running> {
        let what = format!("{program}, {}", self.name());
        let recording = recording(&format!("python-{}", if self == Self::Off { "off" } else { "traced" }))?;
        let mut command = self.command(&python.path, &recording);
        command.arg(root().join(format!("xtask/src/bench/python/{program}.py"))).arg(rounds.to_string());
        command.env("PYTHONHASHSEED", "0").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {what}"))?;
        let (asks, answers) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        let mut running = Running { variant: self, what, recording, child, asks, answers };
        let line = running.line()?;
        ensure!(line == "ready", "{} said: {line}", running.what);
        Ok(running)
    }

    /// Up to the program's file.
    fn command(self, python: &Path, recording: &Path) -> Command {
        let leakline = |mode: &str| {
            let mut command = Command::new(dist::installed().join("bin/leakline"));
            command.args(["run", "--quiet", "--interval", "5m", "--python", mode, "-o"]).arg(recording);
            command
        };
        match self {
            Self::Off => Command::new(python),
            Self::Sampling(mean) => {
                let mut command = leakline("sampling");
                command.args(["--python-sample", mean, "--"]).arg(python);
                command
            }
            Self::Exact(frames) => {
                let mut command = leakline("exact");
                command.env("LEAKLINE_PYTHON_FRAMES", frames.to_string()).arg("--").arg(python);
                command
            }
            Self::Tracemalloc(frames) => {
                let mut command = Command::new(python);
                command.env("BENCH_TRACEMALLOC", frames.to_string());
                command
            }
            Self::Memray { python_allocators } => {
                let mut command = Command::new(python);
                command.args(["-m", "memray", "run", "-q", "-f"]);
                command.args(python_allocators.then_some("--trace-python-allocators"));
                command.arg("-o").arg(recording.with_extension("memray"));
                command
            }
        }
    }
}

/// A program that waits to be asked for work. Does not outlive a failed measurement.
pub(super) struct Running {
    variant: Variant,
    what: String,
    recording: PathBuf,
    child: Child,
    asks: Option<ChildStdin>,
    answers: Option<BufReader<ChildStdout>>,
}

impl Running {
    /// CPU seconds of all threads for its rounds.
    pub(super) fn seconds(&mut self) -> anyhow::Result<f64> {
        let asks = self.asks.as_mut().context("it has no standard input")?;
        asks.write_all(b"go\n").with_context(|| format!("cannot ask {}", self.what))?;
        let line = self.line()?;
        line.parse().with_context(|| format!("{} said: {line}", self.what))
    }

    /// Ends it, and makes sure that it was watched.
    pub(super) fn end(mut self) -> anyhow::Result<()> {
        drop(self.asks.take());
        let status = self.child.wait().with_context(|| format!("cannot wait for {}", self.what))?;
        ensure!(status.success(), "{} failed: {status}", self.what);
        match self.variant {
            Variant::Sampling(_) => check_that_it_was_watched(&self.recording, "sampled"),
            Variant::Exact(_) => check_that_it_was_watched(&self.recording, "exact"),
            Variant::Off | Variant::Tracemalloc(_) | Variant::Memray { .. } => Ok(()),
        }
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let answers = self.answers.as_mut().context("it has no standard output")?;
        answers.read_line(&mut line).with_context(|| format!("cannot read what {} says", self.what))?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that was not watched, or only at its beginning, would cost nothing.
fn check_that_it_was_watched(recording: &Path, source: &str) -> anyhow::Result<()> {
    let report = report(recording)?;
    let rows = |name: &str| report[name].as_array().cloned().unwrap_or_default();
    let is_there = rows("growth").iter().any(|growth| growth["source"] == source);
    let notes: Vec<_> = rows("probes")
        .iter()
        .filter(|probe| probe["probe"] == "python")
        .map(|probe| probe["notes"].to_string())
        .collect();
    ensure!(
        is_there && notes.iter().all(|notes| !notes.contains("is closed")),
        "the program was not watched all the time: {}",
        notes.join(", ")
    );
    Ok(())
}
