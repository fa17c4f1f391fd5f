//! The tracers that are compared, as their users start them, and one run of a program under one of them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::super::{recording, report};
use super::interpreters::Interpreter;
use crate::dist;
use crate::process::{root, stdout_of};

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

/// What a program prints.
#[derive(Deserialize)]
struct Measured {
    seconds: f64,
}

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

    /// CPU seconds of so many rounds of a program.
    pub(super) fn seconds(self, python: &Interpreter, program: &str, rounds: u64) -> anyhow::Result<f64> {
        let file = root().join(format!("xtask/src/bench/python/{program}.py"));
        let recording = recording("python")?;
        let mut command = self.command(&python.path, &recording);
        command.arg(file).arg(rounds.to_string()).env("PYTHONHASHSEED", "0");
        let text = stdout_of(&mut command).with_context(|| format!("{program}, {}", self.name()))?;
        let line = text.lines().last().unwrap_or_default();
        let measured: Measured =
            serde_json::from_str(line).with_context(|| format!("{program}.py said: {text}"))?;
        match self {
            Self::Sampling(_) => check_that_it_was_watched(&recording, "sampled")?,
            Self::Exact(_) => check_that_it_was_watched(&recording, "exact")?,
            Self::Off | Self::Tracemalloc(_) | Self::Memray { .. } => {}
        }
        Ok(measured.seconds)
    }

    /// Up to the program's file.
    fn command(self, python: &Path, recording: &Path) -> Command {
        let leakline = |mode: &str| {
            let mut command = Command::new(dist::folder().join("bin/leakline"));
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
