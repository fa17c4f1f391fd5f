//! Everything that must pass before a change goes in, in the order in which a mistake is told soonest.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::process::{cargo, run};
use crate::{
    aar, android, bench, check_libs, corpus, cpython_tests, dist, faults, hosts, layers, layouts,
    left_behind, proto, run_tests, runtimes, style,
};

/// All steps took 37 minutes on two cores. After this long something waits for what never comes.
const LIMIT: Duration = Duration::from_secs(80 * 60);

type Step = (&'static str, fn() -> anyhow::Result<()>);

const STEPS: &[Step] = &[
    ("fmt", || run(cargo().args(["fmt", "--all", "--check"]))),
    ("style", style::check),
    ("layers", layers::check),
    ("layouts", layouts::check_installed),
    ("proto", proto::check),
    ("clippy", clippy),
    ("doc", doc),
    ("build", || dist::build(None)),
    ("check-libs", check_libs::check),
    ("hosts", || hosts::build().map(drop)),
    ("runtimes", runtimes::for_tests),
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
pub(crate) fn run_steps(only: &[String], all_runtimes: bool) -> anyhow::Result<()> {
    for name in only {
        let known: Vec<_> = names().collect();
        ensure!(known.contains(&name.as_str()), "no step is called {name}; there are {}", known.join(", "));
    }
    if all_runtimes {
        // SAFETY: no thread was started yet that could read the environment meanwhile.
        unsafe { std::env::set_var(runtimes::CHOICE, "all") };
    }
    let at = begin_limit()?;
    let mut times: Vec<(&str, Duration)> = Vec::new();
    for (name, step) in
        STEPS.iter().filter(|(name, _)| only.is_empty() || only.iter().any(|wanted| wanted == name))
    {
        println!("── {name}");
        *at.lock().unwrap_or_else(PoisonError::into_inner) = name;
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

/// Ends everything when the time is over, and says which step ran and what ran in it: a hang that is only cut off from
/// outside explains nothing. Gives the place for the step's name.
fn begin_limit() -> anyhow::Result<Arc<Mutex<&'static str>>> {
    let at = Arc::new(Mutex::new(""));
    let marker = left_behind::marker();
    // SAFETY: no thread was started yet that could read the environment meanwhile.
    unsafe { std::env::set_var(left_behind::MARKER, &marker) };
    let name = Arc::clone(&at);
    let limit = std::thread::Builder::new().name("xtask-limit".to_owned());
    let watching = move || {
        std::thread::sleep(LIMIT);
        let step = *name.lock().unwrap_or_else(PoisonError::into_inner);
        eprintln!(
            "error: step {step} did not end within {} minutes of all; these ran:",
            LIMIT.as_secs() / 60
        );
        left_behind::end(&marker).iter().for_each(|process| eprintln!("  {process}"));
        std::process::exit(1);
    };
    limit.spawn(watching).context("cannot start a thread")?;
    Ok(at)
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
