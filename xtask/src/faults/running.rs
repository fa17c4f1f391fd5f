//! Runs one plan, bare or watched, and gives what could be seen of it.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::collector;
use super::plan::{Host, Plan};
use crate::process::{root, run};
use crate::{dist, hosts};

/// What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(40);
/// Pipes are closed so soon after the end, or somebody holds them.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// What the runs need.
pub(super) struct Tools {
    folder: PathBuf,
    python: PathBuf,
    java: PathBuf,
}

impl Tools {
    /// Compiles the hosts and what does harm to them.
    pub(super) fn build() -> anyhow::Result<Self> {
        let folder = dist::folder().join("faults");
        let hosts = hosts::build()?;
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        for (file, program, how) in [
            ("shim.c", "libshim.so", &["-shared", "-fPIC", "-ldl"][..]),
            ("load.c", "load", &["-ldl", "-lpthread"]),
            ("inject.c", "inject", &[]),
        ] {
            let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
            cc.args(["-g", "-O1", "-fno-builtin", "-Wall", "-Wextra", "-Werror", "-o"])
                .arg(folder.join(program));
            run(cc.arg(source(file)).args(how))?;
        }
        let mut javac = Command::new(hosts.java_home.join("bin/javac"));
        run(javac.args(["--release", "11", "-d"]).arg(folder.join("classes")).arg(source("Load.java")))?;
        Ok(Self { folder, python: hosts.python, java: hosts.java_home.join("bin/java") })
    }

    fn command(&self, plan: &Plan) -> Vec<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut words = match plan.host {
            Host::C { threads } => vec![text(&self.folder.join("load")), threads.to_string()],
            Host::Python { jvm } => {
                let classes = if jvm { "jvm" } else { "none" };
                vec![text(&self.python), text(&source("load.py")), "3".to_owned(), classes.to_owned()]
            }
            Host::Java => {
                let java = ["-Xmx64m", "-XX:+UseSerialGC", "-Xss512k", "-cp"].map(str::to_owned);
                let classes = text(&self.folder.join("classes"));
                let mut words = vec![text(&self.java)];
                words.extend(java.into_iter().chain([classes, "Load".to_owned(), "3".to_owned()]));
                words
            }
        };
        words.extend(plan.inside.iter().cloned());
        words
    }
}

fn source(name: &str) -> PathBuf {
    root().join("xtask/src/faults/hosts").join(name)
}

/// What could be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// `None`: it did not end.
    status: Option<ExitStatus>,
    stdout: String,
    stderr: String,
    /// Somebody held its pipes after its end.
    held_open: bool,
}

/// A run, and what was done to it from outside.
pub(super) struct Outcome {
    pub(super) seen: Seen,
    pub(super) injected: usize,
    /// Whether leakline recorded anything.
    pub(super) is_recorded: bool,
}

impl Seen {
    pub(super) fn hangs(&self) -> bool {
        self.status.is_none()
    }

    /// The first thing that is not as in `bare`.
    pub(super) fn differs_from(&self, bare: &Self) -> Option<String> {
        let end = |seen: &Self| seen.status.map_or("no end".to_owned(), |status| status.to_string());
        if self.status != bare.status {
            return Some(format!("{}, bare {}; stderr {:?}", end(self), end(bare), self.stderr));
        }
        if self.stdout != bare.stdout {
            let lines = self.stdout.lines().zip(bare.stdout.lines()).find(|(one, other)| one != other);
            let lines = lines.unwrap_or((&self.stdout, &bare.stdout));
            return Some(format!("stdout {:?}, bare {:?}", lines.0, lines.1));
        }
        if self.stderr != bare.stderr {
            return Some(format!("stderr {:?}, bare {:?}", self.stderr, bare.stderr));
        }
        (self.held_open && !bare.held_open).then(|| "its pipes stay open after its end".to_owned())
    }
}

/// Runs the plan in a new folder at `folder`.
pub(super) fn once(tools: &Tools, plan: &Plan, folder: &Path, is_watched: bool) -> anyhow::Result<Outcome> {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder.join("host"))
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let recording = folder.join("host.leak");
    let listening = match plan.collector.filter(|_| is_watched) {
        Some(kind) => Some(collector::listen(kind)?),
        None => None,
    };
    let mut words = Vec::new();
    if is_watched {
        words.extend([
            dist::installed().join("bin/leakline").to_string_lossy().into_owned(),
            "run".to_owned(),
        ]);
        words.extend(["--quiet".to_owned(), "-o".to_owned(), recording.to_string_lossy().into_owned()]);
        words.extend(plan.options.iter().cloned());
        words.extend(listening.iter().flat_map(|one| ["--collector".to_owned(), one.address.to_string()]));
        words.push("--".to_owned());
    }
    words.extend(tools.command(plan));
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -c 0; exec \"$@\"", "sh"]).args(words);
    command.current_dir(folder.join("host")).process_group(0);
    command
        .env("LD_PRELOAD", tools.folder.join("libshim.so"))
        .env("PYTHONHASHSEED", "0")
        .env_remove("RUST_BACKTRACE");
    if let Some(writes) = plan.writes.as_ref().filter(|_| is_watched) {
        command.env("FAULT_WRITES", writes);
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.context("cannot start sh")?;
    let injecting = inject(tools, plan, &child, &recording)?;
    let seen = watch(&mut child)?;
    let said = injecting.wait_with_output().context("cannot wait for inject")?.stdout;
    let injected = String::from_utf8_lossy(&said).trim().parse().unwrap_or_default();
    let is_recorded = fs::metadata(&recording).is_ok_and(|file| file.len() > 0);
    let _ = fs::remove_dir_all(folder);
    Ok(Outcome { seen, injected, is_recorded })
}

fn inject(tools: &Tools, plan: &Plan, child: &Child, recording: &Path) -> anyhow::Result<Child> {
    let mut inject = Command::new(tools.folder.join("inject"));
    inject.arg(child.id().to_string()).arg(recording).args(&plan.outside);
    inject.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start inject")
}

fn watch(child: &mut Child) -> anyhow::Result<Seen> {
    let stdout = drain(child.stdout.take())?;
    let stderr = drain(child.stderr.take())?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for the host")? {
            break Some(status);
        }
        if begun.elapsed() > PATIENCE {
            break None;
        }
        std::thread::sleep(Duration::from_millis(3));
    };
    let ended = Instant::now();
    if status.is_none() {
        kill_group(child.id());
        let _ = child.wait();
    }
    while !(stdout.is_finished() && stderr.is_finished()) && ended.elapsed() < AFTERWARDS {
        std::thread::sleep(Duration::from_millis(3));
    }
    let held_open = !(stdout.is_finished() && stderr.is_finished());
    if held_open {
        kill_group(child.id());
        return Ok(Seen { status, stdout: String::new(), stderr: String::new(), held_open });
    }
    let text = |thread: JoinHandle<String>| thread.join().unwrap_or_default();
    Ok(Seen { status, stdout: text(stdout), stderr: without_addresses(&text(stderr)), held_open })
}

/// The host is the leader of its group.
fn kill_group(pid: u32) {
    let _ = Command::new("kill").args(["-KILL", &format!("-{pid}")]).stderr(Stdio::null()).status();
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> anyhow::Result<JoinHandle<String>> {
    let thread = std::thread::Builder::new().name("xtask-drain".to_owned());
    let reading = move || {
        let mut bytes = Vec::new();
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    };
    thread.spawn(reading).context("cannot start a thread")
}

/// What a runtime says of a crash has addresses in it.
fn without_addresses(text: &str) -> String {
    text.split(' ').filter(|word| !word.contains("0x")).collect::<Vec<_>>().join(" ")
}
