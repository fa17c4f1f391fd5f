//! How far apart the three layers' gauges of a tick are read, in a host that sleeps and in one whose Python computes all
//! the time.

use std::process::Command;

use anyhow::Context as _;

use super::{keep, recording, report};
use crate::process::run as run_program;
use crate::{dist, hosts};

pub(super) fn run(smoke: bool) -> anyhow::Result<()> {
    let seconds = if smoke { "5" } else { "30" };
    keep("an idle host, median", median_milliseconds("--idle", seconds)?, 0.2, "ms");
    keep("a Python thread that computes, median", median_milliseconds("--busy", seconds)?, 1.0, "ms");
    Ok(())
}

fn median_milliseconds(mode: &str, seconds: &str) -> anyhow::Result<f64> {
    let hosts = hosts::build()?;
    let recording = recording("skew")?;
    let leakline = dist::installed().join("bin/leakline");
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
    let report = report(&recording)?;
    let median = report["coverage"]["skew_median_seconds"].as_f64().context("the report has no skew")?;
    Ok(median * 1e3)
}
