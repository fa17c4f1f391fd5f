//! What was read before a kill is still there after it.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;

use leakline_core::names;
use leakline_proto::Event;
use leakline_tests::{Host, built_host, jdks, venv_python};

#[test]
fn a_recording_is_readable_after_the_host_was_killed() {
    let script = "import time\nheld = []\nwhile True:\n    held.append(bytearray(10_000)); time.sleep(0.002)";
    let host = Host::new([venv_python().into_os_string(), "-c".into(), script.into()])
        .options(["--interval", "100ms"])
        .spawn();
    host.wait_for_snapshots(5);
    host.signal(libc::SIGKILL);
    let outcome = host.wait();
    assert_eq!(outcome.status.signal(), Some(libc::SIGKILL));
    let events = outcome.events();
    assert!(matches!(events.first(), Some(Event::Session(_))), "begins with the session");
    assert!(outcome.snapshots().len() >= 5);
    let is_said = |event: &Event| matches!(event, Event::Mark(mark) if mark.name.contains("was killed"));
    assert!(events.iter().any(is_said), "a kill is no orderly end");
    assert!(!events.iter().any(|event| matches!(event, Event::Gap { .. })), "nothing is missing in between");
}

#[test]
fn an_orderly_end_has_a_final_snapshot_with_python_in_it() {
    let outcome =
        Host::new([venv_python().into_os_string(), "-c".into(), "import time; time.sleep(0.3)".into()])
            .run()
            .succeeded();
    let last = outcome.snapshots().last().cloned().expect("a snapshot");
    assert_eq!(last.tick.cause, leakline_core::Cause::Final);
    let python = last.reading("python").expect("a Python reading");
    assert!(!python.profiles.is_empty(), "{:?}; {}", python.status, outcome.stderr);
    assert!(matches!(outcome.events().last(), Some(Event::End(_))));
}

#[test]
fn however_a_jvm_ends_the_last_snapshot_has_it() {
    for java in jdks() {
        for (end, status) in [("main", 0), ("exit", 3), ("halt", 4)] {
            for watcher in ["on", "off"] {
                let plain = ["-cp".into(), built_host("java").into_os_string(), "Plain".into()];
                let own = ["--seconds", "1.5", "--end", end].map(OsString::from);
                let command = [java.clone().into_os_string()].into_iter().chain(plain).chain(own);
                let options = ["--interval", "200ms", "--watcher", watcher];
                let outcome = Host::new(command).options(options).run();
                let what = format!("{java:?} {end}, watcher {watcher}; {}", outcome.stderr);
                assert_eq!(outcome.status.code(), Some(status), "{what}");
                let last = outcome.snapshots().last().cloned().expect("a snapshot");
                assert_eq!(last.tick.cause, leakline_core::Cause::Final, "{what}");
                assert!(last.gauge(names::JVM_HEAP_USED).is_some(), "{:?}; {what}", last.reading("jvm"));
            }
        }
    }
}

#[test]
fn a_host_that_ends_just_when_the_agent_starts_has_its_recording() {
    for _ in 0..20 {
        let outcome = Host::new(["sleep", "0.02"]).variable("LEAKLINE_SETTLE", "20ms").run().succeeded();
        assert!(!outcome.snapshots().is_empty());
    }
}
