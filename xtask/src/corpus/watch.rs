//! Runs one program under `leakline run` and reads what was said of it, at the end and tick by tick.
//! Judges nothing: that is `check`'s.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::check::{Found, judge};
use super::programs::Programs;
use super::seed::Parameters;
use super::truth::Truth;
use crate::dist;
use crate::process::stdout_of;

/// A run's interval, in place of the usual five minutes.
const INTERVAL: &str = "500ms";
/// A run sees a few megabytes, in place of a day's gigabytes; so samples are finer, too.
const SAMPLES: &[&str] = &["--python-sample", "2KiB", "--native-sample", "16KiB", "--jvm-sample", "16KiB"];
/// What a program may take longer than it was told.
const SLACK: Duration = Duration::from_secs(40);

/// What came of one run.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) found: Found,
    /// Readings until the word was right and stayed so; `None`: it never was.
    pub(super) ticks: Option<usize>,
    /// Readings at which something was called leaking that does not.
    pub(super) alarmed: usize,
    pub(super) readings: usize,
}

/// Runs it, and leaves a recording and what it said in `folder`.
pub(super) fn record(
    programs: &Programs,
    truth: &Truth,
    parameters: &Parameters,
    seconds: f64,
    folder: &Path,
) -> anyhow::Result<()> {
    let recording = recording(truth, folder);
    let _ = fs::remove_file(&recording);
    let mut command = Command::new(leakline());
    command.args(["run", "--quiet", "--interval", INTERVAL]).args(SAMPLES).arg("-o").arg(&recording);
    command.arg("--").args(programs.words(truth));
    run(&mut command, programs.variables(parameters, seconds), seconds, folder, truth).map(drop)
}

/// Holds each prefix of what a run left in `folder` against the truth; the whole, too, if it is to be judged `anew`, and not by
/// what was said while it ran.
pub(super) fn watch(truth: &Truth, seconds: f64, folder: &Path, anew: bool) -> anyhow::Result<Outcome> {
    let recording = recording(truth, folder);
    let stdout = said(truth, folder, "out");
    let kept = stdout.lines().find_map(|line| line.strip_prefix("kept ")?.parse::<f64>().ok());
    let true_rate =
        kept.with_context(|| format!("{} did not say what it kept: {stdout}", truth.name))? / seconds;
    let last = report(&recording, anew.then_some(u64::MAX))?;
    let found = judge(truth, true_rate, &last);
    let numbers: Vec<u64> = last["snapshots"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|snapshot| snapshot["number"].as_u64())
        .collect();
    let (mut right_since, mut alarmed) = (None, 0);
    for (count, number) in numbers.iter().enumerate() {
        let is_last = count + 1 == numbers.len();
        let now = if is_last {
            found.clone()
        } else {
            judge(truth, true_rate, &report(&recording, Some(*number))?)
        };
        alarmed += usize::from(!now.alarms.is_empty());
        if now.leak && now.alarms.is_empty() {
            right_since.get_or_insert(count);
        } else {
            right_since = None;
        }
    }
    Ok(Outcome { found, ticks: right_since, alarmed, readings: numbers.len() })
}

fn recording(truth: &Truth, folder: &Path) -> PathBuf {
    folder.join(&truth.name).with_extension("leak")
}

/// What the program wrote to `out` or `err`.
fn said(truth: &Truth, folder: &Path, kind: &str) -> String {
    let path = folder.join(&truth.name).with_extension(kind);
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// Runs a program to its end and gives what it wrote to stdout and stderr. It is killed when it takes far too long.
pub(super) fn run(
    command: &mut Command,
    variables: Vec<(&'static str, String)>,
    seconds: f64,
    folder: &Path,
    truth: &Truth,
) -> anyhow::Result<(String, String)> {
    let file = |kind: &str| folder.join(&truth.name).with_extension(kind);
    let (out, err) = (file("out"), file("err"));
    let create =
        |path: &PathBuf| fs::File::create(path).with_context(|| format!("cannot write {}", path.display()));
    let mut child = command
        .envs(variables)
        .stdin(Stdio::null())
        .stdout(create(&out)?)
        .stderr(create(&err)?)
        .spawn()
        .with_context(|| format!("cannot start {}", truth.name))?;
    let end = Instant::now() + Duration::from_secs_f64(seconds) + SLACK;
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait")? {
            break status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            bail!("{} did not end in time", truth.name);
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let errors = said(truth, folder, "err");
    ensure!(
        status.success(),
        "{} failed: {status}: {}",
        truth.name,
        errors.lines().last().unwrap_or_default()
    );
    Ok((said(truth, folder, "out"), errors))
}

fn leakline() -> PathBuf {
    dist::folder().join("bin/leakline")
}

/// The report on the whole recording, or up to a snapshot.
fn report(recording: &Path, to: Option<u64>) -> anyhow::Result<Value> {
    let mut command = Command::new(leakline());
    command.args(["report", "--json", "--top", "5"]).arg(recording);
    if let Some(to) = to {
        command.args(["--to", &to.to_string()]);
    }
    serde_json::from_str(&stdout_of(&mut command)?)
        .context("leakline report --json wrote something that is not JSON")
}
