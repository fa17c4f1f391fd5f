//! Shows on a real program what leakline finds: one leak in each layer in turn, planted at a known rate, and then what
//! was found beside what was planted. Fails when a leak was missed, or seen where there is none.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::process::{root, run, stdout_of};
use crate::{dist, hosts};

/// What is planted: (layer, bytes per second, seconds). Three different rates, so that a mix-up shows; long enough for a verdict
/// at one reading a second, short enough for three of them within a minute. Malloc's bytes come and go by some MiB while the
/// JVM compiles: beside that, a leak must be larger or be watched for longer.
const PLANTED: &[(&str, u64, &str)] =
    &[("python", 1 << 20, "14"), ("jvm", 3 << 19, "14"), ("native", 1 << 21, "20")];

/// Builds, runs the program once for each layer, prints the reports and what was found.
pub(crate) fn run_all() -> anyhow::Result<()> {
    let begun = Instant::now();
    println!("building leakline and the program to be watched …");
    dist::build(None)?;
    let hosts = hosts::build()?;
    println!("built in {:.0} s\n", begun.elapsed().as_secs_f64());

    let begun = Instant::now();
    let folder = root().join(".leakline/demo");
    let lock = File::create(root().join(".leakline/demo.lock")).context("cannot write into .leakline")?;
    lock.try_lock().context("another demo is running in this tree")?;
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let demo = Demo { leakline: dist::folder().join("bin/leakline"), python: hosts.python, folder };
    let collector = demo.collect()?;
    println!(
        "A relay of messages: Reticulum and LXMF in Python, Gson in a JVM, a codec in C, all in one process. It is run\n\
         three times, each time with a leak in another layer. leakline is not told where. Of its lines, readings and\n\
         leaks are shown.\n"
    );
    let mut findings = Vec::new();
    for (layer, rate, seconds) in PLANTED {
        findings.push(demo.watch(layer, *rate, seconds, &collector)?);
    }
    let sessions = demo.sessions_collected()?;
    drop(collector);
    closing(&findings, sessions, begun.elapsed().as_secs_f64())
}

struct Demo {
    leakline: PathBuf,
    python: PathBuf,
    folder: PathBuf,
}

/// `leakline collect`, ended when it goes out of scope.
struct Collector {
    child: Child,
    address: String,
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What leakline said of one run.
struct Finding {
    layer: &'static str,
    planted: f64,
    /// Estimate and interval, where the planted layer was named.
    found: Option<(f64, f64, f64)>,
    place: String,
    /// Layers that leak nothing and were said to, at a tenth of the planted rate or more: below that there is what
    /// every program gathers in its first seconds.
    wrong: Vec<String>,
}

impl Demo {
    fn collect(&self) -> anyhow::Result<Collector> {
        let folder = self.folder.join("sessions");
        tell(&format!("leakline collect --listen 127.0.0.1:0 --folder {}", shown(&folder)));
        let mut child = Command::new(&self.leakline)
            .args(["collect", "--listen", "127.0.0.1:0", "--folder"])
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start leakline collect")?;
        let mut lines =
            BufReader::new(child.stdout.take().context("the collector's output is a pipe")?).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("listening on ")?.1.split_whitespace().next()?.to_owned()));
        let Some(address) = address else {
            let _ = child.kill();
            bail!("leakline collect ended without saying where it listens");
        };
        println!("listening on {address}\n");
        // Its live lines must go somewhere, or it would stop at a full pipe; the demo shows the host's own instead.
        std::thread::Builder::new().name("collector-lines".into()).spawn(move || lines.for_each(drop))?;
        Ok(Collector { child, address })
    }

    /// Runs the relay once and reads its report.
    fn watch(
        &self,
        layer: &'static str,
        rate: u64,
        seconds: &str,
        collector: &Collector,
    ) -> anyhow::Result<Finding> {
        let recording = self.folder.join(format!("{layer}.leak"));
        let mixed = hosts::source("mixed.py");
        let rate_text = rate.to_string();
        let words = ["--leak", layer, "--rate", &rate_text, "--seconds", seconds];
        let file = shown(&recording);
        tell(&format!(
            "leakline run --interval 1s --collector {} -o {file} -- python3 {} {}",
            collector.address,
            shown(&mixed),
            words.join(" ")
        ));
        let mut watched = Command::new(&self.leakline);
        watched
            .args(["run", "--interval", "1s", "--collector", &collector.address, "-o"])
            .arg(&recording)
            .arg("--");
        show_in_short(watched.arg(&self.python).arg(&mixed).args(words))?;
        println!();
        tell(&format!("leakline report --top 2 {file}"));
        run(Command::new(&self.leakline).args(["report", "--top", "2"]).arg(&recording))?;
        println!();
        let report = stdout_of(Command::new(&self.leakline).args(["report", "--json"]).arg(&recording))?;
        let report = serde_json::from_str(&report)
            .context("leakline report --json wrote something that is not JSON")?;
        Ok(finding(layer, rate as f64, &report))
    }

    fn sessions_collected(&self) -> anyhow::Result<usize> {
        let folder = self.folder.join("sessions");
        let files = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        Ok(files.flatten().filter(|file| file.path().extension().is_some_and(|kind| kind == "leak")).count())
    }
}

/// Runs a watched program and shows one line per reading, and each layer's first verdict of a leak; everything when it
/// fails.
fn show_in_short(watched: &mut Command) -> anyhow::Result<()> {
    let mut child = watched.stderr(Stdio::piped()).spawn().context("cannot start leakline run")?;
    let lines = BufReader::new(child.stderr.take().context("the program's errors are a pipe")?).lines();
    let (mut all, mut told) = (Vec::new(), BTreeSet::new());
    for line in lines.map_while(Result::ok) {
        let leaking = line.split_once("Verdict: LEAK").and_then(|(_, rest)| rest.split_whitespace().next());
        let news = leaking.is_some_and(|layer| told.insert(layer.to_owned()));
        if news || line.contains("Leakline: Memory:") {
            println!("{}", line.split(" tick=").next().unwrap_or(&line));
        }
        all.push(line);
    }
    let status = child.wait().context("cannot wait for leakline run")?;
    if !status.success() {
        bail!("the program under leakline run failed: {status}\n{}", all.join("\n"));
    }
    Ok(())
}

fn finding(layer: &'static str, planted: f64, report: &Value) -> Finding {
    let verdicts = report["verdicts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let leaking = |verdict: &&Value| verdict["leaks"] == true && verdict["site"].is_null();
    let named: Vec<&Value> = verdicts.iter().filter(leaking).collect();
    let number = |verdict: &Value, field: &str| verdict[field].as_f64().unwrap_or_default();
    let found = named.iter().find(|verdict| verdict["layer"] == layer).map(|verdict| {
        let rate = number(verdict, "bytes_per_second");
        (rate, number(verdict, "bytes_per_second_low"), number(verdict, "bytes_per_second_high"))
    });
    // The process as a whole grows with each of its layers.
    let others = named.iter().filter(|verdict| number(verdict, "bytes_per_second") >= planted / 10.0);
    let others = others.filter_map(|verdict| verdict["layer"].as_str());
    let wrong = others.filter(|named| *named != layer && *named != "process").map(str::to_owned).collect();
    Finding { layer, planted, found, place: place(layer, report), wrong }
}

/// The site of samples that grew most in a layer, where its probe knows sites.
fn place(layer: &str, report: &Value) -> String {
    let growths = report["growth"].as_array().map(Vec::as_slice).unwrap_or_default();
    let growth = growths.iter().find(|growth| growth["layer"] == layer && growth["source"] == "sampled");
    let site = growth.map(|growth| &growth["sites"][0]["site"]);
    let Some(frames) = site.and_then(|site| site["frames"].as_array()) else {
        return format!("the {layer} heap; no call paths of this layer yet");
    };
    let frame = |frame: &Value| {
        let file = frame["short_file"].as_str().unwrap_or_default();
        format!("{file}:{} {}", frame["line"], frame["function"].as_str().unwrap_or_default())
            .trim_end()
            .to_owned()
    };
    frames.iter().take(3).map(frame).collect::<Vec<_>>().join(" < ")
}

fn closing(findings: &[Finding], sessions: usize, seconds: f64) -> anyhow::Result<()> {
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    println!("planted              found (95 % sure between)            where");
    for finding in findings {
        let found = match finding.found {
            Some((rate, low, high)) => {
                format!("{:<7}{:.2} MiB/s ({:.2} to {:.2})", finding.layer, mib(rate), mib(low), mib(high))
            }
            None => "nothing".to_owned(),
        };
        println!("{:<7}{:.2} MiB/s    {found:<37}{}", finding.layer, mib(finding.planted), finding.place);
    }
    println!("\n{sessions} sessions collected; {seconds:.0} s after the build");
    let wrong = findings.iter().filter(|finding| finding.found.is_none() || !finding.wrong.is_empty());
    let wrong: Vec<String> = wrong
        .map(|finding| match &finding.wrong[..] {
            [] => format!("the leak in {} was not found", finding.layer),
            others => {
                format!("with the leak in {}, {} was said to leak", finding.layer, others.join(" and "))
            }
        })
        .collect();
    if !wrong.is_empty() {
        bail!("{}", wrong.join("; "));
    }
    if sessions != findings.len() {
        bail!("{sessions} sessions were collected instead of {}", findings.len());
    }
    let leakline = shown(&dist::folder().join("bin/leakline"));
    println!(
        "\nNow your own program, unchanged:\n  \
         {leakline} run -- python3 app.py                  a reading every 5 minutes, on the terminal\n  \
         {leakline} run --interval 10s -o app.leak -- java -jar app.jar\n  \
         {leakline} report app.leak                        which layer, how fast, where\n  \
         {leakline} collect                                on your workstation, and `run --collector HOST:PORT` where it runs"
    );
    Ok(())
}

fn tell(command: &str) {
    println!("$ {command}");
}

/// A path as somebody in the tree's root would type it.
fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::finding;

    #[test]
    fn a_layer_that_leaks_nothing_and_is_named_is_wrong() {
        let verdict = |layer: &str, leaks: bool| {
            json!({ "layer": layer, "leaks": leaks, "site": null, "bytes_per_second": 10.0,
                    "bytes_per_second_low": 9.0, "bytes_per_second_high": 11.0 })
        };
        let report = json!({ "verdicts": [verdict("jvm", true), verdict("python", true),
                                          verdict("native", false), verdict("process", true)] });
        let found = finding("jvm", 10.0, &report);
        assert_eq!(found.found, Some((10.0, 9.0, 11.0)));
        assert_eq!(found.wrong, ["python"]);
        assert_eq!(finding("native", 10.0, &report).found, None);
        assert!(
            finding("jvm", 101.0, &report).wrong.is_empty(),
            "too little to be mixed up with what was planted"
        );
    }
}
