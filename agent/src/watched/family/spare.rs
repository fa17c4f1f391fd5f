//! The spare watcher: a process that was forked from the first watcher, when that had no threads and nothing open yet, and
//! does nothing but fork the watchers of the host's forked children. It lives as long as the host or any such child.
//!
//! Never here: a descriptor of the host's, a look into a host's memory, a wait without an end.

use std::ffi::CStr;
use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::time::{Duration, Instant};

use leakline_core::SessionId;
use leakline_probing::shared::{Lanes, anew, mapped};

use super::desk::{Desk, Wish};
use crate::config::{Config, LogcatTarget};
use crate::watched::line::Line;
use crate::watched::{spawn, watcher};

const NAME: &CStr = c"leakline-spare";
/// How often it is looked whether anybody is left.
const LOOK: Duration = Duration::from_secs(2);
/// Once the host has ended, children are looked for less and less often.
const LONGEST_LOOK: Duration = Duration::from_secs(60);
/// Processes that are watched at once.
const MOST_WATCHED: usize = 64;
/// Children that are remembered.
const MOST_KNOWN: usize = 8192;

/// What the spare is made with.
#[derive(Clone)]
pub(in crate::watched) struct Spare {
    pub(in crate::watched) desk: &'static Desk,
    pub(in crate::watched) config: Config,
    pub(in crate::watched) line: &'static Line,
    pub(in crate::watched) lanes: &'static Lanes,
    /// The process that `leakline run` began with.
    pub(in crate::watched) host: u32,
    /// Its session.
    pub(in crate::watched) application: SessionId,
}

impl Spare {
    /// Makes it. To be called in the watcher, before it has threads.
    pub(in crate::watched) fn make(self) {
        let watcher = std::process::id();
        // SAFETY: this process has one thread.
        if unsafe { spawn::fork() } == Some(0) {
            let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.serve(watcher)));
            drop(served);
            spawn::leave();
        }
    }

    fn serve(&self, parent: u32) {
        // SAFETY: the name ends with a NUL.
        unsafe { libc::prctl(libc::PR_SET_NAME, NAME.as_ptr()) };
        // Whoever reads the host's must see its end.
        spawn::leave_stderr();
        spawn::leave_files();
        let mut watchers: Vec<u32> = Vec::new();
        let mut members = Members::new(self.desk);
        let mut seen = 0;
        loop {
            self.desk.wait(&mut seen, LOOK);
            while let Some(pending) = self.desk.take() {
                watchers.retain(|watcher| exists(*watcher));
                let watcher = if watchers.len() < MOST_WATCHED { self.watch(&pending.wish) } else { None };
                let is_told = pending.answer(watcher.is_some());
                match watcher {
                    Some(watcher) if is_told => watchers.push(watcher),
                    Some(watcher) => spawn::kill(watcher),
                    None => {}
                }
            }
            members.take_up();
            self.desk.clean(exists);
            // SAFETY: takes nothing.
            let is_orphan = unsafe { libc::getppid() }.cast_unsigned() != parent;
            if (is_orphan || self.desk.is_host_over()) && !members.is_any_left(self.host) {
                return;
            }
        }
    }

    /// Makes the watcher of a child; `None`: it cannot be watched.
    fn watch(&self, wish: &Wish) -> Option<u32> {
        let file =
            File::options().read(true).write(true).open(format!("/proc/{}/fd/{}", wish.process, wish.file));
        // Where the child has another /proc than this process, its number is somebody else's.
        let file = file.ok().filter(|file| anew::identity_of(file.as_raw_fd()) == Some(wish.identity))?;
        let mut config = self.config.clone();
        // It has settled by now.
        config.settle = Duration::ZERO;
        // SAFETY: this process has one thread.
        match unsafe { spawn::fork() }? {
            0 => {
                let watched = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    self.become_watcher(config, wish.process, &file)
                }));
                drop(watched);
                spawn::leave()
            }
            watcher => Some(watcher),
        }
    }

    /// In a new process.
    fn become_watcher(&self, mut config: Config, child: u32, memory: &File) {
        // SAFETY: the name ends with a NUL.
        unsafe { libc::prctl(libc::PR_SET_NAME, spawn::NAME.as_ptr()) };
        if anew::join(memory.as_fd()).is_err() {
            return;
        }
        mapped::belongs_to(self.host, child);
        if config.logcat_target != LogcatTarget::Off && !take_stderr(child) {
            config.logcat_target = LogcatTarget::Off;
        }
        watcher::watch(watcher::Watch {
            config,
            line: self.line,
            lanes: self.lanes,
            host: child,
            predecessor: None,
            family: watcher::Family {
                application: self.application,
                parent: Some(parent_of(child)),
                desk: None,
            },
        });
    }
}

/// Takes the child's standard error for the log, where that can be opened anew: a file's place in it cannot be shared.
fn take_stderr(child: u32) -> bool {
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let Ok(file) = OpenOptions::new().write(true).custom_flags(flags).open(format!("/proc/{child}/fd/2"))
    else {
        return false;
    };
    let is_fit =
        file.metadata().is_ok_and(|data| data.file_type().is_char_device() || data.file_type().is_fifo());
    // SAFETY: both are descriptors of this process's.
    is_fit && unsafe { libc::dup2(file.as_raw_fd(), 2) } == 2
}

fn parent_of(process: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().nth(1).and_then(|parent| parent.parse().ok()).unwrap_or(0)
}

fn exists(process: u32) -> bool {
    let process = libc::pid_t::try_from(process).unwrap_or(-1);
    // SAFETY: no signal is sent.
    let outcome = unsafe { libc::kill(process, 0) };
    outcome == 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// The processes that may ask: the host's descendants by `fork`, as far as they live.
struct Members {
    desk: &'static Desk,
    seen: u32,
    known: Vec<u32>,
    next_maps: Option<Instant>,
    between_maps: Duration,
}

impl Members {
    fn new(desk: &'static Desk) -> Self {
        Self { desk, seen: 0, known: Vec::new(), next_maps: None, between_maps: LOOK }
    }

    fn take_up(&mut self) {
        let before = self.known.len();
        self.known.extend(self.desk.forked_since(&mut self.seen));
        if self.known.len() != before {
            self.known.sort_unstable();
            self.known.dedup();
            self.known.retain(|process| exists(*process));
            self.known.truncate(MOST_KNOWN);
        }
    }

    /// Whether any process has the desk. The map of each is read, and less often the longer it goes on.
    fn is_any_left(&mut self, host: u32) -> bool {
        self.known.retain(|process| exists(*process));
        let is_due = self.next_maps.is_none_or(|next| Instant::now() >= next);
        if !is_due && !self.known.is_empty() {
            return true;
        }
        self.next_maps = Some(Instant::now() + self.between_maps);
        self.between_maps = (self.between_maps * 2).min(LONGEST_LOOK);
        let own = self.inode(std::process::id());
        let mut candidates = self.known.iter().chain(std::iter::once(&host));
        own.is_some() && candidates.any(|process| self.inode(*process) == own)
    }

    /// Of the memory at the desk's address, in `process`.
    fn inode(&self, process: u32) -> Option<u64> {
        let start = format!("{:x}-", std::ptr::from_ref(self.desk) as usize);
        let map = fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
        let line = map.lines().find(|line| line.trim_start_matches('0').starts_with(&start))?;
        line.split_whitespace().nth(4)?.parse().ok().filter(|inode| *inode != 0)
    }
}
