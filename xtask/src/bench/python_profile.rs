//! Taking and diffing one Python profile, against the standard library's `take_snapshot`, `filter_traces` and
//! `compare_to('traceback')`: the same traces, made the same way, each in a process of its own so that the peaks are
//! apart. The limit is on CPU; time under the GIL and extra peak memory stand beside it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::median;
use crate::dist;
use crate::process::{cargo, root, run as run_to_the_end, stdout_of};

/// The standard library must take this many times the CPU.
const LEAST_RATIO: f64 = 60.0;
const PART: &str = "libleakline_cpython.so";

/// What one side did, once per round.
#[derive(Deserialize)]
struct Side {
    python: String,
    peaks_count: bool,
    runs: Vec<Round>,
}

#[derive(Deserialize)]
struct Round {
    cpu: f64,
    wall: f64,
    gil: f64,
    stall: f64,
    peak_bytes: f64,
    sites: u64,
    traces: u64,
}

impl Side {
    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        median(self.runs.iter().map(of).collect())
    }
}

/// Runs it with 100,000 and 1,000,000 live traces; the smoke run with 5,000, and a limit that so few allow.
pub(super) fn run(smoke: bool) -> anyhow::Result<()> {
    let driver = driver()?;
    let python = python()?;
    // Rounds are fewer where the standard library takes a minute for one.
    let sizes: &[(u64, u32, u32)] =
        if smoke { &[(5_000, 3, 3)] } else { &[(100_000, 5, 3), (1_000_000, 5, 1)] };
    for (traces, our_rounds, their_rounds) in sizes {
        let ours = side(&python, *traces, *our_rounds, "leakline", &driver)?;
        let theirs = side(&python, *traces, *their_rounds, "stdlib", &driver)?;
        let ratio = show(*traces, &ours, &theirs);
        let least = if smoke { 1.0 } else { LEAST_RATIO };
        ensure!(
            ratio >= least,
            "the standard library takes {ratio:.0} times our CPU, and it should be {least} or more"
        );
    }
    Ok(())
}

/// One row per figure, both sides and their ratio; gives the ratio of CPU.
fn show(traces: u64, ours: &Side, theirs: &Side) -> f64 {
    let (found, sites) = ours.runs.last().map_or((0, 0), |round| (round.traces, round.sites));
    println!(
        "{traces} live traces at 10 frames ({found} of them in {sites} call paths), CPython {}, medians of {} and {}",
        ours.python,
        ours.runs.len(),
        theirs.runs.len()
    );
    println!("  {:<34}{:>12}{:>14}{:>9}", "", "leakline", "tracemalloc", "ratio");
    let row = |what: &str, scale: f64, of: &dyn Fn(&Round) -> f64| {
        let (our, their) = (ours.median(of), theirs.median(of));
        println!("  {what:<34}{:>12.1}{:>14.1}{:>8.1}x", our * scale, their * scale, their / our);
        their / our
    };
    let ratio = row("CPU, ms", 1e3, &|round| round.cpu);
    row("from call to result, ms", 1e3, &|round| round.wall);
    row("time under the GIL, ms", 1e3, &|round| round.gil);
    row("longest stall of all threads, ms", 1e3, &|round| round.stall);
    if ours.peaks_count && theirs.peaks_count {
        row("extra peak memory, MiB", 1.0 / 1_048_576.0, &|round| round.peak_bytes);
    } else {
        println!("  extra peak memory: this system does not let a process begin its peak anew");
    }
    ratio
}

fn side(python: &Path, traces: u64, rounds: u32, which: &str, built: &Built) -> anyhow::Result<Side> {
    let mut command = Command::new(python);
    command.arg(root().join("xtask/src/bench/python_profile.py"));
    command.args([traces.to_string(), rounds.to_string(), which.to_owned()]).arg(&built.driver);
    command.env("LEAKLINE_PYTHON_LIBRARY", &built.part);
    let text = stdout_of(&mut command)?;
    serde_json::from_str(&text).with_context(|| format!("the benchmark's program said: {text}"))
}

pub(super) struct Built {
    pub(super) part: PathBuf,
    pub(super) driver: PathBuf,
}

/// The Python part as users get it, and the agent's side of the probe in the same profile.
pub(super) fn driver() -> anyhow::Result<Built> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--locked", "--profile", "dist"]);
    build.args(["--package", "leakline-python", "--example", "driver"]);
    run_to_the_end(build.env("CARGO_ENCODED_RUSTFLAGS", dist::flags(&dist::rustc())?.join("\u{1f}")))?;
    let part = match std::env::var_os("LEAKLINE_LIB_DIR") {
        Some(folder) => PathBuf::from(folder).join(PART),
        None => dist::installed().join("lib/leakline").join(PART),
    };
    let built = Built { part, driver: dist::target().join("dist/examples/libdriver.so") };
    ensure!(
        built.part.is_file(),
        "there is no Python part: build it, or set LEAKLINE_LIB_DIR: {}",
        built.part.display()
    );
    Ok(built)
}

/// The first interpreter in `PATH` that leakline can read; `LEAKLINE_BENCH_PYTHON` names another.
fn python() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os("LEAKLINE_BENCH_PYTHON") {
        return Ok(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let check = "import sys; raise SystemExit(sys.version_info < (3, 9))";
    std::env::split_paths(&path)
        .map(|folder| folder.join("python3"))
        .find(|python| Command::new(python).args(["-c", check]).status().is_ok_and(|status| status.success()))
        .context("no python3 from 3.9 on in PATH: install one, or name it in LEAKLINE_BENCH_PYTHON")
}
