//! Everything that must pass before a change goes in, in the order in which a mistake is told soonest.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::process::{cargo, run};
use crate::{
    aar, android, bench, check_libs, corpus, cpython_tests, dist, faults, hosts, layers, proto, run_tests,
    style,
};

type Step = (&'static str, fn() -> anyhow::Result<()>);

const STEPS: &[Step] = &[
    ("fmt", || run(cargo().args(["fmt", "--all", "--check"]))),
    ("style", style::check),
    ("layers", layers::check),
    ("proto", proto::check),
    ("clippy", clippy),
    ("doc", doc),
    ("build", || dist::build(None)),
    ("check-libs", check_libs::check),
    ("hosts", || hosts::build().map(drop)),
    ("android", android::test),
    ("aar", aar::test),
    ("tests", run_tests::run),
    ("corpus", || corpus::run(&corpus::Options::smoke())),
    ("faults", || faults::run(&faults::Options::smoke())),
    ("cpython-tests", || cpython_tests::run(true)),
    ("bench", || bench::run(None, &bench::Scope { smoke: true, ..bench::Scope::default() })),
];

/// The steps' names, in order.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    STEPS.iter().map(|(name, _)| *name)
}

/// Runs the steps called `only`, or all; fails at the first that fails.
pub(crate) fn run_steps(only: &[String]) -> anyhow::Result<()> {
    for name in only {
        let known: Vec<_> = names().collect();
        ensure!(known.contains(&name.as_str()), "no step is called {name}; there are {}", known.join(", "));
    }
    let mut times: Vec<(&str, Duration)> = Vec::new();
    for (name, step) in
        STEPS.iter().filter(|(name, _)| only.is_empty() || only.iter().any(|wanted| wanted == name))
    {
        println!("── {name}");
        let begun = Instant::now();
        step().with_context(|| format!("step {name} failed; alone it is `./x test {name}`"))?;
        times.push((name, begun.elapsed()));
    }
    println!("── passed");
    times.push(("in all", times.iter().map(|(_, time)| *time).sum()));
    for (name, time) in &times {
        println!("{name:<12}{:>7.1} s", time.as_secs_f64());
    }
    Ok(())
}

fn clippy() -> anyhow::Result<()> {
    run(cargo().args([
        "clippy",
        "--quiet",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

fn doc() -> anyhow::Result<()> {
    // The command line tool and the library are both `leakline`, and go to one folder: one after the other.
    for what in [&["-p", "leakline-cli", "--bin", "leakline"][..], &["--workspace"]] {
        let mut doc = cargo();
        doc.args(["doc", "--quiet", "--locked", "--no-deps", "--document-private-items"]).args(what);
        run(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    }
    Ok(())
}
