//! What the watcher sees of the host from outside: whether it is there, whether it is still the same program, which threads
//! and which standard error it has, and whether the system killed it for want of memory.
//! Reads /proc and waits; never sends the host anything.

use std::fs;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use leakline_native::{Image, OtherProcess};

/// Has a watcher look at once; whoever sends it changes nothing else.
pub(super) const LOOK_NOW: libc::c_int = libc::SIGUSR2;

/// How often a host without a descriptor of its own (before Linux 5.3) is looked for.
const POLL: Duration = Duration::from_millis(20);

/// What has become of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is there, and the same program.
    Same,
    /// The process has become another program.
    Other,
    /// The process has ended.
    Gone,
}

/// See the module.
pub(super) struct Sight {
    host: u32,
    /// Readable once the host has ended.
    end: Option<OwnedFd>,
    signals: Option<OwnedFd>,
    /// `None`: it may not be looked into.
    process: Option<Arc<OtherProcess>>,
    memory_events: Option<(PathBuf, u64)>,
}

impl Sight {
    /// Begins to look at `host`. To be called while it is surely there.
    pub(super) fn of(host: u32) -> Self {
        let memory_events = memory_events(host).and_then(|file| Some((file.clone(), oom_kills(&file)?)));
        Self {
            host,
            end: pidfd(host),
            signals: look_now(),
            process: OtherProcess::open(host).ok(),
            memory_events,
        }
    }

    /// Waits until the host is gone, or somebody says that it is another, or `longest` is over; then looks.
    pub(super) fn wait(&self, longest: Duration) -> Seen {
        let begun = Instant::now();
        loop {
            let left = longest.saturating_sub(begun.elapsed());
            let slice = if self.end.is_some() { left } else { left.min(POLL) };
            let mut files = [&self.end, &self.signals].map(|file| libc::pollfd {
                fd: file.as_ref().map_or(-1, |file: &OwnedFd| file.as_raw_fd() as RawFd),
                events: libc::POLLIN,
                revents: 0,
            });
            let millis = libc::c_int::try_from(slice.as_millis()).unwrap_or(libc::c_int::MAX);
            // SAFETY: the array outlives the call, and its length is told.
            unsafe { libc::poll(files.as_mut_ptr(), files.len() as libc::nfds_t, millis) };
            let [ended, signal] = files.map(|file| file.revents != 0);
            if ended || (self.end.is_none() && !self.is_there()) {
                return Seen::Gone;
            }
            if signal {
                self.take_signal();
            }
            if signal || begun.elapsed() >= longest {
                return match self.process.as_ref().map(|process| process.image()) {
                    Some(Image::Replaced) => Seen::Other,
                    // Its first thread may have ended: the descriptor knows better.
                    Some(Image::Same | Image::Gone) | None => Seen::Same,
                };
            }
        }
    }

    /// What the probes read the host by.
    pub(super) fn process(&self) -> Option<Arc<OtherProcess>> {
        self.process.clone()
    }

    /// Whether the host's standard error is the one that this process has.
    pub(super) fn has_same_stderr(&self) -> bool {
        let mut own = std::mem::MaybeUninit::<libc::stat>::zeroed();
        // SAFETY: the kernel writes one `stat` into ours.
        if unsafe { libc::fstat(2, own.as_mut_ptr()) } != 0 {
            return false;
        }
        // SAFETY: zeroes are a valid `stat`, and the call has filled it.
        let own = unsafe { own.assume_init() };
        match fs::metadata(format!("/proc/{}/fd/2", self.host)) {
            #[expect(clippy::useless_conversion, reason = "32 bits wide on some targets")]
            Ok(theirs) => (theirs.dev(), theirs.ino()) == (u64::from(own.st_dev), u64::from(own.st_ino)),
            // Where the host may not be looked into (it has changed its user), nothing is known of it.
            Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
        }
    }

    /// Whether all threads that the host has left are leakline's.
    pub(super) fn has_only_our_threads(&self) -> bool {
        let process = self.process.as_ref();
        process.is_some_and(|process| process.only_named_threads_left("leakline").unwrap_or(false))
    }

    /// Whether the system has killed something of the host's control group for want of memory since the watch began.
    pub(super) fn was_killed_for_memory(&self) -> bool {
        let Some((file, before)) = &self.memory_events else { return false };
        oom_kills(file).is_some_and(|now| now > *before)
    }

    fn is_there(&self) -> bool {
        match &self.process {
            Some(process) => process.image() != Image::Gone,
            None => std::path::Path::new(&format!("/proc/{}", self.host)).exists(),
        }
    }

    fn take_signal(&self) {
        let Some(signals) = &self.signals else { return };
        let mut buffer = [0_u8; size_of::<libc::signalfd_siginfo>()];
        // SAFETY: the descriptor is open and does not block, and the kernel writes at most so many bytes into ours.
        unsafe { libc::read(signals.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    }
}

/// A descriptor of the process, readable once it has ended; `None` before Linux 5.3.
fn pidfd(process: u32) -> Option<OwnedFd> {
    // SAFETY: takes two numbers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0_u32) })
}

/// A descriptor that is readable once somebody has sent [`LOOK_NOW`].
fn look_now() -> Option<OwnedFd> {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises what it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised by the call above.
    let mut set = unsafe { set.assume_init() };
    // SAFETY: the set is initialised and the number valid.
    unsafe { libc::sigaddset(&raw mut set, LOOK_NOW) };
    // One that is ignored is not even queued; it is blocked in every thread of a watcher, so the default does not happen.
    // SAFETY: sets no handler.
    unsafe { libc::signal(LOOK_NOW, libc::SIG_DFL) };
    // SAFETY: the set outlives the call.
    owned(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) }.into())
}

fn owned(file: i64) -> Option<OwnedFd> {
    let file = RawFd::try_from(file).ok().filter(|file| *file >= 0)?;
    // SAFETY: the kernel has just given it, and nobody else has it.
    Some(unsafe { OwnedFd::from_raw_fd(file) })
}

/// The file that counts what the system killed in the host's control group (version 2).
fn memory_events(host: u32) -> Option<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{host}/cgroup")).ok()?;
    let below = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(PathBuf::from("/sys/fs/cgroup").join(below.trim_start_matches('/')).join("memory.events"))
}

fn oom_kills(file: &PathBuf) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_that_goes_on_is_the_same_and_one_that_ended_is_gone() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        // Between fork and exec it still is what started it.
        while fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap().trim() != "sleep" {}
        let sight = Sight::of(child.id());
        assert_eq!(sight.wait(Duration::from_millis(1)), Seen::Same);
        child.kill().unwrap();
        assert_eq!(sight.wait(Duration::from_secs(20)), Seen::Gone);
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_becomes_another_program_is_seen() {
        let script = "read go; exec sleep 60";
        let mut child = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
        while fs::read_to_string(format!("/proc/{}/comm", child.id())).unwrap().trim() != "sh" {}
        let sight = Sight::of(child.id());
        assert_eq!(sight.wait(Duration::from_millis(1)), Seen::Same);
        drop(child.stdin.take());
        let begun = Instant::now();
        while sight.wait(Duration::from_millis(5)) == Seen::Same && begun.elapsed() < Duration::from_secs(20)
        {
        }
        assert_eq!(sight.wait(Duration::from_millis(1)), Seen::Other);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn this_process_has_threads_of_its_own_and_its_own_standard_error() {
        let sight = Sight::of(std::process::id());
        assert!(sight.has_same_stderr());
        assert!(!sight.has_only_our_threads());
    }
}
