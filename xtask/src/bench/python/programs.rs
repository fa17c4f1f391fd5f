//! The programs' CPU time under each tracer, as ratios to the same program without any.

use super::super::{keep, median};
use super::interpreters::Interpreter;
use super::variants::{ALL, Variant};

/// What a turn takes without a tracer, in seconds, and how many a run has. Others use the machine, too, and what they do
/// changes within a second: so the two processes of a pair take turns that are short.
const TURN: f64 = 0.05;
const TURNS: usize = 21;
/// The same where tracers take a multiple of it.
const SLOW_TURNS: usize = 5;
const PAIRS: usize = 10;
const SLOW_PAIRS: usize = 3;

/// The programs, each with rounds that take some time but not long.
pub(super) const PROGRAMS: &[(&str, u64)] = &[("alloc", 500), ("mixed", 500), ("real", 200)];

/// How much of exact recording's cost beside tracemalloc's is allowed, both with ten frames.
const EXACT_SHARE: f64 = 0.15;

/// What a tracer cost in each of its runs.
struct Cost {
    variant: Variant,
    ratios: Vec<f64>,
}

impl Cost {
    fn median(&self) -> f64 {
        median(self.ratios.clone())
    }
}

/// Measures one program under every tracer that there is, and prints the figures beside their limits.
pub(super) fn run(python: &Interpreter, program: &str, first: u64, smoke: bool) -> anyhow::Result<()> {
    let mut alone = Variant::Off.start(python, program, first)?;
    let per_round = alone.seconds()? / first as f64;
    alone.end()?;
    let rounds = ((TURN / per_round) as u64).max(1);
    println!("{program}, CPython {}: CPU time, as a multiple of the same without a tracer", python.version);
    let mut costs = Vec::new();
    for variant in ALL {
        if matches!(variant, Variant::Memray { .. }) && !python.has_memray {
            println!("  {}: not installed, and left out", variant.name());
            continue;
        }
        let (pairs, turns) = match (smoke, variant.is_slow()) {
            (true, _) => (1, 1),
            (false, true) => (SLOW_PAIRS, SLOW_TURNS),
            (false, false) => (PAIRS, TURNS),
        };
        let rounds = if smoke { first.min(rounds) } else { rounds };
        let ratios = (0..pairs).map(|_| pair(*variant, python, program, rounds, turns));
        let cost = Cost { variant: *variant, ratios: ratios.collect::<anyhow::Result<_>>()? };
        show(&cost, program);
        costs.push(cost);
    }
    judge_exact(&costs);
    Ok(())
}

/// One run beside one without a tracer: they take turns, and alternate in who is first.
fn pair(
    variant: Variant,
    python: &Interpreter,
    program: &str,
    rounds: u64,
    turns: usize,
) -> anyhow::Result<f64> {
    let mut off = Variant::Off.start(python, program, rounds)?;
    let mut traced = variant.start(python, program, rounds)?;
    let mut ratios = Vec::new();
    for turn in 0..turns {
        let (off, traced) = if turn % 2 == 0 {
            (off.seconds()?, traced.seconds()?)
        } else {
            let traced = traced.seconds()?;
            (off.seconds()?, traced)
        };
        ratios.push(traced / off);
    }
    off.end()?;
    traced.end()?;
    Ok(median(ratios))
}

fn show(cost: &Cost, program: &str) {
    let name = format!("  {}, {} pairs, {}", cost.variant.name(), cost.ratios.len(), spread(&cost.ratios));
    match cost.variant.limit(program) {
        Some(limit) => keep(&name, cost.median(), limit, "times"),
        None => println!("{name:<58}{:>9.3} times", cost.median()),
    }
}

/// The middle half of all runs lies between these.
fn spread(ratios: &[f64]) -> String {
    let mut sorted = ratios.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: usize| sorted.get(sorted.len() * share / 4).copied().unwrap_or(f64::NAN);
    format!("{:.2}–{:.2}", at(1), at(3))
}

fn judge_exact(costs: &[Cost]) {
    let cost = |variant: Variant| costs.iter().find(|cost| cost.variant == variant).map(Cost::median);
    let Some(exact) = cost(Variant::Exact(10)) else { return };
    if let Some(tracemalloc) = cost(Variant::Tracemalloc(10)) {
        let share = (exact - 1.0) / (tracemalloc - 1.0);
        keep("  exact's extra cost beside tracemalloc's, 10 frames", share, EXACT_SHARE, "times");
    }
    if let Some(memray) = cost(Variant::Memray { python_allocators: true }) {
        keep("  exact beside memray with Python allocators", exact / memray, 1.0, "times");
    }
}
