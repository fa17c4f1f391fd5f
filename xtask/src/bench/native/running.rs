//! A program that waits to be asked for work, and what the work took.
//! Does not outlive a failed measurement.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};

use super::super::{recording, report};
use super::variants::Variant;

/// Milliseconds until whatever watches a program has begun: leakline lets a program settle first.
const WAIT: &str = "1000";

/// How to start a program, and how to ask it.
pub(in crate::bench) struct Program {
    pub(in crate::bench) name: &'static str,
    pub(in crate::bench) file: PathBuf,
    pub(in crate::bench) arguments: Vec<String>,
    /// What it reads before it says that it is ready.
    pub(in crate::bench) greeting: String,
    /// What asks it for a turn.
    pub(in crate::bench) turn: String,
}

/// What a turn took.
#[derive(Debug, Clone, Copy)]
pub(in crate::bench) struct Took {
    pub(in crate::bench) wall: f64,
    /// Of all threads, as the kernel counts them from outside.
    pub(in crate::bench) cpu: f64,
}

/// How many were started.
static STARTED: AtomicU32 = AtomicU32::new(0);

pub(in crate::bench) struct Running {
    variant: Variant,
    what: String,
    recording: PathBuf,
    child: Child,
    /// The program itself, where a tracer stands before it.
    pid: u32,
    asks: Option<ChildStdin>,
    answers: Option<BufReader<ChildStdout>>,
}

impl Running {
    /// Starts it and waits until it is warm.
    pub(in crate::bench) fn start(variant: Variant, program: &Program) -> anyhow::Result<Self> {
        let what = format!("{}, {}", program.name, variant.name());
        // Two run at a time.
        let which = STARTED.fetch_add(1, Ordering::Relaxed) % 2;
        let recording = recording(&format!("native-{}-{which}", program.name))?;
        let mut command = variant.command(&program.file, &recording);
        command.args(&program.arguments).env("PYTHONHASHSEED", "0");
        if !matches!(variant, Variant::Plain | Variant::Jemalloc) {
            command.env("BENCH_WAIT", WAIT);
        }
        let mut child = piped(&mut command).spawn().with_context(|| format!("cannot start {what}"))?;
        let (asks, answers) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        let pid = child.id();
        let mut running = Self { variant, what, recording, child, pid, asks, answers };
        running.say(&program.greeting)?;
        // A tracer may say something first.
        while running.line()? != "ready" {}
        running.pid = itself(pid, &program.file);
        Ok(running)
    }

    /// What it answers when it is asked for a turn.
    pub(in crate::bench) fn answer(&mut self, program: &Program) -> anyhow::Result<f64> {
        self.say(&program.turn)?;
        let line = self.line()?;
        line.parse().with_context(|| format!("{} said: {line}", self.what))
    }

    /// What a turn takes, as seen from outside.
    pub(in crate::bench) fn turn(&mut self, program: &Program) -> anyhow::Result<Took> {
        let (cpu, begun) = (self.cpu_seconds()?, Instant::now());
        self.say(&program.turn)?;
        let line = self.line()?;
        ensure!(line == "done", "{} said: {line}", self.what);
        Ok(Took { wall: begun.elapsed().as_secs_f64(), cpu: self.cpu_seconds()? - cpu })
    }

    /// Ends it, makes sure that it was watched, and gives its recording.
    pub(in crate::bench) fn end(mut self) -> anyhow::Result<PathBuf> {
        drop(self.asks.take());
        // A tracer that has something to say in the end must not find a closed pipe.
        while self.line().is_ok() {}
        let status = self.child.wait().with_context(|| format!("cannot wait for {}", self.what))?;
        ensure!(status.success(), "{} failed: {status}", self.what);
        match self.variant {
            Variant::Sampling(_) => check_that_it_was_watched(&self.recording)?,
            Variant::JavaSites => check_that_java_was_sampled(&self.recording)?,
            _ => {}
        }
        Ok(self.recording.clone())
    }

    fn say(&mut self, text: &str) -> anyhow::Result<()> {
        let asks = self.asks.as_mut().context("it has no standard input")?;
        asks.write_all(text.as_bytes()).with_context(|| format!("cannot ask {}", self.what))
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let answers = self.answers.as_mut().context("it has no standard output")?;
        let read = answers.read_line(&mut line);
        let bytes = read.with_context(|| format!("cannot read what {} says", self.what))?;
        ensure!(bytes > 0, "{} ended early", self.what);
        Ok(line.trim().to_owned())
    }

    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let tasks = format!("/proc/{}/task", self.pid);
        let mut nanos = 0_u64;
        for task in fs::read_dir(&tasks).with_context(|| format!("{} ended early", self.what))?.flatten() {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            nanos += text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(nanos as f64 / 1e9)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn piped(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::piped()).stdout(Stdio::piped())
}

/// The process that runs `file`: `pid`, or a child where a tracer waits for it.
fn itself(pid: u32, file: &Path) -> u32 {
    let runs_it = |pid: u32| {
        let same = |exe: PathBuf| file.canonicalize().is_ok_and(|file| file == exe);
        fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(same)
    };
    if runs_it(pid) {
        return pid;
    }
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .find(|child| runs_it(*child))
        .unwrap_or(pid)
}

/// A program that was not watched would cost nothing.
fn check_that_it_was_watched(recording: &Path) -> anyhow::Result<()> {
    let report = report(recording)?;
    let is_there = rows(&report, "growth")
        .iter()
        .any(|growth| growth["probe"] == "native" && growth["mean_sample_bytes"].is_u64());
    ensure!(is_there, "the program was not watched: {}", notes(&report));
    Ok(())
}

/// The same of a JVM, whose allocations show when they outlive collections.
fn check_that_java_was_sampled(recording: &Path) -> anyhow::Result<()> {
    let report = report(recording)?;
    let probes = rows(&report, "probes");
    // A probe that was always there, and has nothing to say, is not among them.
    let was_absent = probes.iter().any(|probe| probe["probe"] == "jvm" && probe["ok"] == 0);
    let notes = notes(&report);
    ensure!(!was_absent && !notes.contains("no Java call paths"), "the program was not watched: {notes}");
    Ok(())
}

fn rows(report: &serde_json::Value, name: &str) -> Vec<serde_json::Value> {
    report[name].as_array().cloned().unwrap_or_default()
}

fn notes(report: &serde_json::Value) -> String {
    rows(report, "probes").iter().map(|probe| probe["notes"].to_string()).collect::<Vec<_>>().join(", ")
}
