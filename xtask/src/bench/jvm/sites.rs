//! What sampling Java's allocations costs: a program that works with text, one that allocates a gigabyte a second, and one
//! that allocates as fast as the machine can, each beside the same under leakline without that; and async-profiler's live
//! objects, beside the same without anything. Processor time of all threads, the tracer's included; a reading every second.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::super::native::{Program, Running, Variant, async_profiler};
use super::super::{keep, median};
use super::Java;
use crate::maven;
use crate::process::run as run_program;

/// What is measured: its name, the program's word for it, rounds or megabytes a turn, the limit.
struct Way {
    name: &'static str,
    word: &'static str,
    amount: u32,
    limit: f64,
}

/// Each pair is there for as long at least: at a reading every second, one that is shorter may have none of the JVM.
const SHORTEST: Duration = Duration::from_secs(4);
const PAIRS: usize = 6;
const TURNS: usize = 7;

/// A program that works with text.
pub(super) fn text(smoke: bool) -> anyhow::Result<()> {
    run(&Way { name: "text", word: "words", amount: 8000, limit: 1.02 }, smoke)
}

/// One that allocates a gigabyte a second, and does hardly anything else.
pub(super) fn steady(smoke: bool) -> anyhow::Result<()> {
    run(&Way { name: "1 GB/s", word: "steady", amount: 500, limit: 1.03 }, smoke)
}

/// One that allocates all the time.
pub(super) fn fast(smoke: bool) -> anyhow::Result<()> {
    run(&Way { name: "all it can", word: "fast", amount: 8000, limit: 1.03 }, smoke)
}

fn run(way: &Way, smoke: bool) -> anyhow::Result<()> {
    let java = Java::compiled("Allocating")?;
    let (pairs, turns) = if smoke { (1, 1) } else { (PAIRS, TURNS) };
    let amount = if smoke { way.amount / 8 } else { way.amount };
    let mut variants = vec![Variant::JavaGauges, Variant::JavaSites];
    if !smoke {
        match fetch_async_profiler(&java) {
            Ok(()) => variants.push(Variant::AsyncProfiler),
            Err(error) => println!("async-profiler cannot be had: {error:#}"),
        }
    }
    // The same number of threads in both.
    let options = ["-Xmx1g", "-XX:+UseParallelGC", "-XX:-UseDynamicNumberOfCompilerThreads", "-cp"];
    let mut arguments: Vec<String> = options.map(str::to_owned).to_vec();
    let classes = java.classes.display().to_string();
    arguments.extend([classes, "Allocating".into(), way.word.into(), amount.to_string()]);
    let program = Program {
        name: "Allocating",
        file: java.program("java"),
        arguments,
        greeting: String::new(),
        turn: "\n".to_owned(),
    };
    for variant in &variants {
        let (mut ratios, mut walls) = (Vec::new(), Vec::new());
        for _ in 0..pairs {
            let (ratio, wall) = pair(*variant, &program, turns)?;
            ratios.push(ratio);
            walls.push(wall);
        }
        if *variant == Variant::JavaGauges && way.word != "words" {
            let rate = f64::from(amount) / 1000.0 / median(walls);
            println!("{}: {rate:.1} GB a second without samples", way.name);
        }
        let (low, high) =
            ratios.iter().fold((f64::MAX, 0.0_f64), |(low, high), ratio| (low.min(*ratio), high.max(*ratio)));
        let what = format!("{}: {}, {pairs} pairs, {low:.2}–{high:.2}", way.name, variant.name());
        match variant {
            Variant::JavaSites => keep(&what, median(ratios), way.limit, "times"),
            _ => println!("{what:<76}{:>7.3} times", median(ratios)),
        }
    }
    Ok(())
}

/// Puts its library where it is looked for.
fn fetch_async_profiler(java: &Java) -> anyhow::Result<()> {
    let library = async_profiler();
    let jar = maven::ASYNC_PROFILER.file().map_err(anyhow::Error::msg)?;
    if library.is_file() {
        return Ok(());
    }
    let folder = library.parent().context("the library is in a folder")?;
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let inside = format!("linux-{arch}/libasyncProfiler.so");
    run_program(Command::new(java.program("jar")).current_dir(folder).arg("xf").arg(&jar).arg(&inside))?;
    fs::rename(folder.join(&inside), &library).context("cannot move async-profiler's library")
}

/// One run beside one without samples: they take turns, and alternate in who is first. The ratio of their processor time, and
/// how long a turn of the latter took, seconds.
fn pair(variant: Variant, program: &Program, turns: usize) -> anyhow::Result<(f64, f64)> {
    let begun = Instant::now();
    let mut base = Running::start(variant.base(), program)?;
    let mut watched = Running::start(variant, program)?;
    let (mut ratios, mut walls) = (Vec::new(), Vec::new());
    for turn in 0..turns {
        let (base, watched) = if turn % 2 == 0 {
            (base.turn(program)?, watched.turn(program)?)
        } else {
            let watched = watched.turn(program)?;
            (base.turn(program)?, watched)
        };
        ratios.push(watched.cpu / base.cpu);
        walls.push(base.wall);
    }
    std::thread::sleep(SHORTEST.saturating_sub(begun.elapsed()));
    base.end()?;
    watched.end()?;
    Ok((median(ratios), median(walls)))
}
