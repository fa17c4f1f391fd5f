//! Probes that are added to a scheduler that runs.

use std::sync::Arc;

use super::kit::{PATIENCE, Rig, Script, eventually, options, probe, status};
use crate::{ReadingStatus, StartError};

fn add(rig: &Rig, script: &Arc<Script>) -> Result<(), StartError> {
    rig.handle.add_probe(probe(script, &rig.clock))
}

#[test]
fn a_probe_that_is_added_is_read_from_then_on_and_detached_at_the_end() {
    let (first, later) = (Script::new("first", "", ""), Script::new("later", "a", ""));
    let rig = Rig::start(options(), &[&first], Vec::new());
    assert!(rig.snapshot().reading("later").is_none());
    add(&rig, &later).unwrap();
    // Absent at first: it is looked for again as any other.
    eventually("looked for", || later.log() == "attach");
    rig.clock.advance(options().discovery);
    eventually("found", || {
        rig.barrier();
        status(&rig.snapshot(), "later") == "ok"
    });
    let prompt = Script::new("prompt", "", "");
    add(&rig, &prompt).unwrap();
    eventually("read", || {
        rig.barrier().reading("prompt").is_some_and(|reading| {
            assert_eq!(reading.status, ReadingStatus::Ok, "it is there when it is read, and not before");
            true
        })
    });
    let snapshot = rig.barrier();
    assert_eq!((status(&snapshot, "first"), status(&snapshot, "later")), ("ok".into(), "ok".into()));
    assert!(rig.handle.stop(PATIENCE).clean);
    assert!(later.log().ends_with("detach"), "{}", later.log());
}

#[test]
fn a_name_is_there_once_and_not_too_many_are_added() {
    let probes: Vec<_> =
        ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q"]
            .map(|name| Script::new(name, "", ""))
            .into();
    let rig = Rig::start(options(), &[&Script::new("first", "", "")], Vec::new());
    assert!(matches!(
        add(&rig, &Script::new("first", "", "")),
        Err(StartError::DuplicateName { kind: "probe", name }) if name == "first"
    ));
    let added = probes.iter().map(|script| add(&rig, script)).filter(Result::is_ok).count();
    assert_eq!(added, 16);
    eventually("all are read", || rig.barrier().readings.len() == 17);
    assert!(rig.handle.stop(PATIENCE).clean);
}

#[test]
fn after_the_end_nothing_is_added() {
    let rig = Rig::start(options(), &[], Vec::new());
    rig.handle.stop(PATIENCE);
    let late = Script::new("late", "", "");
    assert!(matches!(add(&rig, &late), Err(StartError::Closed { name }) if name == "late"));
    assert_eq!(late.log(), "");
}
