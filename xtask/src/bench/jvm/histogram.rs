//! Counting the objects of a heap by class: leakline at its ticks, and `jcmd PID GC.class_histogram -all` between them, on
//! the same objects in the same process, in turn.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};

use super::super::{keep, median, recording, report};
use super::Java;
use crate::dist;
use crate::process::run as run_program;

/// Leakline counts at each multiple of this, and `jcmd` in the middle between two.
const TICK: Duration = Duration::from_secs(2);

pub(super) fn run(smoke: bool) -> anyhow::Result<()> {
    let java = Java::compiled("Objects")?;
    let (sizes, rounds): (&[u64], _) = if smoke { (&[100_000], 2) } else { (&[1_000_000, 5_000_000], 15) };
    for objects in sizes {
        let figures = measure(&java, *objects, rounds)?;
        let millions = *objects as f64 / 1e6;
        let line =
            |what: &str, millis: f64| println!("{millions} million objects, {what:<38}{millis:>9.1} ms");
        line("pause, leakline", figures.pause);
        line("pause, jcmd -all", figures.jcmd_pause);
        keep(
            &format!("{millions} million objects, pause beside jcmd's"),
            figures.pause / figures.jcmd_pause,
            0.6,
            "times",
        );
        line("all of it, leakline, a whole reading", figures.total);
        line("all of it, jcmd -all", figures.jcmd_total);
        keep(
            &format!("{millions} million objects, total beside jcmd's"),
            figures.total / figures.jcmd_total,
            0.15,
            "times",
        );
    }
    Ok(())
}

/// Milliseconds; medians. Leakline's total is that of all that is read of the JVM at a tick, as long as it is.
struct Figures {
    pause: f64,
    jcmd_pause: f64,
    total: f64,
    jcmd_total: f64,
}

fn measure(java: &Java, objects: u64, rounds: u32) -> anyhow::Result<Figures> {
    let recording = recording("histogram")?;
    let log = recording.with_extension("safepoints");
    let _ = fs::remove_file(&log);
    let mut command = Command::new(dist::installed().join("bin/leakline"));
    command.args(["run", "--quiet", "--interval", &format!("{}s", TICK.as_secs()), "-o"]).arg(&recording);
    command.arg("--").arg(java.program("java")).args(["-Xms2g", "-Xmx2g"]);
    command.arg(format!("-Xlog:safepoint:file={}", log.display()));
    command.arg("-cp").arg(&java.classes).args(["Objects", &objects.to_string()]);
    command.env("LEAKLINE_JVM_HISTOGRAM", "1").env("LEAKLINE_JVM_HISTOGRAM_PAUSE", "10s");
    let mut host = Host::start(&mut command)?;

    let jcmd = || {
        let mut command = Command::new(java.program("jcmd"));
        command.arg(host.child.id().to_string()).args(["GC.class_histogram", "-all"]).stdout(Stdio::null());
        run_program(&mut command)
    };
    // Both have done it before they are measured.
    until_tick()?;
    sleep(TICK / 2);
    jcmd()?;
    let (mut pauses, mut jcmd_pauses, mut jcmd_totals) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let before = self::pauses(&log)?.len();
        until_tick()?;
        sleep(TICK / 2);
        let between = self::pauses(&log)?.len();
        let begun = Instant::now();
        jcmd()?;
        jcmd_totals.push(begun.elapsed().as_secs_f64() * 1e3);
        let all = self::pauses(&log)?;
        pauses.extend(all.get(before..between).unwrap_or_default());
        jcmd_pauses.extend(all.get(between..).unwrap_or_default());
    }
    host.end()?;
    ensure!(!pauses.is_empty() && !jcmd_pauses.is_empty(), "nothing was counted: {}", log.display());
    let report = report(&recording)?;
    let costs = report["snapshots"].as_array().into_iter().flatten().flat_map(|row| row["costs"].as_array());
    let of_jvm = costs.flatten().filter(|cost| cost["probe"] == "jvm");
    let totals: Vec<f64> = of_jvm.filter_map(|cost| cost["wall_seconds"].as_f64()).collect();
    ensure!(!totals.is_empty(), "the report has no costs");
    Ok(Figures {
        pause: median(pauses),
        jcmd_pause: median(jcmd_pauses),
        total: median(totals) * 1e3,
        jcmd_total: median(jcmd_totals),
    })
}

/// Waits for the next tick.
fn until_tick() -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let past = now.as_nanos() % TICK.as_nanos();
    sleep(TICK - Duration::from_nanos(u64::try_from(past).unwrap_or(0)));
    Ok(())
}

/// How long the world stood still for each count so far, milliseconds.
fn pauses(log: &Path) -> anyhow::Result<Vec<f64>> {
    let text = fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    let of_line = |line: &str| {
        let (_, rest) = line.split_once("At safepoint:")?;
        rest.split_whitespace().next()?.parse::<f64>().ok()
    };
    let counts = text.lines().filter(|line| line.contains("\"GC_HeapInspection\""));
    Ok(counts.filter_map(of_line).map(|nanos| nanos / 1e6).collect())
}

/// A host that does not outlive a failed measurement.
struct Host {
    child: Child,
    input: Option<ChildStdin>,
}

impl Host {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start leakline run")?;
        let output = child.stdout.take().context("no output")?;
        let host = Self { input: child.stdin.take(), child };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).context("cannot read from the host")?;
        ensure!(line == "ready\n", "the host said {line:?}");
        Ok(host)
    }

    fn end(&mut self) -> anyhow::Result<()> {
        drop(self.input.take());
        ensure!(self.child.wait().context("cannot wait for the host")?.success(), "the host failed");
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
