//! What leakline itself holds does not grow with what the host does: code that is generated and dropped, call paths
//! without end. The host keeps nothing, so nothing leaks.

use std::sync::Arc;
use std::time::Duration;

use leakline_core::{Layer, Snapshot, Subject, Verdict};
use leakline_proto::Event;
use leakline_tests::{Host, Outcome, venv_python};

/// The default of `own.max_bytes`.
const MOST: u64 = 16 << 20;

/// Runs `script` with so many samples that each piece of code it makes has some, which compresses minutes into seconds,
/// and checks what leakline holds, and that nothing is said to leak.
fn check(name: &str, script: &str) {
    let command = [venv_python().into_os_string(), "-c".into(), script.into()];
    let host = Host::new(command)
        .options(["--interval", "200ms"])
        .variable("LEAKLINE_PYTHON_SAMPLE_BYTES", "1KiB")
        .longer_by(Duration::from_secs(120));
    let outcome = host.run().succeeded();
    let held: Vec<u64> = outcome.snapshots().iter().filter_map(|snapshot| snapshot.own.held_bytes).collect();
    let count = held.len();
    assert!(count >= 10, "{name}: {count} snapshots; {}", outcome.stderr);
    let most = |range: std::ops::Range<usize>| held[range].iter().copied().max().unwrap_or(0);
    assert!(most(0..count) <= MOST, "{name}: {held:?}");
    // It fills what it may fill early on, and then goes up and down.
    let (before, after) = (most(count / 3..2 * count / 3), most(2 * count / 3..count));
    assert!(after <= before + (2 << 20), "{name}: {before}, later {after}: {held:?}");
    let leaking: Vec<Verdict> =
        verdicts(&outcome).into_iter().filter(|verdict| verdict.kind.leaks()).collect();
    assert!(leaking.is_empty(), "{name}: {leaking:?}");
    let snapshots = outcome.snapshots();
    let python = snapshots.iter().filter_map(samples).max();
    assert!(python.is_some_and(|samples| samples > 100), "{name}: Python was sampled: {python:?}");
}

/// The last ones about whole layers.
fn verdicts(outcome: &Outcome) -> Vec<Verdict> {
    let last = outcome.events().into_iter().rev().find_map(|event| match event {
        Event::Snapshot { verdicts, .. } => Some(verdicts),
        _ => None,
    });
    let mut last = last.expect("a snapshot");
    last.retain(|verdict| matches!(&verdict.subject, Subject::Layer(Layer::Process | Layer::Python)));
    last
}

fn samples(snapshot: &Arc<Snapshot>) -> Option<u64> {
    snapshot.gauge(leakline_core::names::PYTHON_SAMPLES).map(|samples| samples as u64)
}

/// A template engine: every rendering is code of its own, with a file name of its own.
#[test]
fn code_that_is_generated_and_dropped() {
    check(
        "exec",
        r#"
import time
end = time.time() + 15; n = 0
while time.time() < end:
    ns = {}
    text = f"def render_{n}():\n" + "\n" * (n % 50) + f"    return [bytearray(3000) for _ in range(5)]\nx = render_{n}()\n"
    exec(compile(text, f"<template {n}>", "exec"), ns)
    n += 1
"#,
    );
}

/// Ordinary recursive code: the ways through three functions are as many as powers of three.
#[test]
fn call_paths_without_end() {
    check(
        "recursion",
        r#"
import random, time
def a(n): return random.choice(ways)(n - 1) if n else bytearray(3000)
def b(n): return random.choice(ways)(n - 1) if n else bytearray(3000)
def c(n): return random.choice(ways)(n - 1) if n else bytearray(3000)
ways = [a, b, c]
held = [None] * 500
end = time.time() + 15; n = 0
while time.time() < end:
    held[n % 500] = a(random.randrange(5, 60))
    n += 1
"#,
    );
}
