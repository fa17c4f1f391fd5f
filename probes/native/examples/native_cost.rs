//! Prints what a reading costs in this process, also when it has many mappings:
//! `cargo run --release -p leakline-native --example native_cost`.

#![expect(clippy::unwrap_used, reason = "shares the tests' support code")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use leakline_core::{Clock, Probe, names};
use leakline_native::{NativeOptions, NativeProbe, ProcessOptions, ProcessProbe};
use support::{Driven, MachineClock, value};

fn main() {
    let clock = MachineClock::new();
    measure(
        "process",
        Driven::new(clock.clone(), ProcessProbe::new(clock.clone(), ProcessOptions::default())),
    );
    measure("native", Driven::new(clock.clone(), NativeProbe::new(clock.clone(), NativeOptions::default())));
    measure_map(&clock, "as it is");
    add_mappings(2000);
    measure_map(&clock, "2,000 more");
    add_mappings(28_000);
    measure_map(&clock, "30,000 more");
    vec![1_u8; 1 << 30].leak();
    measure_map(&clock, "and 1 GiB");
}

/// Splits memory into `count` mappings.
fn add_mappings(count: usize) {
    const PAGE: usize = 4096;
    let block = vec![1_u8; (count + 2) * PAGE].leak();
    let first = (block.as_ptr() as usize).next_multiple_of(PAGE);
    for page in (0..count).step_by(2) {
        let place = (first + page * PAGE) as *mut libc::c_void;
        // SAFETY: the pages are this function's own, and nobody writes to them any more.
        assert_eq!(unsafe { libc::mprotect(place, PAGE, libc::PROT_READ) }, 0);
    }
}

/// The pieces in which one whole map is read, longest first, and what a tick takes that reads none.
fn measure_map(clock: &Arc<MachineClock>, what: &str) {
    let mut longest = Vec::new();
    let mut counts = Vec::new();
    let mut mappings = 0;
    let mut ticks = Vec::new();
    for _ in 0..21 {
        let probe = ProcessProbe::new(clock.clone(), ProcessOptions::default());
        let mut probe = Driven::new(clock.clone(), probe);
        probe.attach();
        let mut pieces = Vec::new();
        loop {
            drop(probe.gauges());
            let started = worked(clock);
            let details = probe.details();
            pieces.push(worked(clock).saturating_sub(started));
            if let Some(count) = value(&details.gauges, names::MAPPINGS) {
                mappings = count;
                break;
            }
        }
        counts.push(pieces.len());
        longest.push(pieces.iter().max().copied().unwrap_or_default());
        let started = worked(clock);
        drop((probe.gauges(), probe.details()));
        ticks.push(worked(clock).saturating_sub(started));
    }
    longest.sort_unstable();
    ticks.sort_unstable();
    let text = format!(
        "{what}: {mappings} mappings, {:?} pieces, longest {:.1?} (most {:.1?}), with the proportional size; a tick \
         after it {:.1?} (most {:.1?})\n",
        counts.iter().max(),
        longest.get(10).copied().unwrap_or_default(),
        longest.last().copied().unwrap_or_default(),
        ticks.get(10).copied().unwrap_or_default(),
        ticks.last().copied().unwrap_or_default(),
    );
    std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()).unwrap_or_default();
}

/// CPU time: others may run on the machine meanwhile.
fn worked(clock: &Arc<MachineClock>) -> Duration {
    clock.thread_cpu().unwrap_or_default()
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
