//! Programs that leakline once harmed, and all others of their kinds: each is run bare and under `leakline run`, and nothing
//! that its user can see may differ. What the report must say of some stands beside them.

mod budgets;
mod children;
mod closing;
mod ending;
mod inside;
mod java;
mod ordinary;
mod pipes;
mod python;
mod reports;
mod rights;
mod room;

use std::ffi::OsString;
use std::path::PathBuf;

use leakline_tests::{Same, Twice, built_host, venv_python, workspace};

/// A C program of `tests/hosts/twice`, by its name, with its arguments; separated by spaces.
fn c(words: &str) -> Twice {
    let mut words = words.split(' ');
    let program = built_host(words.next().unwrap_or_default()).into_os_string();
    Twice::new(std::iter::once(program).chain(words.map(OsString::from)))
}

/// A Python program of `tests/hosts/twice`, with the project's own Python.
fn python(words: &str) -> Twice {
    python_by(venv_python(), words)
}

fn python_by(python: PathBuf, words: &str) -> Twice {
    let mut words = words.split(' ');
    let script = workspace().join("tests/hosts/twice").join(words.next().unwrap_or_default());
    let command = [python.into_os_string(), script.into_os_string()];
    Twice::new(command.into_iter().chain(words.map(OsString::from)))
}

/// The same both times; and it is what the case is about.
fn check(twice: Twice, code: i32, said: &str) -> Same {
    let same = twice.check();
    assert_eq!(same.status.code(), Some(code), "bare, too: {}", same.stdout);
    assert!(same.stdout.contains(said), "bare, too: {}", same.stdout);
    same
}

/// Whether tests run as root; says that a test is skipped where they do not.
fn is_root(test: &str) -> bool {
    // SAFETY: asks for a number.
    let is_root = unsafe { libc::geteuid() } == 0;
    if !is_root {
        eprintln!("skipped, only root can do it: {test}");
    }
    is_root
}

/// Whether there is such a program on PATH; says that a test is skipped where there is none.
fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if !is_there {
        eprintln!("skipped, not installed: {program}");
    }
    is_there
}
