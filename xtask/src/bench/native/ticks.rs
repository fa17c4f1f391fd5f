//! What a tick's reading of malloc and of the process costs in processes that are hard to read.

use std::process::Command;

use super::super::{keep, median, recording, report};
use super::compiled;
use crate::dist;
use crate::process::run as run_program;

/// A process, and the most that a reading of it may take: usually, and when it reads the whole map.
struct Case {
    name: &'static str,
    mappings: u32,
    free_chunks: u32,
    usual: Option<f64>,
}

const CASES: &[Case] = &[
    Case { name: "a small process", mappings: 10, free_chunks: 10, usual: Some(2.0) },
    Case { name: "2,000 mappings", mappings: 2_000, free_chunks: 10, usual: Some(2.0) },
    Case { name: "30,000 mappings", mappings: 30_000, free_chunks: 10, usual: None },
    Case { name: "500,000 free chunks", mappings: 10, free_chunks: 500_000, usual: None },
];

/// Longest that one reading may take, in milliseconds: the whole map's.
const MOST: f64 = 20.0;
const PROBES: &[&str] = &["native", "process"];
/// Snapshots in which the process is still becoming what it is.
const WARM_UP: usize = 10;

pub(super) fn run(smoke: bool) -> anyhow::Result<()> {
    let cases = if smoke { CASES.get(1..2).unwrap_or(CASES) } else { CASES };
    for case in cases {
        measure(case, if smoke { "2" } else { "30" })?;
    }
    Ok(())
}

fn measure(case: &Case, seconds: &str) -> anyhow::Result<()> {
    let recording = recording("native-ticks")?;
    let mut watched = Command::new(dist::installed().join("bin/leakline"));
    watched.args(["run", "--quiet", "--interval", "100ms", "--native", "sampling", "-o"]).arg(&recording);
    watched.arg("--").arg(compiled("mapped", &[])?);
    watched.args([case.mappings.to_string(), case.free_chunks.to_string(), seconds.to_owned()]);
    run_program(watched.env("LEAKLINE_PYTHON_MODE", "off").env("LEAKLINE_JVM", "false"))?;
    let snapshots = report(&recording)?["snapshots"].as_array().cloned().unwrap_or_default();
    let costs = |field: &str, probes: &[&str]| -> Vec<f64> {
        let of = |snapshot: &serde_json::Value| {
            let costs = snapshot["costs"].as_array().into_iter().flatten();
            let wanted =
                costs.filter(|cost| cost["probe"].as_str().is_some_and(|probe| probes.contains(&probe)));
            wanted.filter_map(|cost| cost[field].as_f64()).sum::<f64>() * 1e3
        };
        snapshots.iter().skip(WARM_UP).map(of).collect()
    };
    let most = |figures: &[f64]| figures.iter().copied().fold(0.0, f64::max);
    let cpu = costs("cpu_seconds", PROBES);
    println!("a tick's reading of {}, {} readings", case.name, cpu.len());
    match case.usual {
        Some(limit) => keep("  processor time, median", median(cpu.clone()), limit, "ms"),
        None => println!("{:<58}{:>9.3} ms", "  processor time, median", median(cpu.clone())),
    }
    keep("  processor time, most", most(&cpu), MOST, "ms");
    for probe in PROBES {
        let (cpu, stall) = (costs("cpu_seconds", &[*probe]), costs("longest_stall_seconds", &[*probe]));
        println!("{:<58}{:>9.3} ms", format!("    {probe}: median"), median(cpu.clone()));
        println!("{:<58}{:>9.3} ms", format!("    {probe}: most"), most(&cpu));
        println!("{:<58}{:>9.3} ms", format!("    {probe}: longest stall of the host"), most(&stall));
    }
    Ok(())
}
