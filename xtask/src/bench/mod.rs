//! Benchmarks: what leakline costs, measured from outside on real processes, each beside the limit that it must keep.
//! A figure that is over its limit is an error, but not in a smoke run: that shows that the benchmark works, on machines
//! that others use too. Nothing is measured here that was not run here.

mod against;
mod facade;
mod host;
mod idle;
mod jvm;
mod native;
mod python;
mod python_profile;
mod skew;
mod start;
mod verdict;

pub(crate) use python::interpreters::{installed as installed_pythons, with_memray};

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::dist;
use crate::process::stdout_of;

/// How much is measured.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// Short, and judged by nobody.
    pub(crate) smoke: bool,
    /// This part of the benchmark only.
    pub(crate) only: Option<String>,
    /// With this version of Python only.
    pub(crate) python: Option<String>,
    /// In turns with this other installation.
    pub(crate) against: Option<PathBuf>,
    /// Figures over their limits are no error.
    pub(crate) no_judgement: bool,
}

/// Measures and prints.
type Bench = fn(&Scope) -> anyhow::Result<()>;

/// One question of several that a benchmark answers, by its name; shortly when asked.
type Part = (&'static str, fn(bool) -> anyhow::Result<()>);

const BENCHES: &[(&str, Bench)] = &[
    ("start", |scope| start::run(scope.smoke)),
    ("idle", |scope| idle::run(scope.smoke)),
    ("fork", |scope| host::fork(scope.smoke)),
    ("single", |scope| host::single(scope.smoke)),
    ("skew", |scope| skew::run(scope.smoke)),
    ("python-profile", |scope| python_profile::run(scope.smoke)),
    ("python", python::run),
    ("native", native::run),
    ("jvm", jvm::run),
    ("android-facade", |scope| facade::run(scope.smoke)),
    ("verdict", |scope| verdict::run(scope.smoke, scope.only.as_deref())),
];

/// The benchmarks' names.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    BENCHES.iter().map(|(name, _)| *name)
}

/// Runs the one called `name`, or all.
pub(crate) fn run(name: Option<&str>, scope: &Scope) -> anyhow::Result<()> {
    let wanted: Vec<_> = BENCHES.iter().filter(|(known, _)| name.is_none_or(|name| name == *known)).collect();
    ensure!(
        !wanted.is_empty(),
        "no benchmark is called {}; there are {}",
        name.unwrap_or_default(),
        names().collect::<Vec<_>>().join(", ")
    );
    if let Some(other) = &scope.against {
        return against::run(name, scope, other);
    }
    for (name, bench) in wanted {
        println!("── {name}");
        bench(scope)?;
    }
    let over = OVER.load(Ordering::Relaxed);
    ensure!(scope.smoke || scope.no_judgement || over == 0, "{over} figures are over their limits");
    Ok(())
}

/// Runs the parts that are asked for.
fn run_parts(scope: &Scope, parts: &[Part]) -> anyhow::Result<()> {
    let wanted = |name: &str| scope.only.as_deref().is_none_or(|only| only == name);
    let names = parts.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    ensure!(parts.iter().any(|(name, _)| wanted(name)), "--only is one of: {names}");
    parts.iter().filter(|(name, _)| wanted(name)).try_for_each(|(_, part)| part(scope.smoke))
}

/// Figures over their limits so far.
static OVER: AtomicUsize = AtomicUsize::new(0);

/// A recording of a benchmark's own that is not there yet.
fn recording(name: &str) -> anyhow::Result<PathBuf> {
    let path = recording_path(name)?;
    let _ = fs::remove_file(&path);
    Ok(path)
}

/// Where it is.
fn recording_path(name: &str) -> anyhow::Result<PathBuf> {
    let folder = dist::folder().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    Ok(folder.join(name).with_extension("leak"))
}

/// What `leakline report --json` says of a recording.
fn report(recording: &Path) -> anyhow::Result<Value> {
    let mut report = Command::new(dist::installed().join("bin/leakline"));
    let text = stdout_of(report.args(["report", "--json"]).arg(recording))?;
    serde_json::from_str(&text).context("leakline report --json wrote something that is not JSON")
}

/// Prints a figure beside its limit, and counts it when it is over.
fn keep(what: &str, figure: f64, limit: f64, unit: &str) {
    let is_over = figure.is_nan() || figure > limit;
    OVER.fetch_add(usize::from(is_over), Ordering::Relaxed);
    let word = if is_over { ", OVER" } else { "" };
    println!("{what:<58}{figure:>9.3} {unit} (limit {limit} {unit}{word})");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
