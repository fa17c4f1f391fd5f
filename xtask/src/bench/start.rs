//! What `leakline run -- true` costs more than `true`: start, one snapshot in a recording, end.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;

use super::{keep, median};
use crate::{dist, process};

/// The two alternate, so that both see the same machine; the difference of each pair counts.
pub(super) fn run(smoke: bool) -> anyhow::Result<()> {
    let recording = super::recording("start")?;
    let mut differences = Vec::new();
    for _ in 0..if smoke { 15 } else { 100 } {
        let plain = milliseconds(&mut Command::new("true"))?;
        let mut watched = Command::new(dist::installed().join("bin/leakline"));
        watched.args(["run", "--quiet", "-o"]).arg(&recording).args(["--", "true"]);
        differences.push(milliseconds(&mut watched)? - plain);
    }
    keep("`leakline run -- true` over `true`, median", median(differences), 20.0, "ms");
    Ok(())
}

fn milliseconds(command: &mut Command) -> anyhow::Result<f64> {
    let begun = Instant::now();
    process::run(command.stdin(Stdio::null())).context("measuring a start")?;
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}
