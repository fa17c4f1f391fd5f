//! How long a profile of the hook's takes, and how much memory its tables hold, asked of the probe itself.

use anyhow::Context as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use std::process::Command;

use super::super::python_profile::Built;
use super::super::{keep, median};
use super::interpreters::Interpreter;
use crate::process::{root, stdout_of};

const MIB: f64 = 1_048_576.0;

#[derive(Deserialize)]
struct Snapshots {
    first: f64,
    snapshots: Vec<f64>,
    locked: Vec<f64>,
    growths: Vec<f64>,
    sites: u64,
}

#[derive(Deserialize)]
struct Objects {
    grown: f64,
    held: f64,
    blocks: u64,
}

/// Prints both beside their limits.
pub(super) fn run(python: &Interpreter, built: &Built, smoke: bool) -> anyhow::Result<()> {
    snapshots(python, built, if smoke { 500 } else { 10_000 })?;
    objects(python, built, if smoke { 20_000 } else { 995_000 })
}

/// The program keeps the GIL while it asks, so a profile that needed it would never come.
fn snapshots(python: &Interpreter, built: &Built, paths: u64) -> anyhow::Result<()> {
    let found: Snapshots = ask(python, built, "snapshot", paths)?;
    let sites = found.sites;
    println!(
        "a sampled profile of {sites} live call paths, CPython {}, medians of {}, no time under the GIL",
        python.version,
        found.snapshots.len()
    );
    let millis = |nanos: Vec<f64>| median(nanos) / 1e6;
    println!("{:<58}{:>9.3} ms", "  the first one, which decodes every path", found.first / 1e6);
    keep("  from call to profile", millis(found.snapshots), 1.0, "ms");
    println!("{:<58}{:>9.3} ms", "  of that with the recorder locked", millis(found.locked));
    keep("  growth against a baseline", millis(found.growths), 5.0, "ms");
    Ok(())
}

fn objects(python: &Interpreter, built: &Built, count: u64) -> anyhow::Result<()> {
    println!("memory more for {count} live objects, CPython {}", python.version);
    let without: Objects = ask(python, built, "off", count)?;
    for (what, limit) in [("sampling", Some(16.0)), ("exact", Some(48.0)), ("tracemalloc", None)] {
        let found: Objects = ask(python, built, what, count)?;
        let name = format!("  {what}: held, of {} blocks", found.blocks);
        match limit {
            Some(limit) => keep(&name, found.held / MIB, limit, "MiB"),
            None => println!("{name:<58}{:>9.3} MiB", found.held / MIB),
        }
        println!("{:<58}{:>9.3} MiB", "    resident more than without", (found.grown - without.grown) / MIB);
    }
    Ok(())
}

fn ask<T: DeserializeOwned>(
    python: &Interpreter,
    built: &Built,
    what: &str,
    count: u64,
) -> anyhow::Result<T> {
    let mut command = Command::new(&python.path);
    command.arg(root().join("xtask/src/bench/python/tables.py")).args([what, &count.to_string()]);
    command.arg(&built.driver).env("LEAKLINE_PYTHON_LIBRARY", &built.part);
    let text = stdout_of(&mut command)?;
    serde_json::from_str(&text).with_context(|| format!("the benchmark's program said: {text}"))
}
