//! What the probes say equals what the kernel and malloc say, in one process whose memory the tests move by hand.

#![expect(clippy::unwrap_used, reason = "test code, though clippy does not see it in helpers")]

mod support;

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use leakline_core::{Attachment, conformance, names};
use leakline_native::{NativeOptions, NativeProbe, ProcessOptions, ProcessProbe};
use support::{Driven, MachineClock, value};

const MB: u64 = 1_000_000;

/// The tests of this file move the memory of one process: one at a time.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> impl Drop {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn process() -> Driven<ProcessProbe> {
    let clock = MachineClock::new();
    let mut driven = Driven::new(clock.clone(), ProcessProbe::new(clock, ProcessOptions::default()));
    assert!(matches!(driven.attach(), Attachment::Attached(_)));
    driven
}

fn native() -> Driven<NativeProbe> {
    let clock = MachineClock::new();
    let mut driven = Driven::new(clock.clone(), NativeProbe::new(clock, NativeOptions::default()));
    assert!(matches!(driven.attach(), Attachment::Attached(_)));
    driven
}

fn wait(clock: &MachineClock, time: Duration) {
    clock.waited_nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap(), Ordering::Relaxed);
}

fn kernel(file: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/self/{file}")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn the_process_gauges_are_the_kernels_own() {
    let _turn = turn();
    let mut process = process();
    for (name, key) in [
        (names::RESIDENT, "VmRSS"),
        (names::ANONYMOUS, "RssAnon"),
        (names::FILE_BACKED, "RssFile"),
        (names::SHARED, "RssShmem"),
        (names::SWAPPED, "VmSwap"),
        (names::RESIDENT_PEAK, "VmHWM"),
    ] {
        let found = value(&process.gauges().gauges, name).unwrap();
        let expected = kernel("status", key) * 1024;
        // Pages that this thread's own counting has touched meanwhile.
        assert!(found.abs_diff(expected) <= 256 * 1024, "{name}: {found} and {expected}");
    }
    assert_eq!(value(&process.gauges().gauges, names::THREADS), Some(kernel("status", "Threads")));

    let details = process.details();
    assert_eq!(details.notes, Vec::<String>::new());
    let proportional = value(&details.gauges, names::PROPORTIONAL).unwrap();
    assert!(proportional.abs_diff(kernel("smaps_rollup", "Pss") * 1024) <= 512 * 1024);
    assert_eq!(value(&details.gauges, leakline_native::SWAPPED_PROPORTIONAL), Some(0));
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64 - 1;
    assert_eq!(value(&process.details().gauges, names::DESCRIPTORS), Some(open));
}

#[test]
#[cfg(target_env = "gnu")]
fn the_malloc_gauges_are_mallinfo2s() {
    let _turn = turn();
    let mut native = native();
    let mut last = None;
    // The test harness allocates on other threads now and then.
    let equal = (0..100).any(|_| {
        let gauges = native.gauges().gauges;
        // SAFETY: takes nothing, and may be called at any time.
        let info = unsafe { libc::mallinfo2() };
        let found = [names::MALLOC_LIVE, names::MALLOC_FREE, names::MALLOC_MAPPED]
            .map(|name| value(&gauges, name).unwrap() as usize);
        let expected = [info.uordblks + info.hblkhd, info.fordblks, info.hblkhd];
        last = Some((found, expected));
        // The vector of gauges is live now and was not when malloc was asked.
        found[0].abs_diff(expected[0]) < 1024
            && found[1].abs_diff(expected[1]) < 1024
            && found[2] == expected[2]
    });
    assert!(equal, "{last:?}");
}

#[test]
fn malloc_shows_up_as_live_and_mmap_only_as_resident() {
    let _turn = turn();
    let (mut process, mut native) = (process(), native());
    let mut live = || value(&native.gauges().gauges, names::MALLOC_LIVE).unwrap() as i64;
    let mut resident = || value(&process.gauges().gauges, names::RESIDENT).unwrap() as i64;
    let close = |grown: i64, expected: u64| grown.abs_diff(expected as i64) < MB;
    let hundred = 100 * MB as usize;

    let before = (live(), resident());
    // SAFETY: plain allocation; freed below.
    let block = unsafe { libc::malloc(hundred) };
    assert!(!block.is_null());
    assert!(close(live() - before.0, 100 * MB));
    assert!(close(resident() - before.1, 0), "nothing was touched yet");
    // SAFETY: the block is that large.
    unsafe { libc::memset(block, 1, hundred) };
    assert!(close(resident() - before.1, 100 * MB));
    // SAFETY: it came from malloc and is not used again.
    unsafe { libc::free(block) };
    assert!(close(live() - before.0, 0));

    let before = (live(), resident());
    let (read_write, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, wherever the kernel likes.
    let mapping = unsafe { libc::mmap(std::ptr::null_mut(), hundred, read_write, private, -1, 0) };
    assert_ne!(mapping, libc::MAP_FAILED);
    // SAFETY: the mapping is that large.
    unsafe { libc::memset(mapping, 1, hundred) };
    assert!(close(live() - before.0, 0));
    assert!(close(resident() - before.1, 100 * MB));
    // SAFETY: it is this test's own and not used again.
    unsafe { libc::munmap(mapping, hundred) };
}

#[test]
#[cfg(target_env = "gnu")]
fn a_slow_malloc_is_asked_less_often_and_says_so() {
    let _turn = turn();
    let clock = MachineClock::new();
    let mut native = Driven::new(clock.clone(), NativeProbe::new(clock.clone(), NativeOptions::default()));
    assert!(matches!(native.attach(), Attachment::Attached(_)));
    assert_eq!(native.gauges().gauges.len(), 3);
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

    wait(&clock, stall * 10_000);
    assert!(native.gauges().gauges.is_empty(), "what is known to be slow is not for `gauges`");
    let details = native.details();
    assert_eq!(details.gauges.len(), 3);
    assert!(details.longest_stall > Duration::from_millis(1));

    for block in blocks.iter().skip(1).step_by(2) {
        // SAFETY: came from malloc above; not used again.
        unsafe { libc::free(*block) };
    }
    wait(&clock, stall * 20_000);
    native.gauges();
    assert_eq!(native.details().gauges.len(), 3);
    assert_eq!(native.gauges().gauges.len(), 3, "it is quick again, so it comes with the gauges");
}

#[test]
fn both_keep_what_every_probe_promises() {
    let _turn = turn();
    conformance::probe(|clock| Box::new(ProcessProbe::new(clock, ProcessOptions::default())));
    conformance::probe(|clock| Box::new(NativeProbe::new(clock, NativeOptions::default())));
}
