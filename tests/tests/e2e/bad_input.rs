//! Bad input gets a message that names what, where and what to do; what is readable is shown.

use std::process::{Command, Output};

use leakline_tests::{Host, dist};

fn leakline(arguments: &[&str]) -> Output {
    Command::new(dist().leakline).args(arguments).env_remove("LEAKLINE_DIST").output().expect("leakline runs")
}

/// The command fails with a message that has all of `parts`.
fn check_refused(arguments: &[&str], parts: &[&str]) {
    let output = leakline(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    for part in parts {
        assert!(stderr.contains(part), "{arguments:?}: no {part:?} in: {stderr}");
    }
}

#[test]
fn a_wrong_option_names_the_value_and_what_would_be_right() {
    check_refused(&["run", "--interval", "5 potatoes", "--", "true"], &["5 potatoes", "5m"]);
    check_refused(&["run", "--interval", "1ms", "--", "true"], &["1ms", "100 ms"]);
    check_refused(&["run", "--intervall", "5m", "--", "true"], &["--intervall", "--interval"]);
}

#[test]
fn a_wrong_setting_is_told_and_the_program_runs_unwatched() {
    for (variable, value, parts) in [
        ("LEAKLINE_INTERVALL", "5m", ["LEAKLINE_INTERVALL", "LEAKLINE_INTERVAL`?"]),
        ("LEAKLINE_PYTHON_FRAMES", "many", ["LEAKLINE_PYTHON_FRAMES", "whole number from 1 to 128"]),
    ] {
        let outcome = Host::new(["echo", "hello"]).variable(variable, value).run().succeeded();
        assert_eq!(outcome.stdout, "hello\n");
        for part in parts {
            assert!(outcome.stderr.contains(part), "no {part:?} in: {}", outcome.stderr);
        }
    }
}

#[test]
fn a_file_that_is_no_recording_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let foreign = folder.path().join("foreign.leak");
    std::fs::write(&foreign, b"\x7fELF and more that leakline never wrote").expect("written");
    check_refused(
        &["report", foreign.to_str().expect("a path")],
        &["foreign.leak", "not a leakline recording"],
    );
    check_refused(&["report", "/no/such/recording.leak"], &["/no/such/recording.leak"]);
}

#[test]
fn a_damaged_recording_is_shown_as_far_as_it_goes() {
    let outcome = Host::new(["sleep", "1"]).options(["--interval", "100ms"]).run().succeeded();
    let whole = std::fs::read(outcome.recording()).expect("a recording");
    let folder = tempfile::tempdir().expect("a folder");

    let truncated = folder.path().join("truncated.leak");
    std::fs::write(&truncated, &whole[..whole.len() * 2 / 3]).expect("written");
    let mut flipped_bytes = whole.clone();
    let middle = whole.len() / 2;
    flipped_bytes[middle] ^= 0xff;
    let flipped = folder.path().join("flipped.leak");
    std::fs::write(&flipped, &flipped_bytes).expect("written");

    for file in [truncated, flipped] {
        let output = leakline(&["report", file.to_str().expect("a path")]);
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{stderr}");
        assert!(stdout.contains("resident"), "{stdout}");
        assert!(format!("{stdout}{stderr}").contains("byte"), "says where: {stdout}{stderr}");
    }
}

#[test]
fn a_collector_that_does_not_resolve_is_told_and_the_program_runs_on() {
    let outcome = Host::new(["sleep", "1"])
        .options(["--collector", "no-such-host.invalid:7474", "--interval", "100ms"])
        .loud()
        .run()
        .succeeded();
    assert!(outcome.stderr.contains("no-such-host.invalid:7474"), "{}", outcome.stderr);
    assert!(outcome.snapshots().len() > 3, "the recording goes on");
}
