//! How often the verdict errs on made-up series, and what it costs: core's own benchmark, as a table.

use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use super::keep;
use crate::process::stdout_of;

/// Sessions of each kind: one false alarm in a thousand must be told from three.
const SESSIONS: &str = "2000";
const SMOKE_SESSIONS: &str = "20";

pub(super) fn run(smoke: bool, only: Option<&str>) -> anyhow::Result<()> {
    let mut bench = Command::new("cargo");
    bench.args([
        "bench",
        "--quiet",
        "--package",
        "leakline-core",
        "--features",
        "synthetic",
        "--bench",
        "verdict",
        "--",
    ]);
    bench.arg(if smoke { SMOKE_SESSIONS } else { SESSIONS }).args(only);
    for line in stdout_of(&mut bench)?.lines().filter(|line| line.starts_with('{')) {
        let found: Value =
            serde_json::from_str(line).context("core's benchmark wrote something else than JSON")?;
        let number = |field: &str| found[field].as_f64().unwrap_or(f64::NAN);
        let words = |field: &str| found[field].as_str().unwrap_or_default();
        keep(words("what"), number("figure"), number("limit"), words("unit"));
    }
    Ok(())
}
