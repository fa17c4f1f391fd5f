//! `leakline heapdump` on real JVMs: the dump holds what the program planted, and what cannot be is refused with a reason.
//! Where no JDK is installed it says that it was skipped.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

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

/// The JDKs of this machine.
fn jdks() -> Vec<PathBuf> {
    let Ok(folders) = fs::read_dir("/usr/lib/jvm") else { return Vec::new() };
    let mut found: Vec<_> = folders
        .flatten()
        .filter(|folder| folder.path().join("bin/javac").is_file())
        .filter_map(|folder| folder.path().canonicalize().ok())
        .collect();
    found.sort();
    found.dedup();
    found
}

/// A program that is ended with the test.
struct Running(Child);

impl Running {
    fn java(jdk: &Path, folder: &Path, options: &[&str]) -> Self {
        let source = folder.join("Holder.java");
        fs::write(&source, HOLDER).expect("written");
        let mut child = Command::new(jdk.join("bin/java"))
            .args(options)
            .arg(&source)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("java runs");
        let mut line = String::new();
        let output = child.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n", "{jdk:?} {options:?}");
        Self(child)
    }

    fn is_alive(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|ended| ended.is_none())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

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
    if jdks().is_empty() {
        eprintln!("skipped: no JDK in /usr/lib/jvm");
    }
    for jdk in jdks() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut java = Running::java(&jdk, folder.path(), &["-XX:+UseSerialGC", "-Xmx64m"]);
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

#[test]
fn a_jvm_that_would_die_of_the_signal_is_left_alone() {
    for jdk in jdks() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut java = Running::java(&jdk, folder.path(), &["-Xrs", "-XX:+DisableAttachMechanism"]);
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
