//! The heap as a program's global allocator: a process of its own, because a program has only one.

use std::sync::atomic::{AtomicBool, Ordering};

use leakline_probing::heap::OwnHeap;

#[global_allocator]
static HEAP: OwnHeap = OwnHeap;

#[test]
fn what_is_held_is_counted_and_given_back() {
    let before = OwnHeap::held_bytes();
    let block = vec![1_u8; 10_000_000];
    assert!(OwnHeap::held_bytes() >= before + 9_000_000, "the other test holds some, too");
    drop(block);
    assert!(OwnHeap::held_bytes() < before + 5_000_000);
    assert!(OwnHeap::peak_bytes() >= before + 9_000_000, "the other test holds some, too");
}

/// A child inherits the heap's lock in whatever state a busy thread had it.
#[test]
fn a_child_that_is_forked_while_another_thread_allocates_can_allocate() {
    OwnHeap::survive_forks();
    static DONE: AtomicBool = AtomicBool::new(false);
    let busy = std::thread::Builder::new()
        .name("busy".into())
        .spawn(|| {
            let mut kept = Vec::new();
            while !DONE.load(Ordering::Relaxed) {
                kept.push(Box::new([0_u8; 100]));
                if kept.len() > 1000 {
                    kept.clear();
                }
            }
        })
        .unwrap();
    for _ in 0..200 {
        // SAFETY: the child only allocates from the heap under test and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let block = std::hint::black_box(vec![7_u8; 1000]);
            // SAFETY: ends the child at once; an alarm would have ended it if it had hung.
            unsafe { libc::_exit(i32::from(block[999] != 7)) };
        }
        assert!(child > 0);
        let mut status = -1;
        // SAFETY: `child` is our own, and `status` ours to write.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(status, 0);
    }
    DONE.store(true, Ordering::Relaxed);
    busy.join().unwrap();
}
