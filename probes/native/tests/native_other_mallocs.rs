//! An allocator that stands before the C library's is asked through its own statistics.

#![expect(clippy::unwrap_used, reason = "test code, though clippy does not see it in helpers")]
#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod support;

use std::process::Command;

use leakline_core::names;
use leakline_native::{NativeOptions, NativeProbe};
use support::{Driven, MachineClock, value};

const CHILD: &str = "LEAKLINE_TEST_CHILD";

/// Runs the test of this name again with the library preloaded.
fn under(library: &str, test: &str) {
    let library = format!("/usr/lib/{}-linux-gnu/{library}", std::env::consts::ARCH);
    if !std::path::Path::new(&library).exists() {
        return eprintln!("skipped: no {library}");
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test]).env(CHILD, "1").env("LD_PRELOAD", &library);
    assert!(child.status().unwrap().success(), "{library}");
}

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

#[test]
fn the_gauges_follow_64_mib_within_5_percent() {
    if is_child() {
        return follow();
    }
    for library in ["libjemalloc.so.2", "libtcmalloc_minimal.so.4"] {
        under(library, "the_gauges_follow_64_mib_within_5_percent");
    }
}

#[test]
fn an_allocator_that_exports_no_count_is_named() {
    if !is_child() {
        return under("libmimalloc.so.2", "an_allocator_that_exports_no_count_is_named");
    }
    let clock = MachineClock::new();
    let mut probe = Driven::new(clock.clone(), NativeProbe::new(clock, NativeOptions::default()));
    probe.attach();
    assert_eq!(value(&probe.gauges().gauges, names::MALLOC_LIVE), None);
    let notes = probe.details().notes.join("; ");
    assert!(notes.contains("mimalloc"), "{notes}");
}

fn follow() {
    let clock = MachineClock::new();
    let mut probe = Driven::new(clock.clone(), NativeProbe::new(clock, NativeOptions::default()));
    probe.attach();
    // This program's own allocations are the other malloc's, whose locks are held when it asks for a mapping.
    let notes = probe.details().notes;
    assert!(notes.len() == 1 && notes[0].starts_with("no call paths of mappings: "), "{notes:?}");
    let mut live = || value(&probe.gauges().gauges, names::MALLOC_LIVE).unwrap() as f64;
    let before = live();
    let mut blocks: Vec<Vec<u8>> = (0..65_536).map(|_| vec![1; 1024]).collect();
    let full = live() - before;
    blocks.truncate(32_768);
    let half = live() - before;
    for (found, mebibytes) in [(full, 64.0), (half, 32.0)] {
        // The list of the blocks is live, too.
        let expected = mebibytes * 1_048_576.0 + 65_536.0 * 24.0;
        assert!((found / expected - 1.0).abs() < 0.05, "{found} and {expected}");
    }
}
