//! Which process is read: the one that this code runs in, or another one that it watches from outside.
//!
//! Another process is reached through its folder in /proc, which is opened once. Whatever is opened below it later belongs to
//! that process or fails: a new process with the same number is never taken for it.
//!
//! | file | needs | survives |
//! |---|---|---|
//! | `statm`, `status`, `stat`, `limits`, `cgroup`, `cmdline`, `task/*/comm` | nothing (`hidepid=0`, or a descriptor of the folder) | setuid, chroot, `PR_SET_DUMPABLE` 0 |
//! | `maps`, `smaps`, `smaps_rollup`, `pagemap` | `PTRACE_MODE_READ` at `open` | the same once they are open: the kernel keeps the memory's description behind the descriptor |
//! | `mem` | `PTRACE_MODE_ATTACH` at `open`: with Yama 1 the host must name the watcher by `PR_SET_PTRACER` before that | the same once it is open |
//! | `fd` | the same user, at `open` | counting; the kinds of descriptors need `PTRACE_MODE_READ` at each look |
//! | `get_robust_list` (threads' stacks) | `PTRACE_MODE_READ` at each call | nothing: without it, stacks have no name |
//!
//! What is open shows nothing any more once the process has replaced its program (`exec`) or has ended: that is how an exec is
//! noticed. After `pthread_exit` in main the process's own entry shows nothing of memory while its threads go on; files are
//! then opened through a thread that lives.
//!
//! Never here: a signal, `ptrace`, or a write to the process.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use leakline_probing::memory::Memory;

use crate::error::NativeError;
use crate::{parse, procfs};

/// Which process is read.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// The one that this code runs in.
    Own,
    /// Another one.
    Other(Arc<Other>),
}

/// A process that is watched from outside.
#[derive(Debug)]
pub struct Other {
    pid: u32,
    /// `/proc/PID`.
    folder: File,
    /// The thread whose entry is read, where the first one has ended; 0: the process's own.
    thread: AtomicU32,
    /// `None` where this process may not read it.
    pagemap: Option<File>,
    memory: Memory,
    memory_refused: Option<String>,
    descriptors: Option<File>,
}

/// What has become of a process's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// It runs.
    Same,
    /// The process goes on with another program (`exec`).
    Replaced,
    /// The process has ended, reaped or not.
    Gone,
}

impl Other {
    /// Opens what stays readable when the process changes its user or its root later. Call this before the process's `main`.
    ///
    /// # Errors
    ///
    /// There is no such process, it has ended, or /proc is missing or shows another process namespace.
    pub fn open(pid: u32) -> io::Result<Arc<Self>> {
        let seen = std::fs::read_link("/proc/self")?;
        if seen.to_str().and_then(|number| number.parse().ok()) != Some(std::process::id()) {
            return Err(io::Error::other("/proc shows another process namespace: mount this one's, or read from inside"));
        }
        let folder = File::options()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_PATH)
            .open(format!("/proc/{pid}"))
            .map_err(|error| if error.kind() == io::ErrorKind::NotFound { gone() } else { error })?;
        let mut other = Self {
            pid,
            folder,
            thread: AtomicU32::new(0),
            pagemap: None,
            memory: Memory::Nobody,
            memory_refused: None,
            descriptors: None,
        };
        other.find_living_thread()?;
        other.pagemap = other.open_file("pagemap").ok();
        other.descriptors = other.open_file("fd").ok();
        match other.open_file("mem") {
            Ok(memory) => other.memory = Memory::Of(memory),
            Err(error) => other.memory_refused = Some(error.to_string()),
        }
        Ok(Arc::new(other))
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it still runs the program that it ran when this was opened. Costs one read of 8 bytes.
    ///
    /// A child of `vfork` that has not called `exec` yet shares the memory and keeps the answer at [`Image::Same`] for that
    /// long. Where this process may not read the memory map, a replaced program is not noticed.
    pub fn image(&self) -> Image {
        if self.find_living_thread().is_err() {
            return Image::Gone;
        }
        let is_there = |pagemap: &File| pagemap.read_at(&mut [0; 8], 0).map_or(true, |bytes| bytes > 0);
        if self.pagemap.as_ref().is_none_or(is_there) { Image::Same } else { Image::Replaced }
    }

    /// Whether it still runs the program that it ran when this was opened: see [`Self::image`].
    pub fn is_same_image(&self) -> bool {
        self.image() == Image::Same
    }

    /// Whether all threads that it has left have names that begin with `prefix`.
    ///
    /// # Errors
    ///
    /// No thread of it lives.
    pub fn only_named_threads_left(&self, prefix: &str) -> io::Result<bool> {
        let (mut ours, mut others) = (0_u32, 0_u32);
        self.each_thread(|thread| {
            let Some(stat) = self.stat_of(thread).filter(Stat::lives) else { return true };
            let is_ours = stat.name.starts_with(prefix.as_bytes());
            *if is_ours { &mut ours } else { &mut others } += 1;
            others == 0
        })?;
        if ours + others == 0 { Err(gone()) } else { Ok(others == 0) }
    }

    /// Its memory.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Why its memory cannot be read.
    pub(crate) fn memory_refused(&self) -> Option<&str> {
        self.memory_refused.as_deref()
    }

    /// A file or folder of its own.
    fn open_file(&self, name: &str) -> io::Result<File> {
        match self.thread.load(Relaxed) {
            0 => self.open_below(name),
            thread => self.open_below(&format!("task/{thread}/{name}")),
        }
    }

    fn open_below(&self, path: &str) -> io::Result<File> {
        let path = CString::new(path).map_err(io::Error::other)?;
        // SAFETY: the path ends with a NUL, and the folder is open for as long as this lives.
        let descriptor =
            unsafe { libc::openat(self.folder.as_raw_fd(), path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
        if descriptor < 0 {
            let error = io::Error::last_os_error();
            // The folder outlives its process, and shows nothing then.
            return Err(if error.raw_os_error() == Some(libc::ESRCH) { gone() } else { error });
        }
        // SAFETY: the descriptor was opened just now and belongs to nobody else.
        Ok(unsafe { File::from_raw_fd(descriptor) })
    }

    fn stat_of(&self, thread: u32) -> Option<Stat> {
        let mut text = Vec::with_capacity(512);
        self.open_below(&format!("task/{thread}/stat")).ok()?.read_to_end(&mut text).ok()?;
        Stat::parse(&text)
    }

    fn each_thread(&self, mut each: impl FnMut(u32) -> bool) -> io::Result<()> {
        let folder = self.open_below("task")?;
        procfs::each_entry(&folder, |name| {
            let thread = parse::number(name).and_then(|number| u32::try_from(number).ok());
            thread.is_none_or(&mut each)
        })
    }

    /// Reads through a thread that lives from now on. Costs one small file while the first thread lives.
    pub(crate) fn find_living_thread(&self) -> io::Result<()> {
        let known = self.thread.load(Relaxed);
        let known = if known == 0 { self.pid } else { known };
        if self.stat_of(known).is_some_and(|stat| stat.lives()) {
            return Ok(());
        }
        let mut found = None;
        self.each_thread(|thread| {
            found = self.stat_of(thread).filter(Stat::lives).map(|_| thread);
            found.is_none()
        })?;
        let found = found.ok_or_else(gone)?;
        self.thread.store(if found == self.pid { 0 } else { found }, Relaxed);
        Ok(())
    }
}

/// What a process or thread that has ended is answered with.
fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the process has ended")
}

/// The beginning of a thread's `stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: Vec<u8>,
    state: u8,
}

impl Stat {
    /// The name is in parentheses and may hold anything, so it ends at the last one.
    fn parse(text: &[u8]) -> Option<Self> {
        let begin = text.iter().position(|byte| *byte == b'(')?;
        let end = text.iter().rposition(|byte| *byte == b')')?;
        Some(Self { name: text.get(begin + 1..end)?.to_vec(), state: *text.get(end + 2)? })
    }

    /// Neither a zombie nor dead.
    fn lives(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x')
    }
}

impl Target {
    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Own => std::process::id(),
            Self::Other(other) => other.pid,
        }
    }

    /// Where a file of it is, for messages.
    pub(crate) fn path(&self, name: &str) -> String {
        match self {
            Self::Own => format!("/proc/thread-self/{name}"),
            Self::Other(other) => match other.thread.load(Relaxed) {
                0 => format!("/proc/{}/{name}", other.pid),
                thread => format!("/proc/{}/task/{thread}/{name}", other.pid),
            },
        }
    }

    /// A file of it.
    ///
    /// The own process is opened through the calling thread's entry: the process's main entry shows nothing of memory once
    /// the main thread has ended (`pthread_exit` in main) while others go on.
    pub(crate) fn open(&self, name: &str) -> io::Result<File> {
        match self {
            Self::Own => match File::open(format!("/proc/thread-self/{name}")) {
                // Before Linux 3.17 there is no such entry; the path is remembered nowhere, so this costs nothing later.
                Err(error) if error.kind() == io::ErrorKind::NotFound => File::open(format!("/proc/self/{name}")),
                outcome => outcome,
            },
            Self::Other(other) => other.open_file(name),
        }
    }

    /// The folder of its descriptors; as it was opened first, where it may not be opened any more.
    pub(crate) fn descriptors(&self) -> Result<File, NativeError> {
        let opened = self.open("fd");
        let kept = match self {
            Self::Own => None,
            Self::Other(other) => other.descriptors.as_ref(),
        };
        let outcome = match (opened, kept) {
            (Err(error), Some(kept)) if error.kind() == io::ErrorKind::PermissionDenied => kept.try_clone(),
            (opened, _) => opened,
        };
        outcome.map_err(|source| NativeError::Read { source, path: self.path("fd") })
    }

    /// The folder of its threads, which outlives the first of them.
    pub(crate) fn threads(&self) -> Result<File, NativeError> {
        let opened = match self {
            // `..` of a thread's own folder is its process's list.
            Self::Own => match File::open("/proc/thread-self/..") {
                Err(error) if error.kind() == io::ErrorKind::NotFound => File::open("/proc/self/task"),
                outcome => outcome,
            },
            Self::Other(other) => other.open_below("task"),
        };
        opened.map_err(|source| NativeError::Read { source, path: format!("/proc/{}/task", self.pid()) })
    }

    /// Which entry files are opened through: they are opened again when it changes.
    pub(crate) fn entry(&self) -> i64 {
        match self {
            // SAFETY: takes no arguments, touches no memory, and cannot fail.
            Self::Own => i64::from(unsafe { libc::gettid() }),
            Self::Other(other) => i64::from(other.thread.load(Relaxed)),
        }
    }

    /// Its memory.
    pub(crate) fn memory(&self) -> &Memory {
        match self {
            Self::Own => &Memory::Own,
            Self::Other(other) => other.memory(),
        }
    }
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
