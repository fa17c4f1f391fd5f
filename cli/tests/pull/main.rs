//! `leakline pull` with a program in adb's place: what is fetched, what is refused, and with which words.
//! No device takes part; what a real adb prints was taken from its sources.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::Command;

const ONE: &str = "A1\tdevice";

/// Everything that is at hand: a folder, what the fake adb reads, and what is there after.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new(devices: &str, mode: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("app")).expect("a folder");
        fs::write(folder.path().join("devices"), devices).expect("written");
        fs::write(folder.path().join("mode"), mode).expect("written");
        let desk = Self(folder);
        files.iter().for_each(|(name, tail)| desk.on_device(name, tail));
        desk
    }

    fn on_device(&self, name: &str, tail: &str) {
        fs::write(self.0.path().join("app").join(name), recording(tail)).expect("written");
    }

    /// Status, and all that was written.
    fn pull(&self, words: &str, variables: &[(&str, &Path)]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leakline"));
        command.args(["pull"]).args(words.split_whitespace()).current_dir(self.0.path());
        for name in ["ADB", "ANDROID_HOME", "ANDROID_SDK_ROOT", "ANDROID_SERIAL", "HOME"] {
            command.env_remove(name);
        }
        command.env("FAKE", self.0.path()).envs(variables.iter().copied());
        let output = command.output().expect("leakline runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    fn read(&self, path: &str) -> Option<Vec<u8>> {
        fs::read(self.0.path().join(path)).ok()
    }

    /// What is in the folder that was written to.
    fn names(&self) -> String {
        let Ok(entries) = fs::read_dir(self.0.path().join("com.example.app")) else { return String::new() };
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names.join(" ")
    }
}

fn fake_adb() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pull/adb"))
}

fn recording(tail: &str) -> Vec<u8> {
    [&leakline_proto::recording::header()[..], tail.as_bytes()].concat()
}

/// What `leakline pull --package com.example.app OPTIONS` says, and what it leaves.
fn check(devices: &str, mode: &str, options: &str, says: &[&str], names: &str) {
    let desk =
        Desk::new(devices, mode, &[("main.leak", "abcdefgh"), ("main.leak.1", "x"), ("notes.txt", "")]);
    let (status, said) = desk.pull(&format!("--package com.example.app {options}"), &[("ADB", fake_adb())]);
    for part in says {
        assert!(said.contains(part), "{mode} {options}: no {part:?} in\n{said}");
    }
    assert_eq!(
        status,
        Some(i32::from(says.iter().any(|part| part.contains("error:")))),
        "{mode} {options}: {said}"
    );
    assert_eq!(desk.names(), names, "{mode} {options}: {said}");
}

const FETCHED: &str = "main.leak main.leak.1";
const ERROR: &str = "leakline: error:";

#[test]
fn recordings_are_fetched_and_what_is_wrong_is_told_with_a_remedy() {
    let two = "A1\tdevice\nB2\tdevice";
    let fetched =
        ["com.example.app on A1: 2 recordings", "24 B, new", "leakline report com.example.app/main.leak\n"];
    check(ONE, "", "", &fetched, FETCHED);
    check(ONE, "", "", &["left in files/leakline: 1 other file\n"], FETCHED);
    check(two, "", "--serial B2", &["com.example.app on B2"], FETCHED);
    check(ONE, "daemon", "", &fetched, FETCHED);
    check("", "", "", &[ERROR, "no device is connected"], "");
    check(two, "", "", &[ERROR, "choose one with --serial: A1, B2"], "");
    check(two, "", "--serial C3", &[ERROR, "there is no device C3; connected: A1, B2"], "");
    check("A1\tunauthorized", "", "", &[ERROR, "A1 has not authorized this computer"], "");
    check("A1\toffline", "", "", &[ERROR, "A1 does not answer"], "");
    check(ONE, "server", "", &[ERROR, "failed to check server version"], "");
    check(ONE, "gone", "", &[ERROR, "device 'A1' not found"], "");
    check(ONE, "release", "", &[ERROR, "no debug build", "run-as: package not debuggable"], "");
    check(ONE, "unknown", "", &[ERROR, "is not installed on A1"], "");
    check(ONE, "status", "", &[ERROR, "is not installed on A1"], "");
    check(ONE, "none", "", &[ERROR, "has no recordings", "logcat -s Leakline"], "");
    check(ONE, "short", "", &[ERROR, "only 20 B of 24 B came", "main.leak.1  17 B, new"], "main.leak.1");
    check(ONE, "closed", "", &[ERROR, "adb failed: error: closed"], "");
    check(
        ONE,
        "denied",
        "",
        &[ERROR, "the device says: cat: files/leakline/main.leak: Permission denied"],
        "",
    );
}

#[test]
fn what_is_here_is_continued_or_kept_and_never_lost() {
    let desk = Desk::new(ONE, "", &[("main.leak", "abc")]);
    for (tail, says, names) in [
        ("abc", "19 B, new", "main.leak"),
        ("abc", "unchanged", "main.leak"),
        ("abcdef", "19 B were here before", "main.leak"),
        ("other", "another session's was here and is now main.leak.before-1", "main.leak main.leak.before-1"),
        ("third", "is now main.leak.before-2", "main.leak main.leak.before-1 main.leak.before-2"),
    ] {
        desk.on_device("main.leak", tail);
        let (status, said) = desk.pull("--package com.example.app", &[("ADB", fake_adb())]);
        assert!(status == Some(0) && said.contains(says), "{tail}: {said}");
        assert_eq!(desk.names(), names, "{tail}");
        assert_eq!(desk.read("com.example.app/main.leak"), Some(recording(tail)), "{tail}");
    }
    assert_eq!(desk.read("com.example.app/main.leak.before-1"), Some(recording("abcdef")));
}

#[test]
fn a_shells_words_reach_no_shell() {
    for name in ["a.b;id", "$(id).b", "a.b c", "--help", "app"] {
        let desk = Desk::new(ONE, "", &[]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_leakline"));
        command.args(["pull", "--package", name]).env("ADB", fake_adb()).env("FAKE", desk.0.path());
        let output = command.output().expect("leakline runs");
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert_eq!(desk.read("asked"), None, "{name}");
    }
}

#[test]
fn the_commands_are_printed_without_being_run() {
    let desk = Desk::new(ONE, "", &[]);
    let words = "--package com.example.app --serial A1 --output out --print";
    let (status, said) =
        desk.pull(words, &[("ADB", Path::new("/nowhere/adb")), ("PATH", Path::new("/nowhere"))]);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(
        said,
        "mkdir -p out\n\
         adb -s A1 exec-out run-as com.example.app ls -ln files/leakline\n\
         adb -s A1 exec-out run-as com.example.app cat files/leakline/main.leak > out/main.leak\n\
         # another process's recording has that process's name\n\
         leakline report out/main.leak\n"
    );
    let (_, said) = desk.pull(words, &[("ADB", fake_adb())]);
    assert!(said.contains("/tests/pull/adb -s A1 exec-out run-as"), "{said}");
    assert_eq!(desk.read("asked"), None);
}

#[test]
fn without_adb_the_error_names_where_it_looked_and_what_to_type() {
    let desk = Desk::new(ONE, "", &[]);
    let nowhere = Path::new("/nowhere");
    let (status, said) =
        desk.pull("--package com.example.app", &[("PATH", nowhere), ("ANDROID_HOME", nowhere)]);
    assert_eq!(status, Some(1), "{said}");
    for part in [
        "leakline: error: adb was not found",
        "/nowhere/platform-tools/adb ($ANDROID_HOME)",
        "not set: ADB, ANDROID_SDK_ROOT",
        "adb exec-out run-as com.example.app cat files/leakline/main.leak > com.example.app/main.leak",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}
