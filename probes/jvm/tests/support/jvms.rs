//! Finds the JVMs of this machine, compiles the Java side of the tests, and runs hosts in processes of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

#[path = "../../../common/tests/support/prepared.rs"]
mod prepared;

use prepared::prepared;

/// Every JVM that is installed: in the usual place, at JAVA_HOME, on the PATH.
pub(crate) fn jvms() -> Vec<PathBuf> {
    let mut homes: Vec<PathBuf> = std::fs::read_dir("/usr/lib/jvm")
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    homes.extend(std::env::var_os("JAVA_HOME").map(PathBuf::from));
    for folder in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        let java = std::fs::canonicalize(folder.join("java")).ok();
        homes.extend(java.and_then(|java| Some(java.parent()?.parent()?.to_owned())));
    }
    homes.extend(prepared("jdk").iter().filter_map(|java| Some(java.parent()?.parent()?.to_owned())));
    let mut homes: Vec<PathBuf> = homes
        .iter()
        .filter(|home| libjvm(home).exists())
        .filter_map(|home| std::fs::canonicalize(home).ok())
        .collect();
    homes.sort();
    homes.dedup();
    assert!(!homes.is_empty(), "these tests need a JVM: install a JDK (on Debian: default-jdk-headless)");
    homes
}

/// The collectors that the JVM at `home` has.
pub(crate) fn collectors(home: &Path) -> Vec<&'static str> {
    ["-XX:+UseSerialGC", "-XX:+UseParallelGC", "-XX:+UseG1GC", "-XX:+UseZGC", "-XX:+UseShenandoahGC"]
        .into_iter()
        .filter(|option| {
            let java = Command::new(home.join("bin/java")).args([option, "-version"]).output();
            java.is_ok_and(|output| output.status.success())
        })
        .collect()
}

pub(crate) fn libjvm(home: &Path) -> PathBuf {
    home.join("lib/server/libjvm.so")
}

/// The folder with the compiled Java side; `android` and `android-old` for the classes that stand in for Android's.
pub(crate) fn classes(part: &str) -> PathBuf {
    static COMPILED: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = COMPILED.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let javac = jvms().into_iter().map(|home| home.join("bin/javac")).find(|javac| javac.exists());
        let javac = javac.expect("these tests need javac: install a JDK");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java");
        let parts: [(&str, &[&str]); 3] = [
            ("host", &["Host.java", "Sites.java"]),
            ("android", &["android/os/Debug.java"]),
            ("android-old", &["old/android/os/Debug.java"]),
        ];
        for (part, files) in parts {
            let out = folder.path().join(part);
            let output = Command::new(&javac)
                .args(["-nowarn", "--release", "11", "-d"])
                .arg(&out)
                .args(files.iter().map(|file| sources.join(file)))
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        folder
    });
    folder.path().join(part)
}

/// One host: this test program again, with a JVM in it that runs `Host`.
pub(crate) struct Host {
    command: Command,
}

impl Host {
    pub(crate) fn new(home: &Path, options: &[&str], arguments: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let class_path = format!("-Djava.class.path={}", classes("host").display());
        let options: Vec<&str> =
            std::iter::once(class_path.as_str()).chain(options.iter().copied()).collect();
        command
            .args(["--exact", "--ignored", "--nocapture", "--quiet", "host"])
            .env("HOST_LIBJVM", libjvm(home))
            .env("HOST_OPTIONS", options.join("\n"))
            .env("HOST_ARGUMENTS", arguments.join("\n"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self { command }
    }

    /// `HOST_AGENT`: as if the JVM had attached leakline as an agent; `HOST_BUSY`: the lane reads all the time, from before the JVM was started; `HOST_SAMPLE`: the mean with which Java's
    /// allocations are sampled.
    pub(crate) fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.command.env(name, value.to_string());
        self
    }

    /// Waits for its end, which must come soon.
    pub(crate) fn run(mut self) -> Output {
        let child = self.command.spawn().unwrap();
        let id = child.id();
        let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = ended.clone();
        let guard = std::thread::Builder::new().spawn(move || {
            let started = Instant::now();
            while !seen.load(std::sync::atomic::Ordering::Relaxed) {
                if started.elapsed() > Duration::from_secs(120) {
                    // SAFETY: a signal to the child that was started above and is still waited for.
                    unsafe { libc::kill(i32::try_from(id).unwrap(), libc::SIGKILL) };
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let output = child.wait_with_output().unwrap();
        ended.store(true, std::sync::atomic::Ordering::Relaxed);
        guard.unwrap().join().unwrap();
        output
    }

    /// Its output, with only what `Host` printed; it must have ended well.
    pub(crate) fn text(self) -> String {
        let output = self.run();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}\n{text}\n{errors}", output.status);
        let begin = text.find("HOST BEGIN\n").map_or(0, |at| at + "HOST BEGIN\n".len());
        let end = text.find("HOST END").unwrap_or(text.len());
        text[begin..end].to_owned()
    }
}
