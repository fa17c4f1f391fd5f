//! Runs all tests. The few that failed are run once more, alone: many start real programs and wait for what these do, and
//! beside the others on a busy machine some wait in vain. What passes alone is named at the end, so that it is mended.
//! A run has an end: when its time is over, and when it left processes behind, they are named and ended.
//! Never hides what fails twice, nor many failures at once.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::process::cargo;
use crate::{dist, hosts, left_behind};

/// More than these are no accident.
const MOST_AGAIN: usize = 3;
/// All tests took 20 minutes on two busy cores. A run that takes longer than this waits for something that never comes.
const LIMIT: Duration = Duration::from_secs(40 * 60);
/// So long after the end of cargo what it started may still write.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Unit, documentation and end-to-end tests; the last run what `build` laid out.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut all = test();
    all.args(["--workspace", "--no-fail-fast"]);
    let first = watched(&mut all)?;
    if first.passed {
        return Ok(());
    }
    let (targets, names) = (failed_targets(&first.said), failed_tests(&first.said));
    if names.is_empty() || names.len() > MOST_AGAIN || targets.is_empty() {
        bail!("{} tests failed", names.len());
    }
    println!("── once more, alone: {}", names.join(", "));
    for target in &targets {
        let mut again = test();
        again.args(target.split(' ')).arg("--").args(&names).args(["--exact", "--test-threads=1"]);
        let again = watched(&mut again)?;
        // A program that crashed has no test that failed: none of the names is its own.
        if !again.passed || !any_passed(&again.said) {
            bail!("failed again, alone: one or more of {}", names.join(", "));
        }
    }
    println!("── passed alone, but not beside the others; to be mended: {}", names.join(", "));
    Ok(())
}

fn test() -> Command {
    let mut test = cargo();
    test.args(["test", "--quiet", "--locked"]).env("LEAKLINE_DIST", dist::folder());
    if let Ok(java_home) = hosts::java_home() {
        test.env("JAVA_HOME", java_home);
    }
    test
}

struct Watched {
    passed: bool,
    said: String,
}

/// Runs it to the end; what it says goes to the terminal, and is kept. What it leaves behind is ended and named.
fn watched(command: &mut Command) -> anyhow::Result<Watched> {
    let marker = left_behind::marker();
    command.env(left_behind::MARKER, &marker);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("cannot start cargo")?;
    let said = Arc::new(Mutex::new(Vec::new()));
    let copying = [
        child.stdout.take().map(|from| copying(from, std::io::stdout(), &said)),
        child.stderr.take().map(|from| copying(from, std::io::stderr(), &said)),
    ];
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for cargo")? {
            break status;
        }
        if begun.elapsed() > LIMIT {
            let running = left_behind::end(&marker).join("\n");
            bail!("the tests did not end within {} minutes; these ran:\n{running}", LIMIT.as_secs() / 60);
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let copying: Vec<_> = copying.into_iter().flatten().collect::<Result<_, _>>()?;
    let ended = Instant::now();
    // Whoever inherited the pipe keeps it open: waiting for its end could be waiting for ever.
    while ended.elapsed() < LAST_WORDS && !copying.iter().all(JoinHandle::is_finished) {
        std::thread::sleep(Duration::from_millis(20));
    }
    for process in left_behind::end(&marker) {
        println!("── left behind by the tests, and ended: {process}");
    }
    let said = said.lock().map(|said| String::from_utf8_lossy(&said).into_owned()).unwrap_or_default();
    Ok(Watched { passed: status.success(), said })
}

fn copying(
    from: impl Read + Send + 'static,
    to: impl Write + Send + 'static,
    said: &Arc<Mutex<Vec<u8>>>,
) -> anyhow::Result<JoinHandle<()>> {
    let said = Arc::clone(said);
    let thread = std::thread::Builder::new().name("xtask-tee".to_owned());
    thread.spawn(move || copy(from, to, &said)).context("cannot start a thread")
}

fn copy(mut from: impl Read, mut to: impl Write, said: &Mutex<Vec<u8>>) {
    let mut part = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut part) {
        let part = &part[..length];
        // The terminal may have gone; the tests go on.
        let _ = to.write_all(part).and_then(|()| to.flush());
        if let Ok(mut said) = said.lock() {
            said.extend_from_slice(part);
        }
    }
}

/// The options by which cargo names what failed, such as `-p leakline-tests --test e2e`.
fn failed_targets(said: &str) -> Vec<String> {
    let after = said.lines().skip_while(|line| !(line.starts_with("error: ") && line.contains(" failed:")));
    let options = after.skip(1).map_while(|line| line.trim().strip_prefix('`')?.strip_suffix('`'));
    options.map(str::to_owned).collect()
}

/// The names under each heading `failures:` that stand without their output.
fn failed_tests(said: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut lines = said.lines();
    while let Some(line) = lines.next() {
        if line == "failures:" {
            let listed = lines.by_ref().map_while(|line| line.strip_prefix("    "));
            names.extend(listed.filter(|name| !name.contains(' ')).map(str::to_owned));
        }
    }
    names.sort();
    names.dedup();
    names
}

/// Whether a test was run and passed.
fn any_passed(said: &str) -> bool {
    said.lines().any(|line| line.starts_with("test result: ok. ") && !line.starts_with("test result: ok. 0 "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "
running 76 tests
.............. 14/76
bridge::told --- FAILED

failures:

---- bridge::told stdout ----
thread 'bridge::told' panicked at tests/tests/e2e/bridge.rs:55:9:
    this looks like a name, but is not

failures:
    bridge::told
    native::other

test result: FAILED. 74 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 268.84s

error: test failed, to rerun pass `-p leakline-tests --test e2e`
error: 2 targets failed:
    `-p leakline-tests --test e2e`
    `-p leakline-cli --bin leakline`
";

    #[test]
    fn the_tests_that_failed_are_known_by_name() {
        assert_eq!(failed_tests(SAID), ["bridge::told", "native::other"]);
        assert_eq!(failed_tests("test result: ok."), [""; 0]);
    }

    #[test]
    fn a_run_of_no_test_is_none_that_passed() {
        assert!(!any_passed("test result: ok. 0 passed; 0 failed; 0 ignored"));
        assert!(any_passed("running 1 test\n.\ntest result: ok. 1 passed; 0 failed"));
    }

    #[test]
    fn what_they_belong_to_is_told_as_cargo_takes_it() {
        assert_eq!(failed_targets(SAID), ["-p leakline-tests --test e2e", "-p leakline-cli --bin leakline"]);
        assert_eq!(failed_targets("error: could not compile `leakline-cli`"), [""; 0]);
    }
}
