//! What sampling Java's allocations costs: a program that works with text, one that allocates a gigabyte a second, and one
//! that allocates as fast as the machine can, each beside the same under leakline without that. Processor time of all
//! threads, leakline's included; a reading every second.

use super::super::native::{Program, Running, Variant};
use super::super::{keep, median};
use super::Java;

const WAYS: &[(&str, &str, &str, f64)] = &[
    ("text", "words", "1000", 1.02),
    ("1 GB/s", "steady", "300", 1.03),
    ("as much as it can", "fast", "2000", 1.03),
];
const PAIRS: usize = 10;
const TURNS: usize = 7;

pub(super) fn run(smoke: bool) -> anyhow::Result<()> {
    let java = Java::compiled("Allocating")?;
    let (pairs, turns) = if smoke { (1, 1) } else { (PAIRS, TURNS) };
    for (name, way, amount, limit) in WAYS {
        // The same number of threads in both.
        let options = ["-Xmx1g", "-XX:+UseParallelGC", "-XX:-UseDynamicNumberOfCompilerThreads", "-cp"];
        let mut arguments: Vec<String> = options.map(str::to_owned).to_vec();
        let classes = java.classes.display().to_string();
        arguments.extend([classes, "Allocating".into(), (*way).into(), (*amount).into()]);
        let program = Program {
            name: "Allocating",
            file: java.program("java"),
            arguments,
            greeting: String::new(),
            turn: "\n".to_owned(),
        };
        for variant in [Variant::JavaGauges, Variant::JavaSites] {
            let mut ratios = Vec::new();
            for _ in 0..pairs {
                ratios.push(pair(variant, &program, turns)?);
            }
            let (low, high) = ratios
                .iter()
                .fold((f64::MAX, 0.0_f64), |(low, high), ratio| (low.min(*ratio), high.max(*ratio)));
            let what = format!("{name}: {}, {pairs} pairs, {low:.2}–{high:.2}", variant.name());
            match variant {
                Variant::JavaGauges => println!("{what:<60}{:>7.3} times", median(ratios)),
                _ => keep(&what, median(ratios), *limit, "times"),
            }
        }
    }
    Ok(())
}

/// One run beside one without samples: they take turns, and alternate in who is first.
fn pair(variant: Variant, program: &Program, turns: usize) -> anyhow::Result<f64> {
    let mut base = Running::start(variant.base(), program)?;
    let mut watched = Running::start(variant, program)?;
    let mut ratios = Vec::new();
    for turn in 0..turns {
        let (base, watched) = if turn % 2 == 0 {
            (base.turn(program)?, watched.turn(program)?)
        } else {
            let watched = watched.turn(program)?;
            (base.turn(program)?, watched)
        };
        ratios.push(watched.cpu / base.cpu);
    }
    base.end()?;
    watched.end()?;
    Ok(median(ratios))
}
