//! Hosts in a state that few are in: a child after fork, and a process whose main thread has ended.

#![expect(clippy::unwrap_used, reason = "test code, though clippy does not see it in helpers")]

mod support;

use leakline_core::{Attachment, names};
use leakline_native::{ProcessOptions, ProcessProbe};
use support::{Driven, MachineClock, value};

/// Runs `check` in a forked child; whether it said yes.
fn in_child(check: impl FnOnce() -> bool) -> bool {
    // SAFETY: this test has a process of its own, and the child does nothing but read /proc and end.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let code = if check() { 0 } else { 1 };
        // SAFETY: ends the child without running the harness's exit handlers.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: waits for the child that was started above.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

extern "C" fn read_after_main_ended(main: *mut libc::c_void) -> *mut libc::c_void {
    // SAFETY: the main thread is joinable and joined once; it ends by pthread_exit.
    let _ = main;
    // The kernel lets go of the ended thread's memory a moment after the join.
    std::thread::sleep(std::time::Duration::from_millis(100));
    let clock = MachineClock::new();
    let mut process = Driven::new(clock.clone(), ProcessProbe::new(clock, ProcessOptions::default()));
    let attached = matches!(process.attach(), Attachment::Attached(_));
    let gauges = process.gauges().gauges;
    let details = process.details();
    let main_entry = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let sees = attached
        && main_entry.starts_with("0 0 0")
        && value(&gauges, names::RESIDENT).is_some_and(|bytes| bytes > 0)
        && value(&gauges, names::ANONYMOUS).is_some_and(|bytes| bytes > 0)
        && value(&details.gauges, names::PROPORTIONAL).is_some_and(|bytes| bytes > 0)
        && value(&details.gauges, names::DESCRIPTORS).is_some_and(|count| count >= 3);
    // SAFETY: ends the child at once.
    unsafe { libc::_exit(if sees { 0 } else { 1 }) };
}

#[test]
fn a_forked_child_reads_itself_and_a_process_is_read_after_its_main_thread_ended() {
    let clock = MachineClock::new();
    let mut process = Driven::new(clock.clone(), ProcessProbe::new(clock, ProcessOptions::default()));
    assert!(matches!(process.attach(), Attachment::Attached(_)));
    let parent = value(&process.gauges().gauges, names::RESIDENT).unwrap();
    assert!(in_child(move || {
        let grown = vec![1_u8; 50_000_000];
        let child = value(&process.gauges().gauges, names::RESIDENT).unwrap();
        let threads = value(&process.gauges().gauges, names::THREADS);
        grown[49_999_999] == 1 && child > parent + 20_000_000 && threads == Some(1)
    }));

    assert!(in_child(|| {
        let mut thread = std::mem::MaybeUninit::uninit();
        // SAFETY: the function is as pthread wants it, and needs no argument.
        let made = unsafe {
            libc::pthread_create(
                thread.as_mut_ptr(),
                std::ptr::null(),
                read_after_main_ended,
                std::ptr::null_mut(),
            )
        };
        assert_eq!(made, 0);
        // SAFETY: ends the child's main thread; the other one ends the child.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
        false
    }));
}
