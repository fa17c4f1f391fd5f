//! Finds out about a process what must be known before its JVM is asked, and where its file can be.
//! Only reads /proc; never signals, never writes but the copy out of another mount namespace.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// SIGQUIT's bit in /proc/PID/status.
const QUIT: u64 = 1 << (libc::SIGQUIT - 1);

/// A process that has a JVM in it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) pid: u32,
    /// What it calls itself: its number in its own PID namespace.
    pub(super) own_pid: u32,
    /// When it started, in boot-time nanoseconds; 0: unknown.
    pub(super) started_boot_nanos: u64,
    /// Its effective user.
    pub(super) user: u32,
    /// Whether it would handle SIGQUIT, which kills otherwise.
    pub(super) catches_quit: bool,
}

/// What /proc/PID/status says of it.
#[derive(Debug, PartialEq, Eq)]
struct Status {
    own_pid: u32,
    user: u32,
    catches_quit: bool,
}

impl Status {
    fn parse(text: &str) -> Option<Self> {
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        Some(Self {
            own_pid: line("NSpid:").or_else(|| line("Pid:"))?.split_whitespace().last()?.parse().ok()?,
            user: line("Uid:")?.split_whitespace().nth(1)?.parse().ok()?,
            catches_quit: u64::from_str_radix(line("SigCgt:")?.trim(), 16).ok()? & QUIT != 0,
        })
    }
}

impl Target {
    pub(super) fn find(pid: u32) -> Result<Self> {
        let text = match fs::read_to_string(format!("/proc/{pid}/status")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => bail!("there is no process {pid}"),
            text => text.with_context(|| format!("cannot look at process {pid}"))?,
        };
        let Some(Status { own_pid, user, catches_quit }) = Status::parse(&text) else {
            bail!("cannot understand /proc/{pid}/status")
        };
        let maps = fs::read_to_string(format!("/proc/{pid}/maps"))
            .with_context(|| format!("cannot look into process {pid}; ask as its user or as root"))?;
        if !maps.lines().any(|line| line.ends_with("/libjvm.so") || line.ends_with("/libjvm.so (deleted)")) {
            bail!("process {pid} has no JVM in it");
        }
        let started_boot_nanos = started_boot_nanos(pid).unwrap_or_default();
        Ok(Self { pid, own_pid, started_boot_nanos, user, catches_quit })
    }

    /// A path as the process sees it, for us to open.
    pub(super) fn seen(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.pid))
    }

    /// Where the JVM shall write so that the dump comes to `output`.
    pub(super) fn place(&self, output: &Path) -> Result<Place> {
        let output = std::path::absolute(output).with_context(|| output.display().to_string())?;
        if output.symlink_metadata().is_ok() {
            bail!("is there already, and is not overwritten: {}", output.display());
        }
        let Some(folder) = output.parent().filter(|folder| folder.is_dir()) else {
            bail!("there is no such folder: {}", output.display())
        };
        if self.sees_what_we_see(folder) {
            let Some(for_jvm) = output.to_str().map(str::to_owned) else {
                bail!("a JVM takes only paths in UTF-8: {}", output.display())
            };
            return Ok(Place { for_jvm, for_us: output.clone(), output });
        }
        let for_jvm = format!("/tmp/leakline-{}-{}.hprof", self.own_pid, std::process::id());
        let for_us = self.seen(&for_jvm);
        if for_us.symlink_metadata().is_ok() {
            bail!("is there already, and is not overwritten: {}", for_us.display());
        }
        Ok(Place { for_jvm, for_us, output })
    }

    /// Whether a folder is the same for the process and for us: in a container it may be another.
    fn sees_what_we_see(&self, folder: &Path) -> bool {
        let Some(theirs) = folder.to_str().map(|folder| self.seen(folder)) else { return true };
        match (fs::metadata(folder), fs::metadata(theirs)) {
            (Ok(ours), Ok(theirs)) => (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()),
            _ => false,
        }
    }
}

/// Where the dump is written, and where it is wanted.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) for_jvm: String,
    pub(super) for_us: PathBuf,
    output: PathBuf,
}

impl Place {
    /// Brings the dump to where it is wanted, readable by its owner alone: a heap holds secrets. Leaves no half of it.
    pub(super) fn keep(self) -> io::Result<PathBuf> {
        if self.for_us == self.output {
            return Ok(self.output);
        }
        let mut to = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.output)?;
        let copied = fs::File::open(&self.for_us).and_then(|mut from| io::copy(&mut from, &mut to));
        let removed = fs::remove_file(&self.for_us);
        if copied.is_err() {
            let _ = fs::remove_file(&self.output);
        }
        copied?;
        removed?;
        Ok(self.output)
    }
}

/// As the agent in the process tells it, so that a collector finds its session.
fn started_boot_nanos(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name stands in parentheses and may hold anything.
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    // SAFETY: takes no pointers.
    let per_second =
        u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok().filter(|rate| *rate > 0)?;
    Some(ticks.saturating_mul(1_000_000_000 / per_second))
}

/// Whether a file begins as a heap dump does.
pub(super) fn is_dump(path: &Path) -> bool {
    let mut start = [0; 16];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start.starts_with(b"JAVA PROFILE 1.0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(u32, u32, bool)>) {
        let status = Status::parse(text).map(|status| (status.own_pid, status.user, status.catches_quit));
        assert_eq!(status, expected, "{text}");
    }

    #[test]
    fn what_is_copied_is_its_owners_and_stays_at_one_place() {
        let folder = tempfile::tempdir().unwrap();
        let (theirs, output) = (folder.path().join("theirs"), folder.path().join("ours"));
        fs::write(&theirs, "JAVA PROFILE 1.0.2").unwrap();
        let place = Place { for_jvm: String::new(), for_us: theirs.clone(), output: output.clone() };
        assert_eq!(place.keep().unwrap(), output);
        assert!(is_dump(&output) && !theirs.exists());
        assert_eq!(fs::metadata(&output).unwrap().mode() & 0o777, 0o600);
        let gone = Place { for_jvm: String::new(), for_us: theirs, output: folder.path().join("none") };
        gone.keep().unwrap_err();
        assert!(!folder.path().join("none").exists());
    }

    #[test]
    fn the_status_tells_namespace_user_and_signal() {
        let quit = "SigCgt:\t2000000181005ccf\n";
        check(&format!("Name:\tjava\nPid:\t41\nUid:\t1\t2\t3\t4\nNSpid:\t41\t7\n{quit}"), Some((7, 2, true)));
        check(&format!("Pid:\t41\nUid:\t0\t0\t0\t0\n{quit}"), Some((41, 0, true)));
        check("Pid:\t41\nUid:\t0\t0\t0\t0\nSigCgt:\t0000000000000002\n", Some((41, 0, false)));
        check("Pid:\t41\n", None);
        check("", None);
    }
}
