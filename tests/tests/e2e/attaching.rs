//! The agent finds what is in the process: a runtime that is there, one that comes later, and none.

use std::ffi::OsString;
use std::sync::Arc;

use leakline_core::{Cause, Layer, ReadingStatus, Snapshot, names};
use leakline_tests::{Host, Outcome, built_host, jdks, pythons, venv_python, workspace};

const TICK: [&str; 2] = ["--interval", "200ms"];

/// Whether the probe called `probe` was read in `snapshot`.
fn was_read(snapshot: &Snapshot, probe: &str) -> bool {
    snapshot.reading(probe).is_some_and(|reading| matches!(reading.status, ReadingStatus::Ok))
}

/// `expected` lists the probes that must have been read in some snapshot; every other must never have been.
fn check_layers(outcome: &Outcome, expected: &[&str]) {
    let snapshots = outcome.snapshots();
    assert!(!snapshots.is_empty(), "no snapshots; {}", outcome.stderr);
    for probe in ["python", "jvm", "native", "process"] {
        let read = snapshots.iter().any(|snapshot| was_read(snapshot, probe));
        let last =
            snapshots.last().and_then(|snapshot| snapshot.reading(probe).map(|reading| &reading.status));
        assert_eq!(read, expected.contains(&probe), "{probe}: {last:?}; {}", outcome.stderr);
    }
}

fn host_program(name: &str) -> std::path::PathBuf {
    workspace().join("tests/hosts").join(name)
}

#[test]
fn a_host_without_any_runtime_has_the_native_layers() {
    check_layers(&Host::new(["sleep", "0.7"]).options(TICK).run().succeeded(), &["native", "process"]);
}

#[test]
fn a_host_that_exits_at_once_leaves_its_last_snapshot() {
    let outcome = Host::new(["true"]).run().succeeded();
    let last = outcome.snapshots().last().map(|snapshot| snapshot.tick.cause);
    assert_eq!(last, Some(Cause::Final), "{}", outcome.stderr);
}

#[test]
fn every_installed_cpython_is_read_and_traced_from_its_first_module_on() {
    let modules = tempfile::tempdir().expect("a folder");
    std::fs::write(modules.path().join("held.py"), "DATA = [bytearray(1000) for _ in range(500)]\n")
        .expect("written");
    let pythons = pythons();
    let sampled = pythons.iter().map(|python| (python, "sampling"));
    let newest = pythons.iter().max_by_key(|python| python.version).expect("a CPython");
    for (python, mode) in sampled.chain([(newest, "exact"), (newest, "tracemalloc")]) {
        let outcome =
            Host::new([python.path.as_os_str(), "-c".as_ref(), "import held, time; time.sleep(1)".as_ref()])
                .variable("PYTHONPATH", modules.path())
                .options(TICK)
                .options(["--python", mode, "--python-sample", "1KiB"])
                .run()
                .succeeded();
        check_layers(&outcome, &["python", "native", "process"]);
        let held = outcome
            .snapshots()
            .iter()
            .flat_map(|snapshot| snapshot.reading("python").map(|python| python.profiles.clone()))
            .flatten()
            .filter(|profile| profile.source().name == if mode == "sampling" { "sampled" } else { mode })
            .flat_map(|profile| profile.sites().to_vec())
            .filter(|stat| stat.site.frames().first().is_some_and(|frame| frame.file.ends_with("held.py")))
            .map(|stat| stat.live.bytes)
            .max();
        // A sample at every KiB knows half a megabyte to 5 %; the list of them is another site from 3.12 on.
        let least = if mode == "sampling" { 380_000 } else { 500_000 };
        assert!(held.is_some_and(|bytes| bytes > least), "{python:?} {mode}: {held:?}; {}", outcome.stderr);
    }
}

#[test]
fn a_cpython_in_a_virtual_environment_is_read() {
    let outcome =
        Host::new([venv_python().into_os_string(), "-c".into(), "import time; time.sleep(0.7)".into()])
            .options(TICK)
            .run()
            .succeeded();
    check_layers(&outcome, &["python", "native", "process"]);
}

#[test]
fn the_jvm_of_every_installed_jdk_is_read() {
    for java in jdks() {
        let command = [
            java.clone().into_os_string(),
            "-cp".into(),
            built_host("java").into_os_string(),
            "Plain".into(),
            "--seconds".into(),
            "3".into(),
        ];
        let outcome = Host::new(command).options(TICK).run().succeeded();
        check_layers(&outcome, &["jvm", "native", "process"]);
        let heap =
            outcome.snapshots().iter().filter_map(|snapshot| snapshot.gauge(names::JVM_HEAP_USED)).count();
        assert!(heap > 0, "{java:?}");
    }
}

#[test]
fn a_jvm_that_python_starts_half_a_minute_later_is_found() {
    let late = [venv_python().into_os_string(), host_program("late_jvm.py").into_os_string()];
    let command = late.into_iter().chain(["--after".into(), "30".into()]);
    let outcome = Host::new(command).options(TICK).run().succeeded();
    check_layers(&outcome, &["python", "jvm", "native", "process"]);
    let only_python = |snapshot: &Arc<Snapshot>| was_read(snapshot, "python") && !was_read(snapshot, "jvm");
    assert!(outcome.snapshots().iter().any(only_python), "the JVM came second");
}

#[test]
fn all_layers_are_told_apart_and_their_skew_is_recorded() {
    let command = [venv_python().into_os_string(), host_program("late_jvm.py").into_os_string()];
    let outcome = Host::new(command).options(TICK).run().succeeded();
    let snapshots = outcome.snapshots();
    let mixed = snapshots.iter().find(|snapshot| was_read(snapshot, "jvm") && was_read(snapshot, "python"));
    let mixed = mixed.expect("a snapshot with both runtimes");
    assert!(mixed.skew_nanos.is_some());
    let layers: Vec<Layer> = mixed.readings.iter().map(|reading| reading.layer).collect();
    // The last is what lies between Python and the JVM.
    assert_eq!(layers, [Layer::Python, Layer::Jvm, Layer::Native, Layer::Process, Layer::Process]);
}

#[test]
fn a_python_that_a_jvm_embeds_later_is_found() {
    let java = jdks().into_iter().next().expect("a JDK");
    let mut arguments = OsString::from("@");
    arguments.push(built_host("jep_host.arguments"));
    let own = ["--python-after", "1", "--seconds", "3"].map(OsString::from);
    let command = [java.into_os_string(), arguments].into_iter().chain(own);
    let outcome = Host::new(command).options(["--interval", "500ms"]).run().succeeded();
    check_layers(&outcome, &["python", "jvm", "native", "process"]);
    let only_jvm = |snapshot: &Arc<Snapshot>| was_read(snapshot, "jvm") && !was_read(snapshot, "python");
    assert!(outcome.snapshots().iter().any(only_jvm), "Python came second");
}
