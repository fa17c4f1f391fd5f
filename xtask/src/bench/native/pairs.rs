//! What a pair of malloc and free takes under each tracer, and what one sample takes.

use anyhow::Context as _;

use super::super::{keep, median};
use super::running::{Program, Running};
use super::variants::{ALL, Variant};
use super::{compiled, spread};

/// Sizes of the blocks, and pairs in a turn of about 50 ms without a tracer.
struct Mix {
    name: &'static str,
    smallest: u64,
    largest: u64,
    pairs: u64,
    /// Most that sampling at 512 KiB may cost.
    limit: Option<f64>,
}

const MIXES: &[Mix] = &[
    Mix { name: "16–527 bytes", smallest: 16, largest: 527, pairs: 2_500_000, limit: Some(1.12) },
    Mix { name: "16 bytes–8 KiB", smallest: 16, largest: 8192, pairs: 350_000, limit: Some(1.08) },
    Mix { name: "64 bytes", smallest: 64, largest: 64, pairs: 5_000_000, limit: None },
];

/// glibc leaves out its locks as long as a process has one thread. A host of two runtimes never has, and none that has
/// leakline's own threads beside; so both are told.
const IDLE: &[(u32, &str)] = &[(0, "one thread"), (1, "another thread sleeps")];

const PAIRS: usize = 11;
const TURNS: usize = 21;
const SLOW_PAIRS: usize = 10;
const SLOW_TURNS: usize = 3;
/// Pairs of malloc and free, where a tracer takes a multiple of the time.
const SLOW_SHARE: u64 = 20;

/// What two programs took beside each other.
struct Pair {
    base: f64,
    traced: f64,
    ratio: f64,
}

/// Every tracer on every mix, beside the limits.
pub(super) fn run(smoke: bool) -> anyhow::Result<()> {
    for (idle, threads) in IDLE {
        for mix in MIXES.iter().take(if smoke { 1 } else { MIXES.len() }) {
            println!(
                "malloc and free, {}, {threads}: processor time, in times that without a tracer",
                mix.name
            );
            for variant in ALL.iter().filter(|variant| variant.is_own() || (!smoke && *idle == 0)) {
                match variant.missing() {
                    Some(why) => println!("  {}: {why}", variant.name()),
                    None => measure(mix, *idle, *variant, smoke)?,
                }
            }
        }
    }
    Ok(())
}

fn measure(mix: &Mix, idle: u32, variant: Variant, smoke: bool) -> anyhow::Result<()> {
    let (pairs, turns, share) = match (smoke, variant.is_slow()) {
        (true, _) => (1, 1, 1),
        (false, true) => (SLOW_PAIRS, SLOW_TURNS, SLOW_SHARE),
        (false, false) => (PAIRS, TURNS, 1),
    };
    let program = program(mix, idle, mix.pairs / share)?;
    let found = (0..pairs).map(|_| pair(variant, &program, turns)).collect::<anyhow::Result<Vec<_>>>()?;
    let of = |figure: fn(&Pair) -> f64| found.iter().map(figure).collect::<Vec<_>>();
    let ratios = of(|pair| pair.ratio);
    let (base, traced) = (median(of(|pair| pair.base)), median(of(|pair| pair.traced)));
    let name = format!("  {}, {base:.1} → {traced:.1} ns, {}", variant.name(), spread(&ratios));
    match mix.limit.filter(|_| variant == Variant::Sampling("512KiB")) {
        Some(limit) => keep(&name, median(ratios), limit, "times"),
        None => println!("{name:<58}{:>9.3} times", median(ratios)),
    }
    Ok(())
}

/// One run beside one without the tracer: they take turns, and alternate in who is first.
fn pair(variant: Variant, program: &Program, turns: usize) -> anyhow::Result<Pair> {
    let mut base = Running::start(variant.base(), program)?;
    let mut traced = Running::start(variant, program)?;
    let (mut bases, mut traceds, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..turns {
        let (base, traced) = if turn % 2 == 0 {
            (base.answer(program)?, traced.answer(program)?)
        } else {
            let traced = traced.answer(program)?;
            (base.answer(program)?, traced)
        };
        bases.push(base);
        traceds.push(traced);
        ratios.push(traced / base);
    }
    base.end()?;
    traced.end()?;
    Ok(Pair { base: median(bases), traced: median(traceds), ratio: median(ratios) })
}

fn program(mix: &Mix, idle: u32, pairs: u64) -> anyhow::Result<Program> {
    Ok(Program {
        name: "pairs",
        file: compiled("pairs", &["-pthread"])?,
        arguments: [mix.smallest, mix.largest, pairs, idle.into()].map(|number| number.to_string()).to_vec(),
        greeting: String::new(),
        turn: "\n".to_owned(),
    })
}

/// What a sample with a stack of forty frames takes: the same program with many samples and with almost none.
pub(super) fn sample(smoke: bool) -> anyhow::Result<()> {
    let mix = MIXES.first().context("no mix of sizes")?;
    let program = program(mix, 1, mix.pairs)?;
    let (rarely, often) = (Variant::Sampling("1GiB"), Variant::Sampling("8KiB"));
    let samples_per_pair = (mix.smallest + mix.largest) as f64 / 2.0 / 8192.0;
    let mut costs = Vec::new();
    for _ in 0..if smoke { 1 } else { PAIRS } {
        let mut with = Running::start(often, &program)?;
        let mut without = Running::start(rarely, &program)?;
        let mut differences = Vec::new();
        for _ in 0..if smoke { 1 } else { 5 } {
            differences.push(with.answer(&program)? - without.answer(&program)?);
        }
        with.end()?;
        without.end()?;
        costs.push(median(differences) / samples_per_pair / 1e3);
    }
    keep("a warm sample below forty frames, its free included", median(costs), 1.5, "µs");
    Ok(())
}
