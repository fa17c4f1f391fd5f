//! The decoders of line tables against every CPython that is installed here: each instruction of each code object of a
//! big part of its standard library. Interpreters are looked for as in `real_interpreters.rs`.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

use std::path::PathBuf;
use std::process::Command;

use leakline_python::lines::{CodeInfo, LineFormat};

#[path = "../../common/tests/support/prepared.rs"]
mod prepared;

use prepared::prepared;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/line_tables.py");
/// Code objects, by each interpreter; `LEAKLINE_TEST_CODE_OBJECTS` asks for more. 30000 are all of the library.
const MOST: &str = "4000";

#[test]
fn lines_are_those_that_python_tells_for_its_own_library() {
    let most = std::env::var("LEAKLINE_TEST_CODE_OBJECTS").unwrap_or_else(|_| MOST.to_owned());
    let mut checked = 0;
    for interpreter in interpreters() {
        let output =
            Command::new(&interpreter).args(["-I", "-W", "ignore", PROGRAM, &most]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(text.ends_with("ok\n"), "{}: {errors}", interpreter.display());
        let mut instructions = 0;
        for line in text.lines().filter(|line| *line != "ok") {
            instructions += check(line);
        }
        eprintln!("{}: {instructions} instructions", interpreter.display());
        assert!(instructions > 100_000, "{}: only {instructions} instructions", interpreter.display());
        checked += 1;
    }
    assert!(checked > 0, "no CPython from 3.9 on is installed");
}

/// Compares a line of the program's, and gives the number of instructions in it.
fn check(line: &str) -> usize {
    let [minor, first_line, table, runs] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
    let table: Vec<u8> = (1..table.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(table.get(at..at + 2).unwrap(), 16).unwrap())
        .collect();
    let code = CodeInfo {
        function: "".into(),
        file: "".into(),
        first_line: first_line.parse().unwrap(),
        lines: table.into(),
        format: LineFormat::of_minor(minor.parse().unwrap()),
    };
    let mut offset = -2i32;
    for run in runs.split(',') {
        let (line_number, count) = run.split_once('*').unwrap();
        for _ in 0..count.parse().unwrap() {
            let found = code.line(offset as u32);
            assert_eq!(found.to_string(), line_number, "at {offset} of {line}");
            offset += 2;
        }
    }
    (offset / 2 + 1) as usize
}

/// Those that can run the program.
fn interpreters() -> Vec<PathBuf> {
    let named = std::env::var_os("LEAKLINE_TEST_PYTHONS");
    if let Some(named) = named {
        return std::env::split_paths(&named).collect();
    }
    let mut candidates = vec![PathBuf::from("/usr/bin/python3")];
    let versions = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv/versions"));
    let installed =
        versions.and_then(|folder| std::fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    candidates.extend(installed.map(|version| version.path().join("bin/python3")));
    candidates.extend(prepared("python"));
    candidates.retain(|python| {
        let is_new = "import sys; sys.exit(sys.version_info < (3, 9))";
        Command::new(python).args(["-Ic", is_new]).status().is_ok_and(|status| status.success())
    });
    candidates
}
