//! What a call into the Android facade costs where there is no runtime, as in a release build: compiled by HotSpot, which
//! leaves it out, and interpreted, which is the worst that a call can cost. Not measured on ART.

use std::fs;
use std::process::Command;

use anyhow::Context as _;

use super::keep;
use crate::process::{run as run_command, stdout_of};
use crate::{dist, hosts, java_library};

pub(super) fn run(smoke: bool) -> anyhow::Result<()> {
    let java_home = hosts::java_home()?;
    let classes = dist::folder().join("bench/facade");
    let _ = fs::remove_dir_all(&classes);
    fs::create_dir_all(&classes).with_context(|| format!("cannot make the folder {}", classes.display()))?;
    let mut javac = Command::new(java_home.join("bin/javac"));
    javac.args(["--release", "8", "-nowarn", "-Xlint:-options", "-d"]).arg(&classes);
    run_command(javac.args(java_library::api()?).arg(hosts::source("facade/Facade.java")))?;

    let (compiled, interpreted) = if smoke { ("200000", "20000") } else { ("20000000", "1000000") };
    for (how, mode, rounds, limit) in
        [("compiled", "-Xmixed", compiled, 1.0), ("interpreted", "-Xint", interpreted, 200.0)]
    {
        let mut java = Command::new(java_home.join("bin/java"));
        java.arg(mode).arg("-cp").arg(&classes).args(["Facade", rounds]);
        let said = stdout_of(&mut java)?;
        let figure = |name: &str| -> f64 {
            let line = said.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|figure| figure.trim().parse().ok()).unwrap_or(f64::NAN)
        };
        keep(&format!("`Leakline.mark` without a runtime, {how}"), figure("call "), limit, "ns");
        keep(&format!("the first call, which looks for one, {how}"), figure("first ") / 1e6, 10.0, "ms");
    }
    Ok(())
}
