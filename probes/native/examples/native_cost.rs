//! Prints what a reading costs in this process: `cargo run --release -p leakline-native --example native_cost`.

#![expect(clippy::unwrap_used, reason = "shares the tests' support code")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use leakline_core::{Probe, names};
use leakline_native::{NativeOptions, NativeProbe, ProcessOptions, ProcessProbe};
use support::{Driven, MachineClock, value};

fn main() {
    let clock = MachineClock::new();
    measure(
        "process",
        Driven::new(clock.clone(), ProcessProbe::new(clock.clone(), ProcessOptions::default())),
    );
    measure("native", Driven::new(clock.clone(), NativeProbe::new(clock, NativeOptions::default())));
}

fn measure<P: Probe>(name: &str, mut probe: Driven<P>) {
    probe.attach();
    let resident = value(&probe.gauges().gauges, names::RESIDENT);
    let gauges = median(|| drop(probe.gauges()));
    let details = median(|| drop(probe.details()));
    let times = format!(
        "{name}: gauges {gauges:.1?}, details {details:.1?} (medians of 2,001); resident {resident:?}\n"
    );
    std::io::Write::write_all(&mut std::io::stdout(), times.as_bytes()).unwrap_or_default();
}

fn median(mut read: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..2001)
        .map(|_| {
            let started = Instant::now();
            read();
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    times.get(1000).copied().unwrap_or_default()
}
