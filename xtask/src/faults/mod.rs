//! The fault campaign: real hosts under load, to which things happen that happen on servers; each run is done bare and
//! watched, and exit status, output and end must be the same.
//!
//! A fault is one thing that happens to one process at one moment: a descriptor that is closed, a storm of children, a signal
//! (three deliveries, or a storm at 1 kHz), an allocation, a write or a thread that fails, a clock that is set, a library that
//! comes and goes, a stop, a tracer, a watcher that dies or hangs, a collector that is no good, writes into the recording that
//! fail, an end. What happens in the bare run and again in the watched one counts once, when the watched run came so far.
//! A seed gives the plan of a run; what threads and the kernel make of it is not the seed's.
//! Nothing here knows how leakline works inside: it gets what any user has.

mod collector;
mod plan;
mod running;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::dist;
use plan::{Plan, Random};
use running::{Outcome, Tools};

/// The hosts sleep as much as they work.
const WORKERS: usize = 3;
/// A difference must be one that bare runs do not have among themselves.
const BARE_RUNS: usize = 3;

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// So many faults, or a few more
    #[arg(long, default_value_t = 100_000)]
    pub(crate) count: usize,
    /// The runs' plans follow from this number
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// So many faults in each process
    #[arg(long, default_value_t = 40)]
    pub(crate) each: usize,
    /// With this host only: c, c-single, python, both, java
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Only this one run, by the number that a difference is shown with; three times
    #[arg(long, value_name = "NUMBER")]
    pub(crate) repeat: Option<u64>,
}

impl Options {
    /// What `./x test` runs: a new part of the campaign for each seed, in two minutes.
    pub(crate) fn smoke() -> Self {
        Self { count: 500, seed: 19, each: 20, host: None, repeat: None }
    }
}

/// What came out so far.
#[derive(Default)]
struct Tally {
    next: u64,
    runs: usize,
    faults: usize,
    kinds: BTreeMap<String, usize>,
    hosts: BTreeMap<&'static str, usize>,
    unstable: usize,
    hangs: usize,
    differences: Vec<String>,
    said: usize,
}

/// Runs until there were enough faults; an error when anything differed.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if let Some(host) = &options.host {
        let known = ["c", "c-single", "python", "both", "java"];
        ensure!(known.contains(&host.as_str()), "--host is one of: {}", known.join(", "));
    }
    let tools = Tools::build()?;
    let begun = Instant::now();
    let tally = Mutex::new(Tally::default());
    let failed = std::thread::scope(|scope| {
        let start = |number: usize| {
            let name = std::thread::Builder::new().name(format!("xtask-faults-{number}"));
            let (tools, tally) = (&tools, &tally);
            name.spawn_scoped(scope, move || work(options, tools, tally, number))
                .context("cannot start a thread")
        };
        let workers = if options.repeat.is_some() { 1 } else { WORKERS };
        let threads: Vec<_> = (0..workers).map(start).collect();
        let results = threads.into_iter().map(|thread| match thread?.join() {
            Ok(result) => result,
            Err(_) => anyhow::bail!("a worker panicked"),
        });
        results.collect::<Vec<_>>()
    });
    failed.into_iter().collect::<anyhow::Result<Vec<()>>>()?;
    let tally = tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    show(&tally, begun);
    ensure!(tally.differences.is_empty(), "{} runs differ from the bare program", tally.differences.len());
    ensure!(tally.runs > tally.unstable, "no run was stable enough to be judged");
    Ok(())
}

fn work(options: &Options, tools: &Tools, tally: &Mutex<Tally>, number: usize) -> anyhow::Result<()> {
    let folder = dist::folder().join("faults").join(format!("run-{}-{number}", std::process::id()));
    loop {
        let seed = {
            let mut tally = lock(tally);
            let times = if options.repeat.is_some() { 3 } else { usize::MAX };
            if tally.faults >= options.count || tally.runs >= times {
                return Ok(());
            }
            let index = tally.next;
            tally.next += 1;
            tally.runs += usize::from(options.repeat.is_some());
            options
                .repeat
                .unwrap_or_else(|| Random(options.seed.wrapping_mul(1_000_003).wrapping_add(index)).next())
        };
        let plan = Plan::new(seed, options.each);
        if options.host.as_deref().is_some_and(|host| host != plan.host.name()) && options.repeat.is_none() {
            continue;
        }
        if options.repeat.is_some() {
            println!("{plan:?}");
        }
        let bare = running::once(tools, &plan, &folder, false)?;
        let watched = running::once(tools, &plan, &folder, true)?;
        let difference = difference(tools, &plan, &folder, &bare, &watched)?;
        judge(options, tally, &plan, &watched, difference);
    }
}

/// How a run came out.
enum Judged {
    Same,
    /// Bare runs differ among themselves.
    Unstable(String),
    Differs(String),
}

fn difference(
    tools: &Tools,
    plan: &Plan,
    folder: &std::path::Path,
    bare: &Outcome,
    watched: &Outcome,
) -> anyhow::Result<Judged> {
    let found = watched.seen.differs_from(&bare.seen);
    // Where the very first writes of the recording fail, it may begin after the run.
    let may_be_empty = plan.writes.as_deref().is_some_and(|writes| writes.starts_with("1:"));
    let is_missing = !watched.is_recorded && !may_be_empty;
    let found = found.or(is_missing.then(|| "nothing was recorded".to_owned()));
    let Some(found) = found else { return Ok(Judged::Same) };
    for _ in 1..BARE_RUNS {
        let again = running::once(tools, plan, folder, false)?;
        // Also when what was seen under leakline is something that a bare run has shown, too.
        if again.seen != bare.seen || watched.is_recorded && watched.seen.differs_from(&again.seen).is_none()
        {
            return Ok(Judged::Unstable(again.seen.differs_from(&bare.seen).unwrap_or(found)));
        }
    }
    Ok(Judged::Differs(found))
}

fn judge(options: &Options, tally: &Mutex<Tally>, plan: &Plan, watched: &Outcome, judged: Judged) {
    let mut tally = lock(tally);
    tally.runs += usize::from(options.repeat.is_none());
    match judged {
        Judged::Unstable(ref what) => {
            tally.unstable += 1;
            println!("unstable, {}, run {}: {what}", plan.host.name(), plan.seed);
        }
        Judged::Same | Judged::Differs(_) => {
            tally.faults += plan.planned() + watched.injected;
            *tally.hosts.entry(plan.host.name()).or_default() += 1;
            for kind in plan.kinds() {
                *tally.kinds.entry(kind.to_owned()).or_default() += 1;
            }
            *tally.kinds.entry("from outside".to_owned()).or_default() += watched.injected;
        }
    }
    if let Judged::Differs(what) = judged {
        tally.hangs += usize::from(watched.seen.hangs());
        let (seed, each) = (plan.seed, options.each);
        let line = format!(
            "{}: {what}\n  again: cargo xtask faults --each {each} --repeat {seed}",
            plan.host.name()
        );
        println!("differs: {line}");
        tally.differences.push(line);
    }
    let tenths = tally.faults * 10 / options.count.max(1);
    if tenths > tally.said {
        tally.said = tenths;
        println!(
            "{} faults in {} runs, {} differ, {} unstable",
            tally.faults,
            tally.runs,
            tally.differences.len(),
            tally.unstable
        );
    }
}

fn show(tally: &Tally, begun: Instant) {
    let hosts: Vec<String> = tally.hosts.iter().map(|(host, runs)| format!("{host} {runs}")).collect();
    let kinds: Vec<String> = tally.kinds.iter().map(|(kind, faults)| format!("{kind} {faults}")).collect();
    println!(
        "{} faults in {} runs of {:.0} s: {} differ, {} of them hang; {} were unstable without leakline and do not count",
        tally.faults,
        tally.runs,
        begun.elapsed().as_secs_f64(),
        tally.differences.len(),
        tally.hangs,
        tally.unstable
    );
    println!("  runs by host: {}", hosts.join(", "));
    println!("  faults by kind: {}", kinds.join(", "));
}

fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
