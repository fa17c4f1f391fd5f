//! `leakline heapdump` on real JVMs: the dump holds what the program planted, and what cannot be is refused with a reason.
//! Where no JDK is installed it says that it was skipped.

#![cfg(target_os = "linux")]

mod java;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use java::{Running, jdks};

const HOLDER: &str = "\
import java.util.*;
public class Holder {
    static final class PlantedByTheTest {}
    static final List<Object> kept = new ArrayList<>();
    public static void main(String[] words) throws Exception {
        kept.add(new PlantedByTheTest());
        System.out.println(\"ready\");
        Thread.sleep(120_000);
    }
}
";

/// Status and what was written, to both.
fn heapdump(pid: u32, file: &Path, options: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_leakline"))
        .arg("heapdump")
        .arg(pid.to_string())
        .arg("-o")
        .arg(file)
        .args(options)
        .output()
        .expect("leakline runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_dump_holds_what_was_planted_and_overwrites_nothing() {
    for jdk in jdks() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut java = Running::java(&jdk, folder.path(), &["-XX:+UseSerialGC", "-Xmx64m"], "Holder", HOLDER);
        for (name, options) in [("all.hprof", &[][..]), ("live.hprof", &["--live"][..])] {
            let file = folder.path().join(name);
            let (done, said) = heapdump(java.0.id(), &file, options);
            assert!(done, "{jdk:?} {name}: {said}");
            let dump = fs::read(&file).expect("written");
            assert!(dump.starts_with(b"JAVA PROFILE 1.0.2\0"), "{jdk:?} {name}");
            let planted = b"Holder$PlantedByTheTest";
            assert!(dump.windows(planted.len()).any(|bytes| bytes == planted), "{jdk:?} {name}");

            let (done, said) = heapdump(java.0.id(), &file, options);
            assert!(!done && said.contains("is not overwritten"), "{said}");
            assert_eq!(fs::read(&file).expect("still there"), dump);
        }
        let (done, said) = heapdump(java.0.id(), Path::new("/proc/no.hprof"), &[]);
        assert!(!done && said.contains("wrote no heap dump"), "{jdk:?}: {said}");
        assert!(java.is_alive());
    }
}

/// A collector that listens, with its address.
fn collector(folder: &Path) -> (Running, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_leakline"))
        .args(["collect", "--listen", "127.0.0.1:0", "--folder"])
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("leakline runs");
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut first).expect("a line");
    (Running(child), first.split_whitespace().nth(2).expect("an address").to_owned())
}

#[test]
fn a_dump_comes_to_the_collector_and_stays_here_only_when_asked_for() {
    for jdk in jdks() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = folder.path().join("kept");
        let (_collector, address) = collector(&kept);
        let java = Running::java(&jdk, folder.path(), &["-XX:+UseSerialGC", "-Xmx64m"], "Holder", HOLDER);
        let words = ["heapdump", &java.0.id().to_string(), "--to", &address];
        let output = Command::new(env!("CARGO_BIN_EXE_leakline")).args(words).output().expect("runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let prefix = format!("process-{}-", java.0.id());
        assert!(said.starts_with(&prefix) && said.contains("of no session"), "{jdk:?}: {said}");
        let name = said.split_whitespace().next().expect("a name");
        let dump = fs::read(kept.join(name)).expect("it is there");
        assert!(dump.starts_with(b"JAVA PROFILE 1.0.2\0"), "{jdk:?}");
        assert_eq!(left_in_passing(java.0.id()), 0, "{jdk:?}");

        let file = folder.path().join("here.hprof");
        let (done, said) = heapdump(java.0.id(), &file, &["--to", &address]);
        assert!(done && file.exists(), "{jdk:?}: {said}");
        assert_eq!(fs::read_dir(&kept).expect("a folder").count(), 2, "{jdk:?}");

        let file = folder.path().join("unsent.hprof");
        let (done, said) = heapdump(java.0.id(), &file, &["--to", "127.0.0.1:1"]);
        assert!(!done && said.contains("nobody answers") && said.contains("unsent.hprof"), "{jdk:?}: {said}");
        assert!(file.exists(), "{jdk:?}");
    }
}

/// Dumps of a process in the folder for temporary files.
fn left_in_passing(pid: u32) -> usize {
    let prefix = format!("leakline-{pid}-");
    let all = fs::read_dir(std::env::temp_dir()).expect("a folder").flatten();
    all.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).count()
}

#[test]
fn a_jvm_that_would_die_of_the_signal_is_left_alone() {
    for jdk in jdks() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut java =
            Running::java(&jdk, folder.path(), &["-Xrs", "-XX:+DisableAttachMechanism"], "Holder", HOLDER);
        let (done, said) = heapdump(java.0.id(), &folder.path().join("no.hprof"), &[]);
        assert!(!done && said.contains("handles no SIGQUIT"), "{jdk:?}: {said}");
        assert!(java.is_alive());
    }
}

#[test]
fn what_is_no_jvm_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut sleeper = Running(Command::new("sleep").arg("60").spawn().expect("sleep runs"));
    let (done, said) = heapdump(sleeper.0.id(), &folder.path().join("no.hprof"), &[]);
    assert!(!done && said.contains("has no JVM in it"), "{said}");
    assert!(sleeper.is_alive());
    let (done, said) = heapdump(i32::MAX as u32, &folder.path().join("no.hprof"), &[]);
    assert!(!done && said.contains("there is no process"), "{said}");
}
