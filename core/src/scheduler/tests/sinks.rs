//! Sinks that are slow, failing, panicking or never there; and what their queues lose.

use std::time::Duration;

use super::kit::{MINUTE, PATIENCE, Rig, Script, eventually, options, scripted_sink};
use crate::{Loss, Record, SchedulerOptions, SinkStats};

/// A queue of three snapshots and two marks, and a pause after failures that tests need not wait for.
fn small() -> SchedulerOptions {
    let failure_backoff_min = Duration::from_millis(1);
    SchedulerOptions { max_queue_snapshots: 3, max_queue_marks: 2, failure_backoff_min, ..options() }
}

/// What the `index`th sink took and lost of what was queued before.
fn stats(rig: &Rig, index: usize) -> SinkStats {
    assert!(rig.handle.flush(PATIENCE));
    rig.handle.fanout.stats()[index].clone()
}

/// The sink does what the letters of `open` and `deliver` say; four snapshots and a mark after the second are given to
/// it, and then it is closed. `expected` is what it saw, `lost` how many snapshots its queue counts as lost.
fn check(open: &str, deliver: &str, expected: &str, lost: u64) {
    let script = Script::new("sink", open, deliver);
    let rig = Rig::start(small(), &[], vec![scripted_sink(&script)]);
    for number in 0..4 {
        let snapshot = if number == 0 { rig.snapshot() } else { rig.tick() };
        assert_eq!(snapshot.number, number, "one sink's trouble is another's");
        assert!(rig.handle.flush(PATIENCE));
        if number == 1 {
            rig.handle.mark("mark");
            assert!(rig.handle.flush(PATIENCE));
        }
    }
    assert_eq!(rig.handle.fanout.stats()[0].lost.snapshots, lost, "open {open:?}, deliver {deliver:?}");
    assert!(rig.handle.stop(PATIENCE).clean);
    assert_eq!(script.log(), expected, "open {open:?}, deliver {deliver:?}");
}

#[test]
fn a_sink_gets_everything_in_order_and_is_closed() {
    check("", "", "open 0 1 mark 2 3 close", 0);
}

#[test]
fn a_record_that_a_sink_refuses_is_lost_and_the_sink_is_told() {
    check("", ".x", "open 0 lost:1 mark 2 3 close", 1);
    check("", "...x.", "open 0 1 mark lost:1 3 close", 1);
    check("", "..x", "open 0 1 lost:0 2 3 close", 0);
}

#[test]
fn word_of_a_loss_that_is_refused_is_told_again() {
    check("", ".xxx", "open 0 lost:1 mark 2 3 close", 1);
}

#[test]
fn a_sink_that_cannot_be_opened_yet_is_tried_again_and_loses_nothing() {
    check("xxx", "", "shut shut shut open 0 1 mark 2 3 close", 0);
}

#[test]
fn a_sink_whose_settings_can_never_work_is_not_tried_again() {
    check("m", "", "shut", 4);
}

#[test]
fn a_sink_that_panics_is_not_called_again_and_the_others_go_on() {
    check("p", "", "", 4);
    check("", ".p", "open 0", 3);
}

#[test]
fn a_slow_sink_loses_its_own_oldest_snapshots_and_is_told() {
    let (slow, fast) = (Script::new("slow", "", "h"), Script::new("fast", "", ""));
    let rig = Rig::start(small(), &[], vec![scripted_sink(&slow), scripted_sink(&fast)]);
    for number in 0..10 {
        let snapshot = if number == 0 { rig.snapshot() } else { rig.tick() };
        if number == 0 {
            // Snapshot 0 is with the sink; 1 to 9 come while it hangs.
            eventually("taken", || rig.handle.fanout.waiting() == 1);
        }
        for mark in ["a", "b", "c"] {
            let name = format!("{mark}{}", snapshot.number);
            rig.handle.mark(&name);
            eventually("taken", || fast.log().ends_with(&name));
        }
    }
    let lost = rig.handle.fanout.stats()[0].lost;
    assert_eq!(lost.snapshots, 6);
    assert!(lost.bytes > 6 * 300, "{lost:?}");
    assert!(rig.handle.fanout.stats()[0].held_bytes > 0);

    slow.release(1);
    assert!(rig.handle.flush(PATIENCE));
    assert_eq!(slow.log(), "open 0 lost:6 7 8 9 b9 c9");
    assert!(fast.log().starts_with("open 0 a0 b0 c0 1 a1 b1 c1 2"));
    let (slow, fast) = (stats(&rig, 0), stats(&rig, 1));
    assert_eq!((slow.delivered_snapshots, slow.lost.snapshots), (4, 6));
    assert_eq!((fast.delivered_snapshots, fast.lost), (10, Loss::default()));
}

#[test]
fn a_queue_is_bounded_in_bytes_and_keeps_the_newest_whatever_its_size() {
    let slow = Script::new("slow", "", "h");
    let options = SchedulerOptions { max_queue_bytes: 1, ..small() };
    let rig = Rig::start(options, &[], vec![scripted_sink(&slow)]);
    rig.snapshot();
    eventually("taken", || slow.has_run_out());
    for _ in 0..5 {
        rig.tick();
    }
    slow.release(1);
    assert!(rig.handle.flush(PATIENCE));
    assert_eq!(slow.log(), "open 0 lost:4 5");
}

#[test]
fn what_a_sink_says_of_itself_is_in_the_next_snapshot_with_its_last_error() {
    let script = Script::new("sink", "", ".xh");
    let rig = Rig::start(small(), &[], vec![scripted_sink(&script)]);
    let own = || rig.handle.latest().unwrap().own.sinks[0].clone();
    rig.snapshot();
    assert_eq!(stats(&rig, 0).delivered_snapshots, 1);
    rig.tick();
    assert_eq!(own().delivered_snapshots, 1);
    // The second was refused, and word of it hangs: the error stays until that is through.
    eventually("refused", || rig.handle.fanout.stats()[0].lost.snapshots == 1);
    rig.tick();
    assert_eq!((own().lost.snapshots, own().last_error.as_str()), (1, "writing: not today"));
    script.release(1);
    assert_eq!(stats(&rig, 0).last_error, "");
    rig.tick();
    assert_eq!((own().delivered_snapshots, own().lost.snapshots, own().last_error.as_str()), (2, 1, ""));

    let dead = Script::new("dead", "m", "");
    let rig = Rig::start(small(), &[], vec![scripted_sink(&dead)]);
    rig.snapshot();
    assert_eq!(
        (stats(&rig, 0).last_error.as_str(), stats(&rig, 0).lost.snapshots),
        ("writing: not today", 1)
    );
}

#[test]
fn flush_waits_for_what_was_queued_and_for_nothing_else() {
    let slow = Script::new("slow", "", ".h");
    let rig = Rig::start(options(), &[], vec![scripted_sink(&slow)]);
    rig.snapshot();
    assert!(rig.handle.flush(PATIENCE));
    rig.tick();
    assert!(!rig.handle.flush(Duration::from_millis(20)));
    slow.release(1);
    assert!(rig.handle.flush(PATIENCE));
    assert_eq!(slow.log(), "open 0 1");
}

#[test]
fn a_mark_is_between_the_snapshots_where_it_happened() {
    let rig = Rig::start(options(), &[], Vec::new());
    rig.snapshot();
    rig.clock.advance(Duration::from_secs(3));
    rig.handle.mark("reconnect");
    rig.clock.advance_to_next(MINUTE);
    let Record::Mark(mark) = rig.record() else { panic!("the tick came first") };
    assert_eq!((mark.name.as_str(), mark.at.unix_nanos), ("reconnect", 1_704_067_210_500_000_000));
    rig.handle.mark(&"ä".repeat(1000));
    loop {
        let Record::Mark(mark) = rig.record() else { continue };
        assert_eq!(mark.name, "ä".repeat(128), "a name is bounded and cut between characters");
        break;
    }
}
