//! What lies between Python's heap and Java's, in real programs: how many Python objects Java holds, to the object, while
//! it takes more and lets go of them; and a bridge whose one side ends while it is read.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::Command;

use leakline_core::{ReadingStatus, SiteHolder, names};
use leakline_tests::{Host, Outcome, built_host, dist, jdks, venv_python, workspace};

fn python(program: &str) -> Vec<OsString> {
    vec![venv_python().into(), workspace().join("tests/hosts").join(program).into()]
}

fn bridge(words: &str, interval: &str) -> Host {
    let mut command = python("bridge.py");
    command.extend(words.split(' ').map(Into::into));
    Host::new(command).options(["--interval", interval])
}

/// The values of a gauge, one after the other, without repetitions.
fn changes(outcome: &Outcome, gauge: &str) -> Vec<u64> {
    let mut values: Vec<u64> = outcome
        .snapshots()
        .iter()
        .filter_map(|snapshot| snapshot.gauge(gauge))
        .map(|value| value as u64)
        .collect();
    values.dedup();
    values
}

/// What the program said of itself, in its own words.
fn said(outcome: &Outcome) -> Vec<u64> {
    let numbers =
        outcome.stdout.lines().filter(|line| line.starts_with("begins") || line.starts_with("holds"));
    numbers.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
}

fn check_silent(outcome: &Outcome) {
    let complaint = outcome.stdout.lines().find(|line| line.contains("WARNING") || line.contains("FATAL"));
    assert_eq!(complaint, None, "{}", outcome.stdout);
    assert!(outcome.stderr.is_empty(), "{}", outcome.stderr);
}

fn report(outcome: &Outcome, options: &[&str]) -> String {
    let mut report = Command::new(dist().leakline);
    let report = report.arg("report").args(options).arg(outcome.recording()).output().expect("leakline");
    String::from_utf8_lossy(&report.stdout).into_owned()
}

/// The report names `line` as the one that let Java have from `least` to `most` objects, as well as samples can tell.
#[track_caller]
fn check_line(outcome: &Outcome, line: &str, (least, most): (f64, f64)) {
    let text = report(outcome, &[]);
    assert!(text.contains(&format!("  created at {line}: about ")), "{line}: {text}");
    let values: serde_json::Value = serde_json::from_str(&report(outcome, &["--json"])).expect("JSON");
    let found = values["java_got_python"].as_array().expect("lines");
    let found: Vec<_> = found.iter().filter(|one| one["at"] == line).collect();
    assert_eq!(found.len(), 1, "{line}: {text}");
    let (objects, error) = (&found[0]["objects"], &found[0]["standard_error_objects"]);
    let (objects, error) = (objects.as_f64().expect("objects"), error.as_f64().expect("their error"));
    let range = least - 4.5 * error..=most + 4.5 * error;
    assert!(range.contains(&objects), "{objects} ± {error}, not {least} to {most}");
}

/// Where `text` stands in a host's source.
fn line_of(source: &str, text: &str) -> usize {
    let source = std::fs::read_to_string(workspace().join("tests/hosts").join(source)).expect("a source");
    source.lines().position(|line| line.contains(text)).expect("the line") + 1
}

#[test]
fn the_line_of_python_that_lets_java_have_objects_is_told() {
    // leakline is there when it takes them.
    let host = bridge("--collect --steps 1 4000 --stay 3 --java Xcheck:jni --end at-once", "200ms");
    let outcome = host.variable("LEAKLINE_JVM_SAMPLE_BYTES", "4KiB").run().succeeded();
    check_silent(&outcome);
    let line = line_of("bridge.py", "inst=Listener(");
    check_line(&outcome, &format!("bridge.py:{line} main"), (4000.0, 4000.0));
}

#[test]
fn the_line_of_java_that_takes_python_objects_is_told() {
    let host = jep("bridge", &["--seconds", "10", "--listeners", "4000", "--rate", "2000000"]);
    let host = host.variable("LEAKLINE_JVM_SAMPLE_BYTES", "4KiB");
    // There is a collection each second or so.
    let host = host.variable("JAVA_TOOL_OPTIONS", "-XX:+UseSerialGC -Xmn4m");
    let outcome = host.run().succeeded();
    let line = line_of("jep_host/JepHost.java", "embedded.listener");
    // A busy machine may have leakline there only for the second half of them.
    check_line(&outcome, &format!("JepHost.java:{line} JepHost.run"), (4000.0, 8000.0));
}

#[test]
fn the_python_objects_that_java_holds_are_told_to_the_object() {
    let outcome =
        bridge("--steps 1000 2000 0 50 --stay 3 --java Xcheck:jni --end at-once", "200ms").run().succeeded();
    check_silent(&outcome);
    assert_eq!(said(&outcome), [0, 1000, 3000, 0, 50]);
    let read = changes(&outcome, names::BRIDGE_JAVA_HOLDS_PYTHON);
    // A reading may come while the program takes objects or lets go of them: the others are exact.
    let told: BTreeSet<u64> = read.iter().copied().collect();
    for exact in [1000, 3000, 0, 50] {
        assert!(told.contains(&exact), "{exact}: {read:?}");
    }
    assert_eq!(read.last(), Some(&50));
    let report = report(&outcome, &[]);
    let line = report.lines().find(|line| line.contains("Java holds Python objects: 50, "));
    assert!(line.is_some_and(|line| line.contains(" per tick")), "{report}");
    // Of fifty small objects there is hardly a sample.
    assert!(report.contains("  which line lets Java have them is not sampled yet"), "{report}");
}

#[test]
fn one_runtime_may_end_while_the_bridge_is_read() {
    for end in ["jvm", "python", "at-once"] {
        for _ in 0..3 {
            let words = format!("--steps 300 --stay 2 --java Xcheck:jni --end {end}");
            let outcome = bridge(&words, "100ms").run().succeeded();
            check_silent(&outcome);
            assert!(outcome.stdout.ends_with("ends\n"), "{end}: {}", outcome.stdout);
            assert!(changes(&outcome, names::BRIDGE_JAVA_HOLDS_PYTHON).contains(&300), "{end}");
        }
    }
}

#[test]
fn without_a_bridge_there_is_no_word_of_it() {
    let outcome = Host::new(python("busy.py")).options(["--interval", "200ms"]).run().succeeded();
    let snapshots = outcome.snapshots();
    let readings: Vec<_> = snapshots.iter().filter_map(|snapshot| snapshot.reading("bridge")).collect();
    assert!(readings.iter().all(|reading| reading.notes.is_empty()));
    assert!(readings.iter().all(|reading| matches!(reading.status, ReadingStatus::Absent { .. })));
}

/// A JVM with Python in it.
fn jep(leak: &str, words: &[&str]) -> Host {
    let java = jdks().into_iter().next().expect("a JDK");
    let mut arguments = OsString::from("@");
    arguments.push(built_host("jep_host.arguments"));
    let own = ["--leak", leak].into_iter().chain(words.iter().copied()).map(OsString::from);
    let command = [java.into_os_string(), arguments].into_iter().chain(own);
    Host::new(command).options(["--interval", "200ms"])
}

#[test]
fn the_python_objects_that_java_holds_through_jep_are_told_to_the_object() {
    let outcome = jep("bridge", &["--seconds", "9"]).run().succeeded();
    assert!(outcome.stdout.contains("Java holds 1000 Python objects"), "{}", outcome.stdout);
    let read = changes(&outcome, names::BRIDGE_JAVA_HOLDS_PYTHON);
    for exact in [500, 1000] {
        assert!(read.contains(&exact), "{exact}: {read:?}");
    }
}

/// With Chaquopy's own classes. That each of its objects is one of the classes that are counted, too, is a second witness.
#[test]
fn the_python_objects_that_java_holds_through_chaquopy_are_told_to_the_object() {
    let library = built_host("libchaquopy_java.so");
    let classes = library.with_file_name("chaquopy");
    if !classes.is_dir() {
        eprintln!("skipped: Chaquopy's classes could not be fetched");
        return;
    }
    let java = jdks().into_iter().next().expect("a JDK");
    let mut path = OsString::from(&classes);
    path.push(":");
    path.push(library.with_file_name("chaquopy_java.jar"));
    let command = [java.into_os_string(), "-Xcheck:jni".into(), "-cp".into(), path];
    let command = command.into_iter().chain(["ChaquopyHost".into(), library.into_os_string()]);
    let outcome = Host::new(command).options(["--interval", "200ms"]).run().succeeded();
    check_silent(&outcome);
    assert_eq!(changes(&outcome, names::BRIDGE_JAVA_HOLDS_PYTHON), [500, 1000]);
    let snapshots = outcome.snapshots();
    let mut counted = snapshots.iter().filter_map(|snapshot| snapshot.reading("jvm")?.profile("types"));
    let last = counted.next_back().expect("a histogram");
    let is_meant = |holder: &SiteHolder| matches!(holder, SiteHolder::Class(name) if &**name == "com.chaquo.python.PyObject");
    let objects = last.sites().iter().find(|stat| is_meant(stat.site.holder()));
    assert_eq!(objects.map(|stat| stat.live.blocks), Some(1000));
}

/// A Java object that Python keeps is a global reference of JPype's.
#[test]
fn the_java_objects_that_python_holds_are_global_references_by_class() {
    let outcome = bridge(
        "--census --loaders 300 --keep 500 --steps 1 1 --stay 2 --java Xcheck:jni --end at-once",
        "200ms",
    );
    let outcome = outcome.run().succeeded();
    check_silent(&outcome);
    let of_class = format!("{}.java.lang.StringBuilder", names::JVM_GLOBAL_REFS);
    assert_eq!(changes(&outcome, &of_class).last(), Some(&1000));
    // Python's own census, at the first reading, knows nothing of it yet; the program asks for another at its end.
    let wrappers = changes(&outcome, names::BRIDGE_PYTHON_HOLDS_JAVA);
    assert!(wrappers.last().is_some_and(|last| (1300..1400).contains(last)), "{wrappers:?}");
    let loaders = changes(&outcome, names::JVM_CLASS_LOADERS);
    assert!(loaders.last().is_some_and(|last| (302..320).contains(last)), "{loaders:?}");
    let all = changes(&outcome, names::JVM_GLOBAL_REFS);
    assert!(all.last().is_some_and(|last| (1000..4000).contains(last)), "{all:?}");
}
