//! The corpus of leaking programs: runs them under leakline and holds what it says against the truth about each.
//! The truth stands in tests/leaks and is never changed to fit what leakline says.

mod check;
mod peers;
mod programs;
mod seed;
mod table;
mod truth;
mod watch;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};

use self::peers::{Peers, Tools};
use self::programs::Programs;
use self::seed::Parameters;
use self::table::Row;
use self::truth::Truth;
use crate::process::root;
use crate::{dist, hosts};

/// What is run, and how.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Only programs whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// What rate, noise and load are drawn from [default: the time]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Programs at a time; more than one share the machine, which is noise
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// How long each runs
    #[arg(long, value_name = "SECONDS", default_value_t = 12.0)]
    seconds: f64,
    /// Judges the recordings that an earlier run with the same `--seconds` left in FOLDER, and runs nothing
    #[arg(long, value_name = "FOLDER")]
    again: Option<PathBuf>,
    /// Without the other tools
    #[arg(long)]
    no_peers: bool,
    /// Only a few programs, judged by nobody: shows that the corpus works
    #[arg(long)]
    smoke: bool,
}

impl Options {
    /// What a test runs: a minute and a half.
    pub(crate) fn smoke() -> Self {
        Self { only: None, seed: Some(1), jobs: 2, seconds: 8.0, again: None, no_peers: true, smoke: true }
    }
}

/// Runs them and prints the table. An error when one could not be run, or the sums fall short of what they must be.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let begun = Instant::now();
    let programs = Programs::build(hosts::build()?)?;
    let is_run = options.again.is_none();
    let folder = options.again.clone().unwrap_or_else(|| dist::folder().join("corpus"));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut wanted = truth::read()?;
    wanted.retain(|truth| options.only.as_ref().is_none_or(|only| truth.name.contains(only.as_str())));
    wanted.retain(|truth| truth.smoke || !options.smoke);
    ensure!(!wanted.is_empty(), "no program's name contains {}", options.only.as_deref().unwrap_or_default());
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seed = options.seed.unwrap_or(time.as_secs());
    let from = if is_run { format!("seed {seed}") } else { format!("recordings in {}", folder.display()) };
    println!("{} programs of {} s each, {from}", wanted.len(), options.seconds);
    let has_peers = is_run && !options.no_peers;
    let tools = if has_peers { Tools::find(&programs, &wanted) } else { Tools::default() };
    table::head();
    let one = |truth: &Truth| {
        let parameters = Parameters::draw(truth, seed);
        // Peers keep their data under fixed names.
        let folder = folder.join(&truth.name);
        let outcome = fs::create_dir_all(&folder)
            .context("cannot make a folder")
            .and_then(|()| {
                if is_run {
                    watch::record(&programs, truth, &parameters, options.seconds, &folder)?;
                }
                watch::watch(truth, options.seconds, &folder, !is_run)
            })
            .map_err(|error| format!("{error:#}"));
        let peers = if has_peers {
            Peers::ask(&tools, &programs, truth, &parameters, &folder)
        } else {
            Peers::default()
        };
        (outcome, peers)
    };
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(truth) = wanted.get(index) else { return };
                    let (outcome, peers) = one(truth);
                    let row = Row { truth, outcome, peers };
                    table::line(&row);
                    if let Ok(mut done) = done.lock() {
                        done.insert(index, row);
                    }
                }
            });
        }
    });
    let rows: Vec<Row<'_>> = done.into_inner().unwrap_or_default().into_values().collect();
    let short = table::summary(&rows);
    println!(
        "{:.0} s with Python {}; recordings: {}",
        begun.elapsed().as_secs_f64(),
        programs.python().strip_prefix(root()).unwrap_or(programs.python()).display(),
        folder.display()
    );
    let failed = rows.iter().filter(|row| row.outcome.is_err()).count();
    ensure!(failed == 0, "{failed} programs could not be run");
    ensure!(options.smoke || short == 0, "{short} figures fall short");
    Ok(())
}
