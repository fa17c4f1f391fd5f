//! What watching the native heap costs: pairs of malloc and free under leakline, heaptrack, bytehound and jemalloc's own
//! profiling, beside the same without any; real programs; one sample; and a tick's readings.
//! Nothing of leakline's runs in what is measured without it, and nothing is installed.

mod pairs;
mod real;
mod running;
mod ticks;
mod variants;

pub(super) use running::{Program, Running};
pub(super) use variants::{Variant, async_profiler};

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use super::{Part, Scope, run_parts};
use crate::dist;
use crate::process::{root, run as run_program};

const PARTS: &[Part] = &[
    ("unwind", unwind),
    ("pairs", pairs::run),
    ("sample", pairs::sample),
    ("real", real::run),
    ("ticks", ticks::run),
];

/// The whole run takes about half an hour.
pub(super) fn run(scope: &Scope) -> anyhow::Result<()> {
    run_parts(scope, PARTS)
}

/// A walk of forty frames, beside framehop and libgcc. It prints for itself, from inside of one process.
fn unwind(smoke: bool) -> anyhow::Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["run", "--quiet", "--package", "leakline-native", "--example", "unwind_cost"]);
    // As tests are built: nothing has to be built anew.
    let profile = if smoke { "dev" } else { "release" };
    run_program(cargo.args(["--profile", profile]).current_dir(root()))
}

/// Where what is compiled goes.
fn folder() -> anyhow::Result<PathBuf> {
    let folder = dist::folder().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    Ok(folder)
}

/// A program of this folder, compiled as its users would.
fn compiled(name: &str, how: &[&str]) -> anyhow::Result<PathBuf> {
    let program = folder()?.join(name);
    let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    // The compiler knows what malloc does, and would leave out what nobody reads.
    cc.args(["-O2", "-g", "-fno-builtin", "-Wall", "-Wextra", "-Werror"]).arg("-o").arg(&program);
    cc.arg(root().join(format!("xtask/src/bench/native/{name}.c"))).args(how);
    run_program(&mut cc)?;
    Ok(program)
}

/// The middle half of all runs lies between these.
fn spread(ratios: &[f64]) -> String {
    let mut sorted = ratios.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: usize| sorted.get(sorted.len() * share / 4).copied().unwrap_or(f64::NAN);
    format!("{:.2}–{:.2}", at(1), at(3))
}
