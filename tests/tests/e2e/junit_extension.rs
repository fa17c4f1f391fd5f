//! The JUnit extension: tests that leak fail with the classes that grow, the others pass; with every JDK that is here.

use std::path::{Path, PathBuf};
use std::process::Command;

use leakline_tests::{jdks, workspace};

/// What Debian's package `junit5` installs.
const JARS: &[&str] = &[
    "junit-jupiter-api",
    "junit-jupiter-engine",
    "junit-platform-commons",
    "junit-platform-engine",
    "junit-platform-launcher",
    "junit-platform-console",
    "junit-platform-reporting",
    "opentest4j",
    "apiguardian-api",
    "picocli",
];

fn compile(javac: &Path, classes: &Path, class_path: &str, tests: &Path) {
    let extension = workspace().join("junit/src/leakline/junit");
    let sources =
        ["LeakTest", "LeakExtension", "LiveObjects"].map(|name| extension.join(format!("{name}.java")));
    let output = Command::new(javac)
        .args(["--release", "11", "-g", "-Xlint:all,-options,-path", "-Werror", "-cp", class_path, "-d"])
        .arg(classes)
        .args(sources)
        .arg(tests)
        .output()
        .expect("javac runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_annotated_test_fails_when_live_objects_grow_by_it_and_says_which() {
    let jars: Vec<PathBuf> =
        JARS.iter().map(|jar| Path::new("/usr/share/java").join(format!("{jar}.jar"))).collect();
    if let Some(missing) = jars.iter().find(|jar| !jar.exists()) {
        eprintln!("skipped: JUnit is not installed: {}", missing.display());
        return;
    }
    let class_path = jars.iter().map(|jar| jar.display().to_string()).collect::<Vec<_>>().join(":");
    let tests = workspace().join("tests/hosts/rounds/RoundsTest.java");
    let source = std::fs::read_to_string(&tests).expect("the tests' source");
    for java in jdks() {
        let javac = java.with_file_name("javac");
        if !javac.exists() {
            eprintln!("skipped: no compiler beside {}", java.display());
            continue;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        compile(&javac, folder.path(), &class_path, &tests);
        let output = Command::new(&java)
            .arg("-cp")
            .arg(format!("{}:{class_path}", folder.path().display()))
            .args(["org.junit.platform.console.ConsoleLauncher", "-c", "RoundsTest", "--details=tree"])
            .args(["--disable-ansi-colors", "--disable-banner", "--details-theme=ascii"])
            .output()
            .expect("java runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let names = source.lines().filter_map(|line| line.trim().strip_prefix("void ")?.split('(').next());
        for name in names {
            let mark = if name.starts_with("fails") { "[X]" } else { "[OK]" };
            let words = format!("{name}() {mark}");
            assert!(said.contains(&words), "{}: not said: {words}\n{said}", java.display());
        }
        for words in [
            "bytes per round of java.lang.StringBuilder",
            "16 bytes per round of java.lang.Object",
            "this is the test's own failure",
        ] {
            assert!(said.contains(words), "{}: not said: {words}\n{said}", java.display());
        }
    }
}
