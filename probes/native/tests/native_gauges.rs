//! What the probes say equals what the kernel and malloc say, in a process that does nothing else.

#![expect(clippy::unwrap_used, reason = "test code, though clippy does not see it in helpers")]

mod support;

use std::sync::{Mutex, PoisonError};

use leakline_core::{Attachment, conformance, names};
use leakline_native::{NativeOptions, NativeProbe, ProcessOptions, ProcessProbe};
use support::{Driven, MachineClock, value};

/// The tests of this file compare two readings of one process: one at a time.
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
    // The files of /proc that the probe keeps open are not the host's.
    let own = leakline_core::own_descriptors().count() as u64;
    assert!(own >= 4, "{own}");
    assert_eq!(value(&process.details().gauges, names::DESCRIPTORS), Some(open - own));
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
fn both_keep_what_every_probe_promises() {
    let _turn = turn();
    conformance::probe(|clock| Box::new(ProcessProbe::new(clock, ProcessOptions::default())));
    conformance::probe(|clock| Box::new(NativeProbe::new(clock, NativeOptions::default())));
}

#[test]
fn what_leakline_mapped_is_its_own() {
    use leakline_probing::shared::{self, Sharing};
    let _turn = turn();
    for (sharing, name) in
        [(Sharing::Private, names::MAP_LEAKLINE), (Sharing::WithWatcher, names::MAP_LEAKLINE_SHARED)]
    {
        let read = || value(&process().details().gauges, name).unwrap_or(0);
        let before = read();
        let start = shared::map(8 << 20, sharing).unwrap();
        // SAFETY: within what was mapped, which is nobody else's.
        unsafe { start.as_ptr().write_bytes(1, 3 << 20) };
        // Other tests have tables of the hook's, which may grow by a page.
        assert!((3 << 20..(3 << 20) + 65_536).contains(&(read() - before)), "{name}");
    }
}
