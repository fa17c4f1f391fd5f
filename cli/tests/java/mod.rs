//! Real JVMs for tests: every JDK of this machine, and a program that is ended with the test.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The JDKs of this machine; where there is none, the test says that it was skipped.
pub(crate) fn jdks() -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir("/usr/lib/jvm")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|folder| folder.path().join("bin/javac").is_file())
        .filter_map(|folder| folder.path().canonicalize().ok())
        .collect();
    found.sort();
    found.dedup();
    if found.is_empty() {
        eprintln!("skipped: no JDK in /usr/lib/jvm");
    }
    found
}

/// A program that is ended with the test.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Runs class `name` in `folder`, compiled there if it is not yet; it says `ready` when it is.
    pub(crate) fn java(jdk: &Path, folder: &Path, options: &[&str], name: &str, text: &str) -> Self {
        if !folder.join(format!("{name}.class")).exists() {
            let source = folder.join(format!("{name}.java"));
            fs::write(&source, text).expect("written");
            let compiled =
                Command::new(jdk.join("bin/javac")).arg("-g").arg(&source).status().expect("javac runs");
            assert!(compiled.success(), "{jdk:?} {name}");
        }
        let mut child = Command::new(jdk.join("bin/java"))
            .args(options)
            .arg("-cp")
            .arg(folder)
            .arg(name)
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

    pub(crate) fn is_alive(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|ended| ended.is_none())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
