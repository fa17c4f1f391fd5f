//! Real programs under the tracers, as ratios to the same program without any: sqlite3's shell, numpy, a JVM with JNI.
//! Processor time is of all threads, leakline's included; starting and ending are not measured here.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use super::super::python::interpreters;
use super::super::{keep, median};
use super::running::{Program, Running, Took};
use super::variants::{Variant, in_path};
use super::{compiled, folder, spread};
use crate::hosts::java_home;
use crate::process::{root, run as run_program};

/// Gauges hook nothing: what they cost is the C library's price for a second thread, and the readings.
const VARIANTS: &[Variant] =
    &[Variant::Plain, Variant::Gauges, Variant::Sampling("512KiB"), Variant::Heaptrack];
/// Most that sampling may cost, in processor time.
const LIMIT: f64 = 1.01;

const PAIRS: usize = 10;
const TURNS: usize = 21;
const SLOW_PAIRS: usize = 3;
const SLOW_TURNS: usize = 5;

/// A program, or why it is not there.
type Found = anyhow::Result<Program>;

pub(super) fn run(smoke: bool) -> anyhow::Result<()> {
    for (name, program) in [("sqlite3", sqlite()), ("numpy", numpy(smoke)), ("JVM with JNI", jvm())] {
        let program = match program {
            Ok(program) => program,
            Err(why) => {
                println!("{name} is left out: {why:#}");
                continue;
            }
        };
        println!("{name}: processor and wall time, as a multiple of the same without a tracer");
        for variant in VARIANTS.iter().filter(|variant| !smoke || matches!(variant, Variant::Sampling(_))) {
            match variant.missing() {
                Some(why) => println!("  {}: {why}", variant.name()),
                None => measure(&program, *variant, smoke)?,
            }
        }
    }
    Ok(())
}

fn measure(program: &Program, variant: Variant, smoke: bool) -> anyhow::Result<()> {
    let (pairs, turns) = match (smoke, variant.is_slow()) {
        (true, _) => (1, 1),
        (false, true) => (SLOW_PAIRS, SLOW_TURNS),
        (false, false) => (PAIRS, TURNS),
    };
    let (mut cpu, mut wall) = (Vec::new(), Vec::new());
    for _ in 0..pairs {
        let (one_cpu, one_wall) = pair(variant, program, turns)?;
        cpu.push(one_cpu);
        wall.push(one_wall);
    }
    let name = format!("  {}, processor, {pairs} pairs, {}", variant.name(), spread(&cpu));
    match variant {
        Variant::Sampling(_) => keep(&name, median(cpu), LIMIT, "times"),
        _ => println!("{name:<58}{:>9.3} times", median(cpu)),
    }
    println!("{:<58}{:>9.3} times", format!("    wall, {}", spread(&wall)), median(wall));
    Ok(())
}

/// One run beside one without the tracer: they take turns, and alternate in who is first.
fn pair(variant: Variant, program: &Program, turns: usize) -> anyhow::Result<(f64, f64)> {
    let mut base = Running::start(Variant::Plain, program)?;
    let mut traced = Running::start(variant, program)?;
    let (mut cpu, mut wall) = (Vec::new(), Vec::new());
    for turn in 0..turns {
        let (base, traced): (Took, Took) = if turn % 2 == 0 {
            (base.turn(program)?, traced.turn(program)?)
        } else {
            let traced = traced.turn(program)?;
            (base.turn(program)?, traced)
        };
        cpu.push(traced.cpu / base.cpu);
        wall.push(traced.wall / base.wall);
    }
    base.end()?;
    traced.end()?;
    Ok((median(cpu), median(wall)))
}

fn sqlite() -> Found {
    let file = in_path("sqlite3").context("not installed: apt-get install sqlite3")?;
    let turn = format!(".read {}\n.print done\n", root().join("xtask/src/bench/native/bulk.sql").display());
    // The shell has no clock of its own to wait by.
    let wait = ".shell sleep \"$((${BENCH_WAIT:-0} / 1000))\"\n";
    let greeting = format!("{wait}{turn}.print ready\n");
    Ok(Program { name: "sqlite3", file, arguments: vec![":memory:".to_owned()], greeting, turn })
}

fn numpy(smoke: bool) -> Found {
    let file = interpreters::with_numpy(!smoke)?;
    let script = root().join("xtask/src/bench/native/matrices.py").display().to_string();
    Ok(Program {
        name: "numpy",
        file,
        arguments: vec![script, "8".to_owned()],
        greeting: String::new(),
        turn: "\n".to_owned(),
    })
}

fn jvm() -> Found {
    let home = java_home()?;
    let include = home.join("include");
    let how = [
        "-shared".into(),
        "-fPIC".into(),
        format!("-I{}", include.display()),
        format!("-I{}", include.join("linux").display()),
    ];
    let library = compiled("codec", &how.each_ref().map(String::as_str))?;
    let classes: PathBuf = folder()?.join("classes");
    let mut javac = Command::new(home.join("bin/javac"));
    javac.args(["--release", "11", "-Xlint:all,-options", "-Werror", "-d"]).arg(&classes);
    run_program(javac.arg(root().join("xtask/src/bench/native/Codec.java")))?;
    // The same number of threads in both, and no work of the collector's beside.
    let options = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:-UseDynamicNumberOfCompilerThreads", "-cp"];
    let mut arguments: Vec<String> = options.map(str::to_owned).to_vec();
    arguments.extend([
        classes.display().to_string(),
        "Codec".to_owned(),
        library.display().to_string(),
        "2500".to_owned(),
    ]);
    Ok(Program {
        name: "JVM",
        file: home.join("bin/java"),
        arguments,
        greeting: String::new(),
        turn: "\n".to_owned(),
    })
}
