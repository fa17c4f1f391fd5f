//! The pytest marker: tests that leak fail with the line that leaks, the others pass.

use std::process::Command;

use leakline_tests::{dist, venv_python, workspace};

#[test]
fn a_marked_test_fails_when_memory_grows_by_it_and_says_where() {
    let tests = workspace().join("tests/hosts/rounds/test_rounds.py");
    let output = Command::new(venv_python())
        .args(["-m", "pytest", "-rA", "-p", "no:cacheprovider", "-p", "leakline_pytest"])
        .arg(&tests)
        .env("PYTHONPATH", workspace().join("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTEST_LEAKLINE", dist().leakline)
        .output()
        .expect("pytest runs");
    let said = String::from_utf8_lossy(&output.stdout);
    if said.is_empty() && String::from_utf8_lossy(&output.stderr).contains("No module named pytest") {
        eprintln!("skipped: the project's Python environment has no pytest");
        return;
    }
    let source = std::fs::read_to_string(&tests).expect("the tests' source");
    for name in source.lines().filter_map(|line| line.strip_prefix("def test_")?.split('(').next()) {
        let word = if name.starts_with("fails") { "FAILED" } else { "PASSED" };
        let line = format!("test_rounds.py::test_{name}");
        let told = said
            .lines()
            .any(|told| told.starts_with(word) && told.split_whitespace().any(|word| word.ends_with(&line)));
        assert!(told, "{name} should have {word}:\n{said}");
    }
    let leak = source.lines().position(|line| line.contains("KEPT.append")).expect("a leaking line") + 1;
    for words in [
        "python grows by ".to_owned(),
        format!("test_rounds.py:{leak} test_fails_in_python"),
        "native grows by ".to_owned(),
        "this is the test's own failure".to_owned(),
    ] {
        assert!(said.contains(&words), "not said: {words}\n{said}");
    }
}
