//! Applications of several processes: the one that leaks is found, whoever made it and however.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use leakline_tests::{Host, Outcome, built_host, dist, jdks, pythons, venv_python, workspace};
use serde_json::Value;

/// What a test's program leaks: a tenth of a megabyte ten times a second.
const RATE: f64 = 1_024_000.0;

fn tree() -> std::path::PathBuf {
    workspace().join("tests/hosts/families/tree.py")
}

fn report(path: &Path) -> Value {
    let output = Command::new(dist().leakline)
        .args(["report", "--json", "--top", "30"])
        .arg(path)
        .output()
        .expect("leakline runs");
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {text}{}: {}", String::from_utf8_lossy(&output.stderr), path.display())
    })
}

fn processes(report: &Value) -> Vec<Value> {
    report["processes"].as_array().cloned().unwrap_or_default()
}

/// Of the one process that leaks: its report.
fn leaking(outcome: &Outcome) -> Value {
    let whole = report(&outcome.recording());
    let leaking: Vec<Value> =
        processes(&whole).into_iter().filter(|process| process["leaks"] == Value::Bool(true)).collect();
    let [one] = leaking.as_slice() else {
        panic!("{} of the processes leak: {:#}\n{}", leaking.len(), whole["processes"], outcome.stderr)
    };
    assert_ne!(
        one["path"], whole["processes"][0]["path"],
        "the first process leaks: {:#}",
        whole["processes"]
    );
    report(Path::new(one["path"].as_str().expect("a path")))
}

/// The verdict of `layer`, which leaks at about the rate of the tests' programs.
fn check_rate(report: &Value, layer: &str) {
    let verdicts = report["verdicts"].as_array().cloned().unwrap_or_default();
    let found = verdicts.iter().find(|verdict| verdict["layer"] == layer && verdict["site"].is_null());
    let rate = found.and_then(|verdict| verdict["bytes_per_second"].as_f64()).unwrap_or_default();
    // Few samples in few seconds.
    assert!((RATE * 0.6..RATE * 1.5).contains(&rate), "{rate} bytes a second: {verdicts:#?}");
}

/// The innermost frame of the site that grew most in `probe`.
fn grown_most(report: &Value, probe: &str) -> Vec<String> {
    let growth = report["growth"].as_array().cloned().unwrap_or_default();
    let growth = growth.iter().find(|growth| growth["probe"] == probe && growth["source"] == "sampled");
    let site = growth.map(|growth| growth["sites"][0]["site"]["frames"].clone()).unwrap_or_default();
    let frames = site.as_array().cloned().unwrap_or_default();
    frames.iter().filter_map(|frame| frame["function"].as_str().map(str::to_owned)).collect()
}

fn run(python: &Path, words: &str) -> Outcome {
    let command = [python.into(), tree().into_os_string()];
    let words = words.split_whitespace().map(Into::into);
    let host = Host::new(command.into_iter().chain(words)).options(["--interval", "500ms"]);
    host.run().succeeded()
}

fn check(python: &Path, words: &str, stdout: &str) {
    let outcome = run(python, words);
    assert_eq!(outcome.stdout.trim(), stdout, "{words}\n{}", outcome.stderr);
    assert_eq!(outcome.stderr, "", "{words}");
    let report = leaking(&outcome);
    check_rate(&report, "python");
    let function = grown_most(&report, "python");
    assert_eq!(function.first().map(String::as_str), Some("forgetful"), "{words}: {function:?}");
}

#[test]
fn the_forked_child_that_leaks_is_found_with_its_line() {
    for python in pythons() {
        check(&python.path, "fork 9", "[0, 0]");
    }
}

#[test]
fn a_child_that_is_forked_beside_busy_threads_or_by_a_child_is_found() {
    check(&venv_python(), "threads 9", "[0]");
    check(&venv_python(), "grandchild 9", "[0]");
}

#[test]
fn the_workers_of_multiprocessing_are_watched_however_they_start() {
    for start in ["fork", "spawn", "forkserver"] {
        check(&venv_python(), &format!("multiprocessing.{start} 9"), "[0, 0]");
    }
}

#[test]
fn a_program_that_is_started_is_watched_as_a_part() {
    check(&venv_python(), "subprocess 9", "[0]");
}

#[test]
fn a_daemon_is_watched_when_its_parents_are_long_gone() {
    let host = Host::new([venv_python().into_os_string(), tree().into(), "daemon".into(), "9".into()]);
    let folder = host.folder().to_owned();
    let outcome = host.options(["--interval", "500ms"]).variable("PWD", &folder).run().succeeded();
    let begun = std::time::Instant::now();
    let is_over = || {
        processes(&report(&outcome.recording()))
            .iter()
            .any(|process| process["leaks"] == Value::Bool(true) && process["ended"] == Value::Bool(true))
    };
    while !is_over() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the daemon was not found to leak");
        std::thread::sleep(Duration::from_millis(500));
    }
    let report = leaking(&outcome);
    assert_eq!(grown_most(&report, "python").first().map(String::as_str), Some("forgetful"));
}

#[test]
fn a_forked_child_in_c_is_found_with_its_function() {
    for threads in ["0", "8"] {
        let command = [built_host("tree").into_os_string(), "9".into(), threads.into()];
        let host = Host::new(command).options(["--interval", "500ms", "--native-sample", "32KiB"]);
        let outcome = host.run().succeeded();
        assert_eq!(outcome.stdout.trim(), "7");
        let report = leaking(&outcome);
        check_rate(&report, "native");
        let frames = grown_most(&report, "native");
        assert!(frames.iter().any(|frame| frame.starts_with("keep")), "{frames:?}");
    }
}

#[test]
fn children_that_live_for_a_moment_leave_nothing() {
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 0.3; (true); done; echo done";
    let host = Host::new(["sh", "-c", script]).options(["--interval", "200ms"]);
    let folder = host.folder().to_owned();
    let outcome = host.run().succeeded();
    assert_eq!(outcome.stdout, "done\n");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["host.leak"]);
}

#[test]
fn nobody_but_the_program_is_watched_where_that_is_asked_for() {
    for (children, others) in [("none", 0), ("exec", 0), ("all", 2)] {
        let words = [venv_python().into_os_string(), tree().into(), "fork".into(), "3".into()];
        let host = Host::new(words).options(["--interval", "500ms", &format!("--children={children}")]);
        let outcome = host.run().succeeded();
        let found = processes(&report(&outcome.recording())).len().saturating_sub(1);
        assert_eq!(found, others, "--children={children}");
    }
}

/// Of the host `pid`: watchers and spares have what their host had at first for an environment.
fn left_behind(pid: u32) -> Vec<String> {
    let told = format!("LEAKLINE_PID={pid}");
    let processes = std::fs::read_dir("/proc").expect("there is /proc").flatten().map(|entry| entry.path());
    let of_host = processes.filter(|path| {
        let environment = std::fs::read(path.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == told.as_bytes())
    });
    of_host.filter_map(|path| std::fs::read_to_string(path.join("stat")).ok()).collect()
}

#[test]
fn no_process_is_left_behind() {
    let words = [venv_python().into_os_string(), tree().into(), "fork".into(), "3".into()];
    let running = Host::new(words).options(["--interval", "500ms"]).spawn();
    let pid = running.pid();
    running.wait_for_snapshots(3);
    // The host itself, its watcher, and the spare, at least.
    assert!(left_behind(pid).len() >= 3, "{:?}", left_behind(pid));
    running.wait().succeeded();
    let begun = std::time::Instant::now();
    while !left_behind(pid).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "left behind: {:?}", left_behind(pid));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_a_jvm_starts_is_watched_through_shells_and_forks() {
    let python = venv_python();
    let worker = format!("env {} {} fork 9", python.display(), tree().display());
    for java in jdks() {
        let source = workspace().join("tests/hosts/families/Starts.java");
        let host = Host::new([java.into_os_string(), source.into(), worker.clone().into()]);
        let outcome = host.options(["--interval", "500ms"]).run().succeeded();
        let report = leaking(&outcome);
        check_rate(&report, "python");
        assert_eq!(grown_most(&report, "python").first().map(String::as_str), Some("forgetful"));
    }
}

/// Ten workers, two at a time, each forked by the first process and gone after five seconds.
fn recycled(what: &str) -> Value {
    let words = [
        venv_python().into_os_string(),
        tree().into(),
        format!("recycle.{what}").into(),
        "5".into(),
        "400".into(),
    ];
    let outcome = Host::new(words).options(["--interval", "500ms"]).run().succeeded();
    let report = report(&outcome.recording());
    assert!(processes(&report).len() >= 10, "{:#}", report["processes"]);
    report
}

#[test]
fn workers_that_live_shortly_and_leak_are_a_leak_of_their_role() {
    let report = recycled("forgetful");
    let roles = report["roles"].as_array().cloned().unwrap_or_default();
    let leaks: Vec<Value> =
        roles.iter().flat_map(|role| role["leaks"].as_array().cloned().unwrap_or_default()).collect();
    let python = leaks.iter().find(|leak| leak["site"]["frames"][0]["function"] == "forgetful");
    let rate = python.and_then(|leak| leak["bytes_per_second"].as_f64()).unwrap_or_default();
    assert!((RATE * 0.15..RATE * 0.6).contains(&rate), "{rate} bytes a second: {roles:#?}");
}

#[test]
fn workers_that_live_shortly_and_do_not_leak_are_none() {
    let report = recycled("tidy");
    let roles = report["roles"].as_array().cloned().unwrap_or_default();
    assert!(roles.iter().all(|role| role["leaks"].as_array().is_some_and(Vec::is_empty)), "{roles:#?}");
}

#[test]
fn a_child_that_is_not_watched_and_grows_is_told() {
    // `system` starts it inside the C library.
    let script = "import os, sys\nos.system(f'{sys.executable} ' + sys.argv[1] + ' alone 14 4000')";
    let words = [venv_python().into_os_string(), "-c".into(), script.into(), tree().into_os_string()];
    let outcome = Host::new(words).options(["--interval", "1s"]).run().succeeded();
    let output =
        Command::new(dist().leakline).arg("report").arg(outcome.recording()).output().expect("leakline runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with("incomplete:") && line.contains("is not watched"));
    let line = line.unwrap_or_else(|| panic!("nothing is told of the child:\n{text}"));
    assert!(line.contains("grew by") && line.contains("MiB"), "{line}");
}
