//! How far apart the three layers' gauges of a tick are read, in a host that sleeps and in one whose Python computes all
//! the time.

use std::fs;
use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use super::keep;
use crate::process::{run as run_program, stdout_of};
use crate::{dist, hosts};

pub(super) fn run(smoke: bool) -> anyhow::Result<()> {
    let seconds = if smoke { "5" } else { "30" };
    keep("an idle host, median", median_milliseconds("--idle", seconds)?, 0.2, "ms")?;
    keep("a Python thread that computes, median", median_milliseconds("--busy", seconds)?, 1.0, "ms")
}

fn median_milliseconds(mode: &str, seconds: &str) -> anyhow::Result<f64> {
    let hosts = hosts::build()?;
    let folder = dist::folder().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let recording = folder.join("skew.leak");
    let _ = fs::remove_file(&recording);
    let leakline = dist::folder().join("bin/leakline");
    let mut watched = Command::new(&leakline);
    watched.args(["run", "--quiet", "--interval", "100ms", "-o"]).arg(&recording).arg("--");
    watched.arg(&hosts.python).arg(hosts::source("late_jvm.py")).args([
        mode,
        "--after",
        "0",
        "--seconds",
        seconds,
    ]);
    run_program(watched.stdout(std::process::Stdio::null()))?;
    let report = stdout_of(Command::new(&leakline).args(["report", "--json"]).arg(&recording))?;
    let report: Value =
        serde_json::from_str(&report).context("leakline report --json wrote something else")?;
    let median = report["coverage"]["skew_median_seconds"].as_f64().context("the report has no skew")?;
    Ok(median * 1e3)
}
