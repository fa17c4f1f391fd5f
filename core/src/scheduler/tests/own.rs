//! When the agent ends by itself, and what it says then.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use super::kit::{MINUTE, PATIENCE, Rig, eventually, options};
use crate::{Cause, Ending, Own, Record, SchedulerOptions};

fn mark(rig: &Rig) -> String {
    loop {
        if let Record::Mark(mark) = rig.record() {
            return mark.name;
        }
    }
}

#[test]
fn without_memory_it_says_so_in_the_recording_and_ends() {
    static OUT: AtomicBool = AtomicBool::new(false);
    let own = Own { held_bytes: || None, must_end: || OUT.load(SeqCst).then_some(Ending::OutOfMemory) };
    let rig = Rig::start_own(options(), own);
    assert_eq!(rig.snapshot().tick.cause, Cause::Baseline);
    assert_eq!(rig.handle.ended_by_itself(), None);
    OUT.store(true, SeqCst);
    assert_eq!(mark(&rig), "leakline ended: out of memory");
    eventually("it has ended", || rig.handle.ended_by_itself() == Some(Ending::OutOfMemory));
    assert!(rig.handle.stop(PATIENCE).clean);
    assert!(rig.handle.snapshot_now(PATIENCE).is_none());
}

#[test]
fn a_host_without_threads_of_its_own_gets_its_last_snapshot() {
    static OVER: AtomicBool = AtomicBool::new(false);
    let own = Own { held_bytes: || None, must_end: || OVER.load(SeqCst).then_some(Ending::HostOver) };
    let rig = Rig::start_own(options(), own);
    assert_eq!(rig.snapshot().tick.cause, Cause::Baseline);
    OVER.store(true, SeqCst);
    assert_eq!(rig.snapshot().tick.cause, Cause::Final);
    assert!(rig.handle.stop(PATIENCE).clean);
}

#[test]
fn one_that_holds_far_too_much_for_long_ends_and_a_moment_is_forgiven() {
    static HELD: AtomicU64 = AtomicU64::new(1000);
    let own = Own { held_bytes: || Some(HELD.load(SeqCst)), must_end: || None };
    let rig = Rig::start_own(SchedulerOptions { max_own_bytes: 1000, ..options() }, own);
    assert_eq!(rig.snapshot().tick.cause, Cause::Baseline);
    // Beyond, but not far: it sheds and goes on, whatever the time.
    HELD.store(1500, SeqCst);
    assert_eq!(rig.tick().tick.cause, Cause::Tick);
    assert_eq!(rig.tick().tick.cause, Cause::Tick);
    HELD.store(1501, SeqCst);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(rig.handle.ended_by_itself(), None);
    rig.clock.advance(MINUTE / 2);
    let told = mark(&rig);
    assert!(told.starts_with("leakline ended: leakline's own memory grew to 1501 bytes, of 1000"), "{told}");
    assert!(rig.handle.stop(PATIENCE).clean);
}
