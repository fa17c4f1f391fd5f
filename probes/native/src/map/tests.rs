use std::sync::atomic::{AtomicU64, Ordering};

use leakline_core::Timestamp;

use super::*;

/// Moves only when it is told to; work costs what `cost` says at each look.
#[derive(Debug, Default)]
struct HandClock {
    nanos: AtomicU64,
    cost: AtomicU64,
}

#[async_trait::async_trait]
impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        let nanos = self.nanos.load(Ordering::Relaxed);
        Timestamp { unix_nanos: nanos, boot_nanos: nanos }
    }

    async fn sleep_until(&self, _: u64) {}

    fn thread_cpu(&self) -> Option<Duration> {
        let cost = self.cost.load(Ordering::Relaxed);
        Some(Duration::from_nanos(self.nanos.fetch_add(cost, Ordering::Relaxed)))
    }
}

const MS: Duration = Duration::from_millis(1);
const SIZE: Size = Size { resident: 100 << 20, unbacked: 50 << 20 };

fn map() -> Map {
    Map::new(&Target::Own, MS, 1000, 20 * MS)
}

fn value(seen: &Seen, name: &str) -> f64 {
    seen.gauges.iter().find(|gauge| gauge.name == name).map(|gauge| gauge.value).unwrap()
}

/// Anonymous bytes of `smaps_rollup`.
fn kernels() -> f64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}

/// Other tests of this program run meanwhile, so that a figure of one instant may be another's of the next.
fn check_against_the_kernel(mut map: Map) {
    let held = vec![1_u8; 20 << 20];
    let close = (0..50).any(|_| {
        let (before, seen, after) = (kernels(), map.tick(&HandClock::default(), SIZE), kernels());
        let sum = value(&seen, names::MAP_ANONYMOUS);
        sum >= 20e6 && sum >= before.min(after) - 65_536.0 && sum <= before.max(after) + 65_536.0
    });
    drop(held);
    assert!(close, "the map's sum is the kernel's");
}

#[test]
fn the_sum_is_the_kernels() {
    check_against_the_kernel(map());
    let mut by_smaps = map();
    by_smaps.has_scan = Some(false);
    check_against_the_kernel(by_smaps);
}

#[test]
fn a_map_beyond_its_budget_is_read_over_several_ticks_and_says_so() {
    let clock = HandClock::default();
    // Each look at the clock says that 30 ms passed.
    clock.cost.store(30_000_000, Ordering::Relaxed);
    let mut map = map();
    let first = map.tick(&clock, SIZE);
    assert!(first.gauges.is_empty());
    assert!(first.note.unwrap().contains("pieces of it read so far"));
    let done = (0..10_000).map(|_| map.tick(&clock, SIZE)).find(|seen| !seen.gauges.is_empty()).unwrap();
    assert!(value(&done, names::MAP_ANONYMOUS) > 0.0 && value(&done, names::MAPPINGS) > 10.0);
}

#[test]
fn a_slow_map_is_read_again_when_memory_moved_or_it_is_old() {
    let clock = HandClock::default();
    let mut map = map();
    let mut ages = Vec::new();
    let mut tick = |size: Size, cost: u64, wait: u64| {
        clock.cost.store(cost, Ordering::Relaxed);
        clock.nanos.fetch_add(wait, Ordering::Relaxed);
        let seen = map.tick(&clock, size);
        ages.push(seen.gauges.iter().find(|gauge| gauge.name == names::MAP_AGE).map(|gauge| gauge.value));
    };
    let moved = Size { unbacked: SIZE.unbacked + (5 << 20), ..SIZE };
    let hour = 3_600_000_000_000;
    tick(SIZE, 1_000_000, 0);
    tick(SIZE, 0, hour);
    tick(moved, 1_000_000, 1);
    tick(moved, 1_000_000, hour);
    for _ in 1..OLDEST_TICKS {
        tick(moved, 1_000_000, hour);
    }
    let is_fresh: Vec<bool> = ages.iter().map(|age| *age == Some(0.0)).collect();
    assert_eq!(is_fresh[..4], [true, false, true, false]);
    assert!(is_fresh[4..is_fresh.len() - 1].iter().all(|fresh| !fresh), "{ages:?}");
    assert_eq!(is_fresh.last(), Some(&true));
}
