//! leakline's functions for Python: under leakline they do what they say, and elsewhere nothing.

use std::collections::HashSet;
use std::process::Command;

use leakline_core::{Reading, ReadingStatus};
use leakline_proto::Event;
use leakline_tests::{Host, Outcome, pythons, workspace};

fn expected(answers: [&str; 12]) -> String {
    let names = [
        "present",
        "mark",
        "snapshots",
        "stats",
        "reset",
        "window",
        "no-window",
        "close",
        "census",
        "cycles",
        "stop",
        "after",
    ];
    names.iter().zip(answers).map(|(name, answer)| format!("{name} {answer}\n")).collect()
}

#[test]
fn a_python_program_tells_its_events_and_asks_for_snapshots() {
    let program = workspace().join("tests/hosts/interface.py");
    for python in pythons() {
        let host = Host::new([python.path.as_os_str(), program.as_os_str(), "wait".as_ref()]);
        let outcome = host.variable("PYTHONPATH", workspace().join("python")).run().succeeded();
        let yes = "True";
        let told = [yes, yes, "1", yes, yes, yes, "False", yes, yes, yes, yes, "False"];
        assert_eq!(outcome.stdout, expected(told), "{}", python.path.display());
        let marks: Vec<String> = outcome
            .events()
            .into_iter()
            .filter_map(|event| match event {
                Event::Mark(mark) => Some(mark.name.to_string()),
                _ => None,
            })
            .collect();
        assert_eq!(marks, ["reconnect"], "{}", python.path.display());
    }
}

/// The probes of the program's own at each of its readings.
fn custom(outcome: &Outcome) -> Vec<Reading> {
    outcome.snapshots().iter().filter_map(|snapshot| snapshot.reading("custom").cloned()).collect()
}

#[test]
fn probes_of_the_programs_own_are_read_at_each_tick_and_one_that_fails_costs_only_itself() {
    let program = workspace().join("tests/hosts/probes.py");
    for python in pythons() {
        let host = Host::new([python.path.as_os_str(), program.as_os_str()]).options(["--interval", "1s"]);
        let outcome = host.variable("PYTHONPATH", workspace().join("python")).run().succeeded();
        assert_eq!(outcome.stdout, "ok\n", "{}", python.path.display());
        let readings = custom(&outcome);
        let notes: HashSet<&str> =
            readings.iter().flat_map(|reading| &reading.notes).map(String::as_str).collect();
        for wanted in [
            "broken: ZeroDivisionError: division by zero (probes.py:",
            "wrong: ValueError: 'Queue Length' cannot name a gauge: ",
        ] {
            assert!(notes.iter().any(|note| note.starts_with(wanted)), "{wanted}: {notes:?}");
        }
        // It has no part in how far apart the layers were read.
        assert!(
            readings.iter().all(|reading| reading.status == ReadingStatus::Ok && reading.taken.is_none())
        );
    }
}

/// 1000 times with `LEAKLINE_TEST_WHOLE=1`.
#[test]
fn python_ends_while_its_own_probes_are_read() {
    let program = workspace().join("tests/hosts/probes_end.py");
    let times = if std::env::var_os("LEAKLINE_TEST_WHOLE").is_some() { 1000 } else { 12 };
    for (round, python) in pythons().iter().cycle().take(times).enumerate() {
        let seconds = ["0", "0.001", "0.01", "0.05"][round % 4];
        let stuck = if round % 10 == 9 { "stuck" } else { "free" };
        let words = [python.path.as_os_str(), program.as_os_str(), seconds.as_ref(), stuck.as_ref()];
        let host = Host::new(words).options(["--interval", "1s"]);
        let outcome = host.variable("PYTHONPATH", workspace().join("python")).run().succeeded();
        assert_eq!(outcome.stdout, "ok\n", "{} {seconds} {stuck}", python.path.display());
        assert!(!custom(&outcome).is_empty());
    }
}

#[test]
fn without_leakline_they_do_nothing() {
    let program = workspace().join("tests/hosts/interface.py");
    for python in pythons() {
        let mut command = Command::new(&python.path);
        let output =
            command.arg(&program).env("PYTHONPATH", workspace().join("python")).output().expect("it runs");
        let no = "False";
        let told = [no, no, "None", no, no, no, no, no, no, no, no, no];
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected(told), "{}", python.path.display());
    }
}
