//! Memory that is moved by hand shows up where it belongs. Alone in its process, for anything else would show up too.

#![expect(clippy::unwrap_used, reason = "test code, though clippy does not see it in helpers")]

mod support;

use leakline_core::{Attachment, names};
use leakline_native::{NativeMode, NativeOptions, NativeProbe, ProcessOptions, ProcessProbe};
use support::{Driven, MachineClock, value};

const MB: u64 = 1_000_000;

#[test]
fn malloc_shows_up_as_live_and_mmap_only_as_resident() {
    let clock = MachineClock::new();
    let mut process = Driven::new(clock.clone(), ProcessProbe::new(clock.clone(), ProcessOptions::default()));
    assert!(matches!(process.attach(), Attachment::Attached(_)));
    assert!(process.details().notes.is_empty());
    // What samples are kept in would be counted, too.
    let options = NativeOptions { mode: NativeMode::Gauges, ..NativeOptions::default() };
    let mut native = Driven::new(clock.clone(), NativeProbe::new(clock, options));
    assert!(matches!(native.attach(), Attachment::Attached(_)));
    let mut live = || value(&native.gauges().gauges, names::MALLOC_LIVE).unwrap() as i64;
    let mut resident = || value(&process.gauges().gauges, names::RESIDENT).unwrap() as i64;
    let close = |grown: i64, expected: u64| grown.abs_diff(expected as i64) < MB;
    let hundred = 100 * MB as usize;

    let before = (live(), resident());
    // Compilers move malloc to where its block is used. SAFETY: plain allocation; freed below.
    let block = std::hint::black_box(unsafe { libc::malloc(hundred) });
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
