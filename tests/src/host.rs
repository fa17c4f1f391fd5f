//! Runs a program under `leakline run` as a user would, and reads what it left behind.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use leakline_core::Snapshot;
use leakline_proto::recording::{Item, Reader};
use leakline_proto::{Decoder, Event};

use crate::machine::dist;

/// No host of a test runs longer than this, if nothing else is said.
const PATIENCE: Duration = Duration::from_secs(90);

/// A program to be run under `leakline run`.
#[derive(Debug)]
pub struct Host {
    options: Vec<OsString>,
    command: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    patience: Duration,
    folder: tempfile::TempDir,
}

impl Host {
    /// `command` is the program and its arguments.
    pub fn new<A: Into<OsString>>(command: impl IntoIterator<Item = A>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = ["-o".into(), folder.path().join("host.leak").into(), "--quiet".into()].into();
        let command = command.into_iter().map(Into::into).collect();
        Self { options, command, variables: Vec::new(), patience: PATIENCE, folder }
    }

    /// More options for `leakline run`.
    pub fn options<A: Into<OsString>>(mut self, options: impl IntoIterator<Item = A>) -> Self {
        self.options.extend(options.into_iter().map(Into::into));
        self
    }

    /// Lets the log lines go to stderr.
    pub fn loud(mut self) -> Self {
        self.options.retain(|option| option != "--quiet");
        self
    }

    /// An environment variable of the host.
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// It may run so much longer.
    pub fn longer_by(mut self, time: Duration) -> Self {
        self.patience += time;
        self
    }

    /// The folder that is this host's alone; it goes with the outcome.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it.
    pub fn spawn(self) -> Running {
        let child = Command::new(dist().leakline)
            .arg("run")
            .args(&self.options)
            .arg("--")
            .args(&self.command)
            .env_remove("LEAKLINE_DIST")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("leakline runs");
        Running { child, patience: self.patience, folder: self.folder }
    }

    /// Runs it to its end.
    pub fn run(self) -> Outcome {
        self.spawn().wait()
    }
}

/// A host that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    patience: Duration,
    folder: tempfile::TempDir,
}

impl Running {
    /// The host's pid, which is `leakline run`'s: it replaces itself by the program.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its recording is.
    pub fn recording(&self) -> PathBuf {
        self.folder.path().join("host.leak")
    }

    /// The folder that is this host's alone.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until `done` says so; panics when that takes too long.
    pub fn wait_until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < self.patience, "waited too long: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the recording has `count` snapshots.
    pub fn wait_for_snapshots(&self, count: usize) {
        let recording = self.recording();
        self.wait_until("snapshots in the recording", || {
            recording.exists() && snapshots(&read_recording(&recording)).count() >= count
        });
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        let pid = libc::pid_t::try_from(self.child.id()).expect("a pid");
        // SAFETY: takes no pointers; the child was not waited for yet, so the pid is still its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Waits for its end, killing it when it takes too long.
    pub fn wait(mut self) -> Outcome {
        let stdout = drain(self.child.stdout.take());
        let stderr = drain(self.child.stderr.take());
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the child can be waited for") {
                break status;
            }
            if begun.elapsed() > self.patience {
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!("the host did not end within {:?}", self.patience);
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        self.wait_for_the_watcher(status);
        let text = |thread: std::thread::JoinHandle<String>| thread.join().expect("a drained pipe");
        Outcome { status, stdout: text(stdout), stderr: text(stderr), folder: self.folder }
    }
}

impl Running {
    /// A host that was killed waits for nobody: its watcher writes the end of the recording after it.
    fn wait_for_the_watcher(&self, status: ExitStatus) {
        use std::os::unix::process::ExitStatusExt as _;
        let (recording, begun) = (self.recording(), Instant::now());
        let is_begun = || std::fs::metadata(&recording).is_ok_and(|file| file.len() > 0);
        let is_open = || !is_begun() || !matches!(read_recording(&recording).last(), Some(Event::End(_)));
        while status.signal().is_some() && begun.elapsed() < Duration::from_secs(3) && is_open() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::Builder::new()
        .name("drain".into())
        .spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                let _ = pipe.read_to_end(&mut bytes);
            }
            String::from_utf8_lossy(&bytes).into_owned()
        })
        .expect("a thread")
}

/// A host that ended.
#[derive(Debug)]
pub struct Outcome {
    /// How.
    pub status: ExitStatus,
    /// What it wrote.
    pub stdout: String,
    /// What it and, unless quiet, leakline wrote.
    pub stderr: String,
    folder: tempfile::TempDir,
}

impl Outcome {
    /// Where its recording is.
    pub fn recording(&self) -> PathBuf {
        self.folder.path().join("host.leak")
    }

    /// Everything in the recording.
    pub fn events(&self) -> Vec<Event> {
        read_recording(&self.recording())
    }

    /// The snapshots of the recording.
    pub fn snapshots(&self) -> Vec<Arc<Snapshot>> {
        snapshots(&self.events()).collect()
    }

    /// Panics unless the host ended with status 0, showing what it said.
    pub fn succeeded(self) -> Self {
        assert!(self.status.success(), "{:?}\nstdout: {}\nstderr: {}", self.status, self.stdout, self.stderr);
        self
    }
}

fn snapshots(events: &[Event]) -> impl Iterator<Item = Arc<Snapshot>> + '_ {
    events.iter().filter_map(|event| match event {
        Event::Snapshot { snapshot, .. } => Some(Arc::clone(snapshot)),
        _ => None,
    })
}

/// Everything in the recording at `path`, up to its last whole entry; panics on damage before that.
pub fn read_recording(path: &Path) -> Vec<Event> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{error}: {}", path.display()));
    let mut decoder = Decoder::default();
    Reader::new(&bytes)
        .unwrap_or_else(|error| panic!("{error}: {}", path.display()))
        .flat_map(|item| match item {
            Item::Entry { entry, .. } => decoder.push(entry).expect("an entry that can be decoded"),
            Item::Problem { offset, what, .. } => panic!("{what} at byte {offset}: {}", path.display()),
            // A torn tail: the host was killed, or is writing.
            _ => Vec::new(),
        })
        .collect()
}
