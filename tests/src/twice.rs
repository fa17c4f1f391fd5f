//! Runs a program twice, bare and under `leakline run`, and compares all that its user can see: the exit status, stdout,
//! stderr, the files that it leaves, when it ends, and when its pipes close.
//! Never compares what leakline says; that is for the test, which gets the recording.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::machine::dist;

/// What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(45);
/// A busy machine may hold up the watched program by this much.
const SLACK: Duration = Duration::from_secs(6);
/// So long after the program, its pipes must be closed and its recording must be nobody's.
const AFTERWARDS: Duration = Duration::from_secs(3);

/// A program to be run twice.
#[derive(Debug, Clone)]
pub struct Twice {
    around: Vec<OsString>,
    command: Vec<OsString>,
    interval: &'static str,
    options: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    signal: Option<i32>,
    is_recorded: bool,
    /// What leakline may say on stderr, in one line.
    may_say: Option<&'static str>,
}

/// What was the same in both runs, and what leakline left.
#[derive(Debug)]
pub struct Same {
    /// How the program ended, both times.
    pub status: ExitStatus,
    /// What it wrote to stdout, both times.
    pub stdout: String,
    /// The recording of the watched run.
    pub recording: PathBuf,
    _folder: tempfile::TempDir,
}

impl Twice {
    /// `command` is the program and its arguments; it is run in a new, empty folder.
    pub fn new<A: Into<OsString>>(command: impl IntoIterator<Item = A>) -> Self {
        Self {
            around: Vec::new(),
            command: command.into_iter().map(Into::into).collect(),
            interval: "500ms",
            options: Vec::new(),
            variables: Vec::new(),
            stdin: Vec::new(),
            signal: None,
            is_recorded: true,
            may_say: None,
        }
    }

    /// A script for `sh` that starts the program, or leakline with the program, as `"$@"`.
    pub fn in_shell(self, script: &str) -> Self {
        self.around(["sh", "-c", script, "sh"])
    }

    /// A program that gets the program, or leakline with the program, as its last arguments.
    pub fn around<A: Into<OsString>>(mut self, words: impl IntoIterator<Item = A>) -> Self {
        self.around = words.into_iter().map(Into::into).collect();
        self
    }

    /// Ticks come this often, not every 500 ms.
    pub fn interval(mut self, interval: &'static str) -> Self {
        self.interval = interval;
        self
    }

    /// More options for `leakline run`.
    pub fn options<A: Into<OsString>>(mut self, options: impl IntoIterator<Item = A>) -> Self {
        self.options.extend(options.into_iter().map(Into::into));
        self
    }

    /// A variable of both runs.
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// What the program finds on stdin.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Is sent once the program wrote something to stdout.
    pub fn signal(mut self, signal: i32) -> Self {
        self.signal = Some(signal);
        self
    }

    /// The program may end before it can be recorded.
    pub fn unrecorded(mut self) -> Self {
        self.is_recorded = false;
        self
    }

    /// A line of leakline's on stderr that has these words is no difference.
    pub fn may_say(mut self, words: &'static str) -> Self {
        self.may_say = Some(words);
        self
    }

    /// Runs it both ways.
    ///
    /// # Panics
    /// With every difference, when there is one.
    pub fn check(self) -> Same {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let recording = folder.path().join("recordings/host.leak");
        fs::create_dir(folder.path().join("recordings")).expect("a folder for the recording");
        let run = |name: &str, words: &[OsString]| self.run(&folder.path().join(name), words);
        // Side by side: most of them sleep most of the time.
        let (bare, mut watched) = std::thread::scope(|scope| {
            let named = std::thread::Builder::new().name("bare".into());
            let bare = named.spawn_scoped(scope, || run("bare", &self.command)).expect("a thread");
            let watched = run("watched", &self.watched_command(&recording));
            (bare.join().expect("no panic"), watched)
        });
        if let Some(words) = self.may_say {
            let said = |line: &&[u8]| String::from_utf8_lossy(line).contains(words);
            let lines = watched.stderr.split_inclusive(|byte| *byte == b'\n');
            watched.stderr = lines.filter(|line| !said(line)).flatten().copied().collect();
        }
        let mut differences = bare.differences(&watched);
        for pid in wait_until_nobody_has(recording.parent().unwrap_or(&recording)) {
            differences.push(format!("process {pid} still writes the recording after the program's end"));
        }
        if self.is_recorded && !fs::metadata(&recording).is_ok_and(|file| file.len() > 0) {
            differences.push("nothing was recorded".to_owned());
        }
        let command = self.command.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        assert!(
            differences.is_empty(),
            "under leakline, `{command}` differs:\n- {}",
            differences.join("\n- ")
        );
        let stdout = String::from_utf8_lossy(&bare.stdout).into_owned();
        Same { status: bare.status.expect("it ended"), stdout, recording, _folder: folder }
    }

    fn watched_command(&self, recording: &Path) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![dist().leakline.into(), "run".into()];
        words.extend(["--interval", self.interval, "--quiet", "-o"].map(OsString::from));
        words.push(recording.into());
        words.extend(self.options.iter().cloned());
        words.push("--".into());
        words.extend(self.command.iter().cloned());
        words
    }

    fn run(&self, folder: &Path, inner: &[OsString]) -> Side {
        fs::create_dir(folder).expect("a folder to run in");
        // What dies of a signal leaves no core file: it would be a difference of its own.
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -c 0; exec \"$@\"", "sh"]).args(&self.around).args(inner);
        command
            .env_remove("LEAKLINE_DIST")
            .env_remove("RUST_BACKTRACE")
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.current_dir(folder).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        as_from_a_shell(&mut command);
        let child = command.spawn().expect("sh runs");
        watch(child, &self.stdin, self.signal, folder)
    }
}

impl Same {
    /// What `leakline report --json` says of the recording.
    pub fn report(&self) -> Value {
        serde_json::from_str(&self.report_text(&["--json"])).unwrap_or(Value::Null)
    }

    /// What `leakline report` prints.
    pub fn report_text(&self, options: &[&str]) -> String {
        let mut report = Command::new(dist().leakline);
        let output = report.arg("report").args(options).arg(&self.recording).output().expect("leakline runs");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }
}

/// Whoever runs the tests may ignore SIGHUP (`nohup`), and programs keep that.
fn as_from_a_shell(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    let default = || {
        // SAFETY: sets no handler.
        unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
        Ok(())
    };
    // SAFETY: between fork and exec it makes one system call.
    unsafe { command.pre_exec(default) };
}

/// What one run showed.
struct Side {
    /// `None`: it did not end.
    status: Option<ExitStatus>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    files: BTreeMap<PathBuf, Vec<u8>>,
    took: Duration,
    /// How long after its end the pipes were open.
    held_open: Duration,
    /// What its threads were called when it did not end.
    threads: String,
}

impl Side {
    fn differences(&self, watched: &Self) -> Vec<String> {
        let mut found = Vec::new();
        assert!(self.status.is_some(), "the bare program does not end: {}", self.threads);
        if self.status != watched.status {
            let how = |side: &Self| side.status.map_or("no end".to_owned(), |status| status.to_string());
            found.push(format!("ended by {}, bare by {} {}", how(watched), how(self), watched.threads));
        }
        for (name, bare, seen) in
            [("stdout", &self.stdout, &watched.stdout), ("stderr", &self.stderr, &watched.stderr)]
        {
            let (bare, seen) = (without_addresses(bare), without_addresses(seen));
            if bare != seen {
                found.push(format!("{name} is {}, bare {}", only(&seen, &bare), only(&bare, &seen)));
            }
        }
        let mut names: Vec<&PathBuf> = self.files.keys().chain(watched.files.keys()).collect();
        names.sort();
        names.dedup();
        names.retain(|name| self.files.get(*name) != watched.files.get(*name));
        if !names.is_empty() {
            found.push(format!("its files are not the same: {names:?}"));
        }
        if watched.took > self.took * 2 + SLACK {
            found.push(format!("took {:?}, bare {:?}", watched.took, self.took));
        }
        if watched.held_open > self.held_open + AFTERWARDS {
            found.push(format!("its pipes were open for {:?} after its end", watched.held_open));
        }
        found
    }
}

/// Addresses differ from run to run, as in what a crash handler prints.
fn without_addresses(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split("0x");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|digit: char| digit.is_ascii_hexdigit());
        plain += if part.len() - rest.len() >= 8 { "0x…" } else { "0x" };
        plain += if part.len() - rest.len() >= 8 { rest } else { part };
    }
    plain
}

/// The text, or, when it is long, the lines of it that the other one does not have.
fn only(text: &str, other: &str) -> String {
    if text.len() < 600 {
        return format!("{text:?}");
    }
    let mut lines: Vec<&str> =
        text.lines().filter(|line| !other.lines().any(|known| known == *line)).take(12).collect();
    if lines.is_empty() {
        lines.push("the same lines, in another order or number");
    }
    format!("{lines:?} and more")
}

type Drained = Arc<Mutex<Vec<u8>>>;

fn watch(mut child: Child, input: &[u8], signal: Option<i32>, folder: &Path) -> Side {
    let (stdout, reading) = drain(child.stdout.take());
    let (stderr, reading_errors) = drain(child.stderr.take());
    let stdin = child.stdin.take();
    let input = input.to_vec();
    let feeding = std::thread::Builder::new().name("feed".into()).spawn(move || {
        // A program that does not read it all is none of our business.
        let _ = stdin.map(|mut pipe| pipe.write_all(&input));
    });
    let begun = Instant::now();
    let mut is_sent = signal.is_none();
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child can be waited for") {
            break Some(status);
        }
        if !is_sent && !stdout.lock().expect("no panic").is_empty() {
            // Until it waits for the signal, if it still has a call or two to go.
            std::thread::sleep(Duration::from_millis(100));
            send(child.id(), signal.unwrap_or_default());
            is_sent = true;
        }
        if begun.elapsed() > PATIENCE {
            break None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let took = begun.elapsed();
    let threads = if status.is_none() { threads_of(child.id()) } else { String::new() };
    let ended = Instant::now();
    if status.is_none() {
        kill_group(child.id());
        let _ = child.wait();
    }
    while !(reading.is_finished() && reading_errors.is_finished()) && ended.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(2));
    }
    let held_open = ended.elapsed();
    kill_group(child.id());
    drop(feeding);
    let bytes = |drained: Drained| drained.lock().expect("no panic").clone();
    Side {
        status,
        stdout: bytes(stdout),
        stderr: bytes(stderr),
        files: files(folder),
        took,
        held_open,
        threads,
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> (Drained, std::thread::JoinHandle<()>) {
    let bytes = Drained::default();
    let kept = Arc::clone(&bytes);
    let thread = std::thread::Builder::new().name("drain".into()).spawn(move || {
        let mut part = [0; 4096];
        let mut pipe = pipe.expect("a pipe");
        while let Ok(length @ 1..) = pipe.read(&mut part) {
            kept.lock().expect("no panic").extend_from_slice(&part[..length]);
        }
    });
    (bytes, thread.expect("a thread"))
}

fn send(pid: u32, signal: i32) {
    let pid = libc::pid_t::try_from(pid).expect("a pid");
    // SAFETY: takes no pointers; the child was not waited for yet, so the pid is still its own.
    let _ = unsafe { libc::kill(pid, signal) };
}

/// Nothing of a run is left behind: what the program started is in its group, unless it is a daemon.
fn kill_group(pid: u32) {
    let group = libc::pid_t::try_from(pid).expect("a pid");
    // SAFETY: takes no pointers; the group is the child's own, made when it was started.
    let _ = unsafe { libc::kill(-group, libc::SIGKILL) };
}

fn threads_of(pid: u32) -> String {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let read = |task: &Path, file: &str| fs::read_to_string(task.join(file)).unwrap_or_default();
    let said = tasks.map(|task| {
        let task = task.path();
        format!("{} in {}", read(&task, "comm").trim(), read(&task, "wchan").trim())
    });
    said.collect::<Vec<_>>().join(", ")
}

/// Every file below the folder, by its path there.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => {
                    let name = entry.path().strip_prefix(folder).unwrap_or(folder).to_owned();
                    found.insert(name, fs::read(entry.path()).unwrap_or_default());
                }
                _ => {}
            }
        }
    }
    found
}

/// The processes that have a file of `folder` open when it should be nobody's any more. They are ended.
fn wait_until_nobody_has(folder: &Path) -> Vec<u32> {
    let begun = Instant::now();
    loop {
        let holders = holders(folder);
        if holders.is_empty() {
            return holders;
        }
        if begun.elapsed() > AFTERWARDS {
            holders.iter().for_each(|pid| send(*pid, libc::SIGKILL));
            return holders;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn holders(folder: &Path) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has_one = |pid: &u32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|path| path.starts_with(folder))
    };
    pids.filter(has_one).collect()
}
