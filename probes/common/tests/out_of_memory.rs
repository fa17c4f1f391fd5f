//! The heap at the process's memory limit, in a process of its own: the reserve serves, and a thread of ours ends without
//! taking the process along.

#![cfg(target_os = "linux")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use leakline_probing::heap::{self, OwnHeap};

#[global_allocator]
static HEAP: OwnHeap = OwnHeap;

static GAVE_BACK: AtomicBool = AtomicBool::new(false);
static GOT: AtomicUsize = AtomicUsize::new(0);

#[test]
fn at_the_limit_the_reserve_serves_and_then_a_thread_of_ours_ends_alone() {
    // SAFETY: the child makes a thread, waits for it, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let code = at_the_limit();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(code) };
    }
    let mut status = -1;
    // SAFETY: `child` is our own, and `status` ours to write.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert!(libc::WIFEXITED(status), "{status:#x}");
    assert_eq!(libc::WEXITSTATUS(status), 0);
}

fn at_the_limit() -> i32 {
    heap::before_thread_ends(|| GAVE_BACK.store(true, SeqCst));
    let greedy = std::thread::Builder::new().name("leakline-test".into()).spawn(|| {
        // What the process has, and not a byte more.
        let limit = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
        // SAFETY: the limit outlives the call.
        unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) };
        let mut kept = Vec::with_capacity(64);
        loop {
            kept.push(vec![1_u8; 100_000]);
            GOT.fetch_add(1, SeqCst);
            if kept.len() > 60 {
                break;
            }
        }
        std::mem::forget(kept);
    });
    let Ok(greedy) = greedy else { return 1 };
    let mut waited = 0;
    while !GAVE_BACK.load(SeqCst) {
        std::thread::sleep(Duration::from_millis(20));
        waited += 1;
        if waited > 500 {
            return 2;
        }
    }
    // The kernel wakes who joins; the thread left no result behind, which std reports as a panic of the join.
    std::mem::forget(greedy);
    if !heap::is_out_of_memory() {
        return 3;
    }
    // The reserve of 1 MiB served before: nine more blocks at least.
    if GOT.load(SeqCst) < 9 {
        return 4;
    }
    0
}
