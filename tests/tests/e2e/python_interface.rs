//! leakline's functions for Python: under leakline they do what they say, and elsewhere nothing.

use std::process::Command;

use leakline_proto::Event;
use leakline_tests::{Host, pythons, workspace};

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
