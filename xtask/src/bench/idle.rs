//! What an attached agent costs whose probes only read gauges, with both runtimes in the host: processor time of its
//! threads as the kernel counts it, at the 5-minute interval, and the memory that it holds.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::{keep, recording, report};
use crate::{dist, hosts};

/// Ticks come this often while their cost is measured; at 5 minutes there would be too few.
const TICK: Duration = Duration::from_millis(500);

/// Until both runtimes are up and attached, and the first readings, which compile and cache things, are over.
const WARM_UP: Duration = Duration::from_secs(6);

pub(super) fn run(smoke: bool) -> anyhow::Result<()> {
    let span = Duration::from_secs(if smoke { 8 } else { 60 });
    let between = cpu_share("1h", span, &recording("idle-between")?)?;
    let recording = recording("idle")?;
    let ticking = cpu_share("500ms", span, &recording)?;
    let per_tick = (ticking - between).max(0.0) * TICK.as_secs_f64();
    println!("{:<58}{:>9.3} ms", "one tick, all gauges", per_tick * 1e3);
    println!("{:<58}{:>9.4} % of a core", "between ticks", between * 100.0);
    keep("at the 5-minute interval", (between + per_tick / 300.0) * 100.0, 0.1, "% of a core");

    let report = report(&recording)?;
    let held = report["own"]["held_bytes"].as_f64().context("the report has no own.held_bytes")?;
    keep("held by the agent, as it says itself", held / f64::from(1 << 20), 8.0, "MiB");
    Ok(())
}

/// The share of a core that the agent's threads used over `span`, once warm.
fn cpu_share(interval: &str, span: Duration, recording: &Path) -> anyhow::Result<f64> {
    let hosts = hosts::build()?;
    let mut command = Command::new(dist::installed().join("bin/leakline"));
    command.args(["run", "--quiet", "--interval", interval, "-o"]).arg(recording);
    command.arg("--").arg(&hosts.python).arg(hosts::source("late_jvm.py")).args([
        "--idle",
        "--after",
        "0",
        "--seconds",
    ]);
    command.arg((WARM_UP + span).as_secs_f64().to_string()).env("LEAKLINE_PYTHON_MODE", "gauges");
    let child =
        command.stdout(Stdio::null()).stdin(Stdio::null()).spawn().context("cannot start leakline run")?;
    let mut host = Host(child);
    sleep(WARM_UP);
    let before = host.agent_seconds()?;
    sleep(span);
    let used = host.agent_seconds()? - before;
    host.0.wait().context("cannot wait for the host")?;
    Ok(used / span.as_secs_f64())
}

/// A host that does not outlive a failed measurement.
struct Host(Child);

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Host {
    /// Seconds on a processor of all threads whose name is leakline's.
    fn agent_seconds(&self) -> anyhow::Result<f64> {
        let tasks = format!("/proc/{}/task", self.0.id());
        let (mut nanos, mut threads) = (0_u64, 0);
        for task in fs::read_dir(&tasks).with_context(|| format!("the host ended early: {tasks}"))?.flatten()
        {
            let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
            if read("comm").starts_with("leakline") {
                threads += 1;
                nanos +=
                    read("schedstat").split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
            }
        }
        ensure!(threads > 0, "no thread of the agent in the host");
        Ok(nanos as f64 / 1e9)
    }
}
