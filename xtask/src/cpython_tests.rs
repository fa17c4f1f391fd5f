//! CPython's own tests, as they come with an installed Python, with and without leakline: what fails under it must be what
//! fails without.
//! Judges no test by itself: some fail on any machine.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

use crate::bench::installed_pythons;
use crate::process::root;

/// Those that allocate, fork, start threads, and look at the allocators and the collector themselves.
const ALL: &[&str] = &[
    "test_capi",
    "test_coroutines",
    "test_dict",
    "test_exceptions",
    "test_fork1",
    "test_gc",
    "test_generators",
    "test_json",
    "test_list",
    "test_subprocess",
    "test_threading",
    "test_tracemalloc",
];
/// What takes seconds.
const FEW: &[&str] = &["test_fork1", "test_gc", "test_generators", "test_json", "test_tracemalloc"];
const MODES: &[&str] = &["sampling", "exact"];

/// The tests that ran, and those that did not pass, each by class and name.
struct Outcome {
    ran: usize,
    failed: BTreeSet<String>,
}

/// All of them with every Python that has them; with `few`, the quick ones with the first.
pub(crate) fn run(few: bool) -> anyhow::Result<()> {
    let with_tests = installed_pythons().into_iter().filter(|(_, path)| has_tests(path));
    let pythons: Vec<_> = with_tests.take(if few { 1 } else { usize::MAX }).collect();
    if pythons.is_empty() {
        println!("no installed CPython has its own tests: left out");
    }
    let mut broken = Vec::new();
    for ((major, minor), path) in &pythons {
        let tests: Vec<&str> =
            if few { FEW } else { ALL }.iter().copied().filter(|test| has(path, test)).collect();
        let plain = outcome(path, None, &tests)?;
        println!(
            "CPython {major}.{minor}: {} tests, {} fail without leakline",
            plain.ran,
            plain.failed.len()
        );
        for mode in MODES {
            let under = outcome(path, Some(mode), &tests)?;
            let mut new: Vec<_> = under.failed.difference(&plain.failed).cloned().collect();
            if !new.is_empty() {
                // Some of them look at the clock: what fails only once is the machine's doing.
                println!("  {mode}: {new:?} failed, and are run again");
                let again = outcome(path, Some(mode), &tests)?;
                new.retain(|test| again.failed.contains(test));
            }
            println!("  {mode}: {} tests, {} more fail {new:?}", under.ran, new.len());
            if !new.is_empty() || under.ran != plain.ran {
                broken.push(format!("{major}.{minor} {mode}"));
            }
        }
    }
    ensure!(broken.is_empty(), "CPython's own tests fail under leakline: {}", broken.join(", "));
    Ok(())
}

/// A distribution's Python may have no more of them than what runs them.
fn has_tests(python: &Path) -> bool {
    has(python, "test_json")
}

fn has(python: &Path, name: &str) -> bool {
    let asked = format!("import importlib.util as u, sys; sys.exit(u.find_spec('test.{name}') is None)");
    let status = Command::new(python).args(["-c", &asked]).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Runs `tests` in a folder of their own, under leakline in `mode` or without it.
fn outcome(python: &Path, mode: Option<&str>, tests: &[&str]) -> anyhow::Result<Outcome> {
    let folder = root().join("target/cpython-tests");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let report = folder.join("report.xml");
    if report.exists() {
        std::fs::remove_file(&report).with_context(|| format!("cannot remove {}", report.display()))?;
    }
    let mut command = match mode {
        None => Command::new(python),
        Some(mode) => {
            let mut command = Command::new(root().join("target/leakline/bin/leakline"));
            command.args(["run", "--quiet", "--python", mode, "--python-sample", "1KiB", "-o"]);
            command.arg(folder.join("tests.leak")).arg("--").arg(python);
            command
        }
    };
    command.args(["-m", "test", "--timeout", "300", "--junit-xml"]).arg(&report).args(tests);
    command.current_dir(&folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status().context("cannot start the tests")?;
    let text = std::fs::read_to_string(&report)
        .with_context(|| format!("the tests left no report ({status}): {}", report.display()))?;
    Ok(read(&text))
}

/// Reads what unittest's runner writes: one `testcase` element each, with what went wrong inside.
fn read(report: &str) -> Outcome {
    let cases: Vec<&str> = report.split("<testcase ").skip(1).collect();
    let failed = cases.iter().filter(|case| case.contains("<failure") || case.contains("<error"));
    let name = |case: &&str| {
        case.split_once("name=\"").and_then(|(_, rest)| rest.split_once('"')).map(|(name, _)| name.to_owned())
    };
    Outcome { ran: cases.len(), failed: failed.filter_map(name).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_read_from_the_report() {
        let report = r#"<testsuite><testcase name="a.b" status="run" /><testcase name="a.c" time="1"><failure>x</failure></testcase>
            <testcase status="run" name="d"><error>y</error></testcase></testsuite>"#;
        let Outcome { ran, failed } = read(report);
        assert_eq!((ran, failed.into_iter().collect::<Vec<_>>().join(" ")), (3, "a.c d".to_owned()));
    }
}
