//! The JUnit extension: tests that leak fail with the classes that grow and the lines that allocate them, the others pass;
//! with every JDK that is here, with leakline's library and without it.

use std::path::{Path, PathBuf};
use std::process::Command;

use leakline_tests::{dist, jdks, workspace};

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

const ALL: [&str; 2] = ["-c", "RoundsTest"];
const ONE: [&str; 2] = ["-m", "RoundsTest#failsForWhatIsKept"];

const LIBRARY: &str = "libleakline_junit.so";

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the sources' folder")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "java"))
        .collect();
    files.sort();
    files
}

fn compile(javac: &Path, classes: &Path, class_path: &str) {
    let output = Command::new(javac)
        .args(["--release", "11", "-g", "-Xlint:all,-options,-path", "-Werror", "-cp", class_path, "-d"])
        .arg(classes)
        .args(sources(&workspace().join("junit/src/leakline/junit")))
        .args(sources(&workspace().join("tests/hosts/rounds")))
        .output()
        .expect("javac runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// `File.java:LINE` of the line that is marked so.
fn marked(file: &str, mark: &str) -> String {
    let text =
        std::fs::read_to_string(workspace().join("tests/hosts/rounds").join(file)).expect("the source");
    let mark = format!("// leak: {mark}");
    let line = text.lines().position(|line| line.ends_with(&mark)).expect("a marked line") + 1;
    format!("{file}:{line}")
}

/// What JUnit says of `tests`; `flags` are the JVM's.
fn run(mut command: Command, class_path: &str, flags: &[&str], tests: [&str; 2]) -> String {
    let output = command
        .args(["-Xmx256m", "-cp", class_path])
        .args(flags)
        .args(["org.junit.platform.console.ConsoleLauncher", "--details=tree"])
        .args(["--disable-ansi-colors", "--disable-banner", "--details-theme=ascii"])
        .args(tests)
        .output()
        .expect("java runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn check_said(java: &Path, said: &str, words: &[String]) {
    for words in words {
        assert!(said.contains(words), "{}: not said: {words}\n{said}", java.display());
    }
}

/// JUnit tells the time between name and mark, if it was long.
fn check_outcome(java: &Path, said: &str, name: &str) {
    let mark = if name.starts_with("fails") { "[X]" } else { "[OK]" };
    let is_told = said.lines().any(|line| line.contains(&format!("-- {name}() ")) && line.contains(mark));
    assert!(is_told, "{}: {name} is not {mark}\n{said}", java.display());
}

/// Each test fails or passes as its name says, and `words` are said.
fn check(java: &Path, said: &str, words: &[String]) {
    let source =
        std::fs::read_to_string(workspace().join("tests/hosts/rounds/RoundsTest.java")).expect("the source");
    let names: Vec<&str> =
        source.lines().filter_map(|line| line.trim().strip_prefix("void ")?.split('(').next()).collect();
    assert!(names.len() > 5, "the tests' names: {names:?}");
    for name in names {
        check_outcome(java, said, name);
    }
    check_said(java, said, words);
}

#[test]
fn an_annotated_test_fails_when_live_objects_grow_by_it_and_says_which_line_makes_them() {
    let jars: Vec<PathBuf> =
        JARS.iter().map(|jar| Path::new("/usr/share/java").join(format!("{jar}.jar"))).collect();
    if let Some(missing) = jars.iter().find(|jar| !jar.exists()) {
        eprintln!("skipped: JUnit is not installed: {}", missing.display());
        return;
    }
    let jars = jars.iter().map(|jar| jar.display().to_string()).collect::<Vec<_>>().join(":");
    let jdks = jdks();
    for (index, java) in jdks.iter().enumerate() {
        let javac = java.with_file_name("javac");
        if !javac.exists() {
            eprintln!("skipped: no compiler beside {}", java.display());
            continue;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        compile(&javac, folder.path(), &jars);
        let class_path = format!("{}:{jars}", folder.path().display());

        // Not in the jar yet. The recorder takes its time, and the newest Java has most of what could disturb.
        let wanted = recorded("is not in the jar, and -Dleakline.junit.library=PATH names none");
        if index + 1 == jdks.len() {
            check(java, &run(Command::new(java), &class_path, &[], ALL), &wanted);
        } else {
            check_said(java, &run(Command::new(java), &class_path, &[], ONE), &wanted);
        }

        // As the jar has it.
        let place = folder.path().join(format!("leakline/junit/linux-{}", std::env::consts::ARCH));
        std::fs::create_dir_all(&place).expect("a folder beside the classes");
        std::fs::copy(dist().libraries.join(LIBRARY), place.join(LIBRARY)).expect("the library is copied");
        let said = run(Command::new(java), &class_path, &["-Xcheck:jni"], ALL);
        check(java, &said, &counted());
        assert!(!said.contains("in Sessions.remember"), "{}: that is no leak:\n{said}", java.display());

        // leakline itself has HotSpot sample for it, which it does for one only: whoever comes first.
        if index == 0 {
            let mut leakline = Command::new(&dist().leakline);
            leakline.args(["run", "--quiet", "--"]).arg(java);
            let said = run(leakline, &class_path, &[], ONE);
            check_outcome(java, &said, "failsForWhatIsKept");
            let wanted = if said.contains("does not tell") {
                vec!["another tool has this JVM sample allocations".to_owned()]
            } else {
                counted().into_iter().take(1).collect()
            };
            check_said(java, &said, &wanted);
        }
    }
}

/// With leakline's library.
fn counted() -> Vec<String> {
    let test = |mark| marked("RoundsTest.java", mark);
    let grows = |class, bytes, line: &str, method| {
        format!("{class} grows by {bytes} bytes (1 object) per round, allocated at {line} in {method}")
    };
    let builder = grows("byte[]", 520, &test("builder"), "RoundsTest.failsForWhatIsKept");
    let open = grows("byte[]", 512, &marked("Sessions.java", "open"), "Sessions.open");
    vec![
        format!("{builder}, through StringBuilder.java:"),
        grows("java.lang.StringBuilder", 24, &test("builder"), "RoundsTest.failsForWhatIsKept"),
        grows("java.lang.Object", 16, &test("object"), "RoundsTest.failsForSmallObjects"),
        format!("{open} <- {} in RoundsTest.failsForFewRounds", test("open's caller")),
        grows("byte[]", 512, &test("beside"), "RoundsTest.failsBesideARing"),
        // That thread is told of a little later: in a pass that this falls into there are fewer.
        format!("allocated at {} in Sessions.lambda$openElsewhere$", marked("Sessions.java", "elsewhere")),
        "this is the test's own failure".to_owned(),
    ]
}

/// By the JVM's own flight recorder, and why.
fn recorded(reason: &str) -> Vec<String> {
    let line = marked("RoundsTest.java", "builder").replace("RoundsTest.java:", "line ");
    vec![
        format!(
            "byte[] grows by 520 bytes (1 object) per round, allocated at {line} of RoundsTest.failsForWhatIsKept"
        ),
        reason.to_owned(),
    ]
}
