//! Which layer causes which, in real programs that leak across layers. Each runs until the report says so, for a long time if
//! need be: how many readings it takes to be sure depends on what else the machine does.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use leakline_tests::{Host, Running, built_host, dist, jdks, venv_python, workspace};
use serde_json::Value;

/// Longer than anybody waits.
const SECONDS: &str = "85";
const SERIAL: [&str; 3] = ["-XX:+UseSerialGC", "-Xmx256m", "-Xmn2m"];

/// A program of the corpus, which leaks a megabyte a second.
fn corpus(command: Vec<OsString>) -> Host {
    Host::new(command)
        .options(["--interval", "500ms", "--python-sample", "8KiB", "--native-sample", "16KiB"])
        .variable("LEAK_SECONDS", SECONDS)
        .variable("PYTHONDONTWRITEBYTECODE", "1")
}

fn python(source: &str, words: &[&str]) -> Vec<OsString> {
    let mut command = vec![venv_python().into(), workspace().join("tests/leaks").join(source).into()];
    command.extend(words.iter().map(Into::into));
    command
}

fn java(words: &[&str]) -> Vec<OsString> {
    let java = jdks().into_iter().next().expect("a JDK");
    std::iter::once(java.into_os_string()).chain(words.iter().map(Into::into)).collect()
}

fn report(recording: &Path, options: &[&str]) -> String {
    let mut report = Command::new(dist().leakline);
    let report = report.arg("report").args(options).arg(recording).output().expect("leakline");
    String::from_utf8_lossy(&report.stdout).into_owned()
}

/// Waits until the report has something to say, and ends the program.
fn wait_for(host: Host, what: &str, find: impl Fn(&Value, &str) -> Option<Value>) -> Value {
    let running: Running = host.spawn();
    let recording = running.recording();
    let mut found = None;
    running.wait_until(what, || {
        std::thread::sleep(Duration::from_secs(1));
        let values = serde_json::from_str(&report(&recording, &["--json"])).unwrap_or(Value::Null);
        found = find(&values, &report(&recording, &[]));
        found.is_some()
    });
    running.signal(libc::SIGKILL);
    let _ = running.wait();
    found.expect("it was waited for")
}

/// The report explains most of the growth of one of `layers` by what is `meant`, in the words that it shows.
fn check(host: Host, what: &str, layers: &[&str], meant: impl Fn(&Value) -> bool) -> Value {
    wait_for(host, what, |values, text| {
        let found = values["explanations"].as_array()?.iter();
        let mut of_layers =
            found.filter(|found| layers.iter().any(|layer| found["layer"] == *layer) && meant(found));
        let found = of_layers.find(|found| found["share"].as_f64().is_some_and(|share| share > 0.6))?;
        text.contains(found["words"].as_str()?).then(|| found.clone())
    })
}

/// The line of a source of the corpus that is marked as the one to blame, or has `text`.
fn line_of(source: &str, text: &str) -> usize {
    let source = std::fs::read_to_string(workspace().join("tests").join(source)).expect("a source");
    source.lines().position(|line| line.contains(text)).expect("the line") + 1
}

fn is_at(found: &Value, file: &str, line: usize) -> bool {
    found["at"]["file"].as_str().is_some_and(|path| path.ends_with(file)) && found["at"]["line"] == line
}

#[test]
fn native_growth_under_python_names_the_line_of_python() {
    let line = line_of("leaks/python/leaks.py", "leak: ctypes");
    let found =
        check(corpus(python("python/leaks.py", &["ctypes"])), "native under Python", &["native"], |found| {
            found["by"] == "callers" && found["other_layer"] == "python"
        });
    assert!(is_at(&found, "leaks.py", line), "{line}: {found}");
}

#[test]
fn native_growth_under_java_names_the_method_of_java() {
    let options = ["-cp", &*built_host("jni").to_string_lossy(), "com.example.Bridge"].map(OsString::from);
    let mut command = java(&SERIAL);
    command.extend(options);
    command.push(built_host("libbridge.so").into_os_string());
    command.extend(["leak", "1", SECONDS, "end"].map(OsString::from));
    let found = check(corpus(command), "native under Java", &["native"], |found| {
        found["by"] == "callers" && found["other_layer"] == "jvm"
    });
    let function = found["at"]["function"].as_str().expect("a function");
    assert!(function.starts_with("com.example.Bridge."), "{found}");
}

#[test]
fn javas_growth_under_python_names_the_line_of_python() {
    let line = line_of("leaks/bridge/bridge.py", "leak: java-held-by-python");
    let classes = workspace();
    let host = corpus(python("bridge/bridge.py", &["java-held-by-python", &classes.to_string_lossy()]));
    let host = host.variable("LEAKLINE_JVM_SAMPLE_BYTES", "16KiB");
    let found = check(host, "Java under Python", &["jvm"], |found| {
        found["by"] == "callers" && found["other_layer"] == "python"
    });
    assert!(is_at(&found, "bridge.py", line), "{line}: {found}");
}

#[test]
fn what_java_holds_of_pythons_growth_is_told() {
    let line = line_of("hosts/bridge.py", "inst=Listener(");
    let mut command = vec![venv_python().into(), workspace().join("tests/hosts/bridge.py").into()];
    // Some four megabytes a second, and hardly any garbage of Java's, which would be sampled, too.
    let steps = std::iter::repeat_n("400", 280);
    let words = ["--hold", "3000", "--stay", "0.3", "--collect", "--end", "at-once", "--steps"];
    command.extend(words.into_iter().chain(steps).map(OsString::from));
    let host = corpus(command).variable("LEAKLINE_JVM_SAMPLE_BYTES", "4KiB");
    let found = check(host, "Python held by Java", &["python"], |found| {
        found["by"] == "held" && found["other_layer"] == "jvm"
    });
    assert!(is_at(&found, "bridge.py", line), "{line}: {found}");
}

#[test]
fn a_part_of_the_ledger_that_grows_is_named_beside_the_layer_and_in_the_ledger() {
    let mut command = java(&SERIAL);
    command.extend(["-cp".into(), built_host("java").into_os_string(), "Loaders".into(), SECONDS.into()]);
    let meant = |found: &Value| found["by"] == "part" && found["part"] == "jvm metaspace";
    let found = wait_for(corpus(command), "metaspace", |values, text| {
        let found = values["explanations"].as_array()?.iter().find(|found| meant(found))?;
        let part = values["parts"].as_array()?.iter().find(|part| part["part"] == "jvm metaspace")?;
        let line = text.lines().find(|line| line.starts_with("  jvm metaspace "))?;
        (part["kind"] == "steady" && line.contains(" to ")).then(|| found.clone())
    });
    assert!(found["share_high"].as_f64().is_some_and(|high| high > 0.5), "{found}");
}

#[test]
fn fragmentation_has_the_rates_that_it_rests_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let program: PathBuf = folder.path().join("innocent");
    let source = workspace().join("tests/leaks/native/innocent.c");
    let status = Command::new("cc").args(["-O1", "-g", "-pthread", "-o"]).arg(&program).arg(source).status();
    assert!(status.expect("a C compiler").success());
    let found =
        wait_for(corpus(vec![program.into_os_string(), "holes".into()]), "fragmentation", |values, text| {
            let found = &values["fragmentation"];
            let line = text.lines().find(|line| line.contains(": fragmentation, not a leak"))?;
            (found["share"].as_f64()? > 0.6 && line.contains(" a minute")).then(|| found.clone())
        });
    let rate = |of: &str, end: &str| found[of][end].as_f64().expect("a rate");
    let free = rate("rate", "bytes_per_second");
    // Of a megabyte a second nearly all.
    assert!((0.5e6..1.5e6).contains(&free), "{found}");
    assert!((rate("rate", "low")..=rate("rate", "high")).contains(&free), "{found}");
    assert!(rate("resident_rate", "bytes_per_second") > 0.0, "{found}");
}
