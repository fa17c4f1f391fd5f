//! What the Java side costs an app: a call into the facade where there is no runtime, as in a release build (compiled by
//! HotSpot, which leaves it out, and interpreted, which is the worst that a call can cost), and the start, of the thread that
//! asks for it. Not measured on ART.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use super::{keep, median};
use crate::process::{run as run_command, stdout_of};
use crate::{dist, hosts, java_library};

pub(super) fn run(smoke: bool) -> anyhow::Result<()> {
    calls(smoke)?;
    start(smoke)
}

/// A folder with the classes of these sources and of a program that uses them.
fn compiled(program: &str, sources: &[PathBuf]) -> anyhow::Result<PathBuf> {
    let classes = dist::folder().join("bench/facade").join(program);
    let _ = fs::remove_dir_all(&classes);
    fs::create_dir_all(&classes).with_context(|| format!("cannot make the folder {}", classes.display()))?;
    let mut javac = Command::new(hosts::java_home()?.join("bin/javac"));
    javac.args(["--release", "8", "-nowarn", "-Xlint:-options", "-d"]).arg(&classes);
    run_command(javac.args(sources).arg(hosts::source(&format!("facade/{program}.java"))))?;
    Ok(classes)
}

/// The number behind `name` in what a program said.
fn figure(said: &str, name: &str) -> f64 {
    let line = said.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|figure| figure.trim().parse().ok()).unwrap_or(f64::NAN)
}

/// In a new JVM each time: what is looked up and loaded first counts.
fn start(smoke: bool) -> anyhow::Result<()> {
    let classes = compiled("Start", &java_library::sources()?)?;
    let library = dist::installed().join("lib/leakline/libleakline_jni.so");
    let (mut walls, mut cpus) = (Vec::new(), Vec::new());
    for _ in 0..if smoke { 2 } else { 21 } {
        let mut java = Command::new(hosts::java_home()?.join("bin/java"));
        java.arg(format!("-Dleakline.library={}", library.display())).arg("-cp").arg(&classes);
        let said = stdout_of(java.arg("Start").arg(classes.join("start.leak")))?;
        walls.push(figure(&said, "wall ") / 1e6);
        cpus.push(figure(&said, "cpu ") / 1e6);
    }
    keep("`Leakline.start` on the thread that calls it, processor time", median(cpus), 2.0, "ms");
    keep("the same, time that passes", median(walls), 2.0, "ms");
    Ok(())
}

fn calls(smoke: bool) -> anyhow::Result<()> {
    let java_home = hosts::java_home()?;
    let classes = compiled("Facade", &java_library::api()?)?;

    let (compiled, interpreted) = if smoke { ("200000", "20000") } else { ("20000000", "1000000") };
    for (how, mode, rounds, limit) in
        [("compiled", "-Xmixed", compiled, 1.0), ("interpreted", "-Xint", interpreted, 200.0)]
    {
        let mut java = Command::new(java_home.join("bin/java"));
        java.arg(mode).arg("-cp").arg(&classes).args(["Facade", rounds]);
        let said = stdout_of(&mut java)?;
        keep(&format!("`Leakline.mark` without a runtime, {how}"), figure(&said, "call "), limit, "ns");
        keep(
            &format!("the first call, which looks for one, {how}"),
            figure(&said, "first ") / 1e6,
            10.0,
            "ms",
        );
    }
    Ok(())
}
