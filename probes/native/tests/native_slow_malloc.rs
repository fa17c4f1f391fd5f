//! A malloc with so many free blocks that asking it takes long. Alone in its process, which is slow from then on.
#![cfg(target_env = "gnu")]
#![expect(clippy::unwrap_used, reason = "test code, though clippy does not see it in helpers")]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use leakline_core::{Attachment, Gauge, names};
use leakline_native::{NativeMode, NativeOptions, NativeProbe};
use support::{Driven, MachineClock, value};

const MB: u64 = 1_000_000;

#[test]
fn a_slow_malloc_is_asked_less_often_and_says_so() {
    let clock = MachineClock::new();
    // What samples are kept in would be counted, too.
    let options = NativeOptions { mode: NativeMode::Gauges, ..NativeOptions::default() };
    let mut native = Driven::new(clock.clone(), NativeProbe::new(clock.clone(), options));
    assert!(matches!(native.attach(), Attachment::Attached(_)));
    assert!(counts_blocks(&native.gauges().gauges));
    assert!(native.details().notes.is_empty());

    // Every second block is freed: 500,000 free blocks that cannot be merged, each too large for the caches.
    // SAFETY: plain allocations, freed below.
    let blocks: Vec<_> = (0..1_000_000).map(|_| unsafe { libc::malloc(2000) }).collect();
    for block in blocks.iter().step_by(2) {
        // SAFETY: came from malloc above; not used again.
        unsafe { libc::free(*block) };
    }

    let first = native.gauges();
    let (free, stall) = (value(&first.gauges, names::MALLOC_FREE).unwrap(), first.stall);
    assert!(free > 900 * MB, "{free}");
    assert!(stall > Duration::from_millis(1), "{stall:?}");
    let details = native.details();
    assert!(
        details.gauges.is_empty() && details.notes.is_empty(),
        "it was answered at this tick: {details:?}"
    );

    let next = native.gauges();
    assert!(next.gauges.is_empty(), "the last value is not repeated as if fresh");
    assert!(next.stall.is_zero());
    let details = native.details();
    assert!(details.gauges.is_empty());
    assert!(details.notes[0].contains("malloc not asked this tick: the last answer took"), "{details:?}");

    // Twice the rest, because the pace goes by CPU time and the stall by the wall.
    wait(&clock, stall * 20_000);
    assert!(native.gauges().gauges.is_empty(), "what is known to be slow is not for `gauges`");
    let details = native.details();
    assert!(counts_blocks(&details.gauges));
    assert!(details.longest_stall > Duration::from_millis(1));

    for block in blocks.iter().skip(1).step_by(2) {
        // SAFETY: came from malloc above; not used again.
        unsafe { libc::free(*block) };
    }
    wait(&clock, stall * 20_000);
    native.gauges();
    assert!(counts_blocks(&native.details().gauges));
    assert!(counts_blocks(&native.gauges().gauges), "it is quick again, so it comes with the gauges");
}

fn counts_blocks(gauges: &[Gauge]) -> bool {
    value(gauges, names::MALLOC_FREE).is_some()
}

fn wait(clock: &MachineClock, time: Duration) {
    clock.waited_nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap(), Ordering::Relaxed);
}
