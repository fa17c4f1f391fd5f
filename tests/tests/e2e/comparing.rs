//! Two recordings of one program, before a change and after it; and what a build server makes of them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use leakline_tests::{Host, Outcome, dist, venv_python};
use serde_json::Value;

/// The corpus's simplest leak, at so many KiB per second.
fn leaking(kib_per_second: u32) -> Outcome {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("leaks/python/leaks.py");
    Host::new([venv_python().into_os_string(), program.into_os_string(), "list".into()])
        .options(["--interval", "200ms", "--python-sample", "4KiB"])
        .variable("LEAK_RATE", (kib_per_second << 10).to_string())
        .variable("LEAK_SECONDS", "6")
        .variable("PYTHONDONTWRITEBYTECODE", "1")
        .run()
        .succeeded()
}

fn run(arguments: &[&str], recordings: &[&PathBuf]) -> (Option<i32>, Value) {
    let mut command = Command::new(dist().leakline);
    let Output { status, stdout, stderr } =
        command.args(arguments).arg("--json").args(recordings).output().expect("leakline runs");
    let said = String::from_utf8_lossy(&stderr);
    let value = serde_json::from_slice(&stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    (status.code(), value)
}

#[test]
fn a_change_is_told_by_its_layer_and_its_call_path_and_by_the_exit_status() {
    let outcomes = (leaking(1500), leaking(100));
    let (fast, slow) = (outcomes.0.recording(), outcomes.1.recording());
    let word = |compared: &Value, list: &str| {
        let all = compared[list].as_array().expect("a list");
        let python = all.iter().find(|row| row["layer"] == "python").expect("a row on Python");
        (python["word"].as_str().expect("a word").to_owned(), python.clone())
    };

    let (status, better) = run(&["compare"], &[&fast, &slow]);
    assert_eq!(status, Some(0), "{better}");
    let (said, layer) = word(&better, "layers");
    assert!(["better", "fixed"].contains(&said.as_str()), "{layer}");
    let (said, site) = word(&better, "sites");
    assert!(["better", "fixed"].contains(&said.as_str()), "{site}");
    assert_eq!(site["site"]["frames"][0]["function"], "list_without_end.<locals>.step", "{site}");
    // What is known is 1400 KiB a second; a minute's noise is far less.
    let difference = layer["difference"]["bytes_per_second"].as_f64().expect("a rate");
    assert!((difference / (-1400.0 * 1024.0) - 1.0).abs() < 0.2, "{layer}");

    let (status, worse) = run(&["compare"], &[&slow, &fast]);
    assert_eq!((status, &worse["worse"]), (Some(3), &Value::Bool(true)), "{worse}");

    for (limit, expected) in [("1KiB/min", 3), ("1GiB/min", 0)] {
        assert_eq!(run(&["report", "--max-rate", limit], &[&fast]).0, Some(expected), "{limit}");
    }
    assert_eq!(run(&["report", "--fail-on", "leak"], &[&fast]).0, Some(3));
    assert_eq!(run(&["report"], &[&fast]).0, Some(0), "a report is a report, whatever it says");
}
