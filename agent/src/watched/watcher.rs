//! The watcher's life: it comes up, waits until the host has settled, runs the scheduler, and ends with the host.
//!
//! It ends by what it sees, in this order: the host asked for its last snapshot and then ended in an orderly way; the host
//! is gone without a word (killed, crashed, or ended by a way that nobody sees); the host has become another program
//! (`exec`), which has a watcher of its own; the agent was stopped. In all but the last two it takes a last snapshot, of
//! whatever can still be read, and writes it.
//!
//! Never here: a wait without an end, or a lock that the host may wait for.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use leakline_core::{Origin, SchedulerHandle, Session, SessionId};
use leakline_probing::shared::{Lane, Lanes};

use super::family::{Desk, Spare};
use super::line::{Line, Want};
use super::remote::Remote;
use super::sight::{Seen, Sight};
use super::unwatched::Unwatched;
use super::{Inside, commands, spawn};
use crate::config::{Config, LogcatTarget};
use crate::{compose, recordings};

/// While the host settles it is looked at as often: a shell that becomes the program that matters is left at once.
const SETTLE_LOOK: Duration = Duration::from_millis(10);
/// The same of a child: its end is heard of at once, unless it is killed.
const CHILD_LOOK: Duration = Duration::from_millis(50);
/// How often it is looked at whether the host is still the program that it was.
const LOOK: Duration = Duration::from_secs(1);
/// How long a watcher of the program that was here before `exec` may take to write its last.
const PREDECESSOR_WAIT: Duration = Duration::from_secs(2);
/// A host that is gone waits for nobody, but whoever reads its recording does.
const LONGEST_END: Duration = Duration::from_millis(1500);

/// What a watcher is made with.
pub(super) struct Watch {
    pub(super) config: Config,
    pub(super) line: &'static Line,
    pub(super) lanes: &'static Lanes,
    /// The host.
    pub(super) host: u32,
    /// The watcher of the program that was in this process before `exec`.
    pub(super) predecessor: Option<u32>,
    pub(super) family: Family,
}

/// What the host is to other hosts.
#[derive(Clone, Copy)]
pub(super) struct Family {
    /// The session of the process that the application began with: the host's own, unless it has a parent in there.
    pub(super) application: SessionId,
    /// The parent's process.
    pub(super) parent: Option<u32>,
    /// Where the host's forked children ask for watchers; `None`: nowhere, or at that of the host's own parent.
    pub(super) desk: Option<&'static Desk>,
}

/// How the host ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Orderly,
    Gone,
    OutOfMemory,
    Exec,
    Stopped,
}

impl End {
    /// The name of the mark that says so.
    fn mark(self) -> Option<&'static str> {
        match self {
            Self::Orderly => Some("leakline: the program ended"),
            Self::Gone => {
                Some("leakline: the program was killed, crashed, or ended by a system call of its own")
            }
            Self::OutOfMemory => Some("leakline: the program was killed for want of memory (oom_kill)"),
            Self::Exec => Some("leakline: the program became another (exec)"),
            Self::Stopped => None,
        }
    }
}

/// Whether the scheduler runs yet.
enum Stage {
    Settling,
    Running(Arc<SchedulerHandle>),
    Over,
}

/// What the watcher's threads have in common.
pub(super) struct Watcher {
    config: Config,
    line: &'static Line,
    lanes: &'static Lanes,
    inside: Inside,
    host: u32,
    sight: Sight,
    session: Mutex<Option<Session>>,
    predecessor: Option<u32>,
    family: Family,
    stage: Mutex<Stage>,
}

/// Runs until the host has ended.
pub(super) fn watch(order: Watch) {
    let Watch { config, line, lanes, host, predecessor, family } = order;
    if !logs_to_stderr(&config) {
        spawn::leave_stderr();
    }
    line.come_up();
    // Read now: a host that is gone has no name any more.
    let mut session = crate::host::session_of(host, config.interval);
    match family.parent {
        None => session.id = family.application,
        Some(parent) => session.origin = Some(Origin { application: family.application, parent }),
    }
    if family.parent.is_some() {
        settle_child(line, host, config.settle);
    }
    line.settles();
    if let Some(desk) = family.desk.filter(|_| config.children.are_forked_ones_watched()) {
        let config = config.clone();
        Spare { desk, config, line, lanes, host, application: family.application }.make();
    }
    let sight = Sight::of(host);
    let watcher = Arc::new(Watcher {
        config,
        line,
        lanes,
        inside: Inside { remote: Remote::new(lanes) },
        host,
        sight,
        session: Mutex::new(Some(session)),
        predecessor,
        family,
        stage: Mutex::new(Stage::Settling),
    });
    let for_ends = Arc::clone(&watcher);
    if let Err(error) = start_thread("leakline-ends", move || for_ends.serve_ends()) {
        tracing::error!("cannot start a thread of the watcher: {error}; this program runs unwatched");
        line.stop();
        return;
    }
    let for_commands = Arc::clone(&watcher);
    // Without it the program's own calls are answered with an error.
    let _ = start_thread("leakline-asked", move || commands::serve(&for_commands, lanes));
    if family.parent.is_none() {
        watcher.settle();
    }
    watcher.begin();
    watcher.look_on();
}

/// Waits until a child has lived for as long as one does that is worth a session. Most do not: then this process ends, which
/// had no thread, and nothing is written.
fn settle_child(line: &Line, host: u32, settle: Duration) {
    let (sight, begun) = (Sight::of(host), Instant::now());
    while let Some(left) = settle.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
        let want = line.next_want(left.min(CHILD_LOOK));
        if let Some(want) = want {
            line.done(want);
        }
        if want == Some(Want::End) || sight.wait(Duration::ZERO) != Seen::Same {
            spawn::leave();
        }
    }
}

fn start_thread(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.into()).stack_size(256 << 10).spawn(run).map(drop)
}

fn logs_to_stderr(config: &Config) -> bool {
    config.logcat_target != LogcatTarget::Off
}

impl Watcher {
    /// Ends this process. The spare may go, too, unless there are children.
    fn leave(&self) -> ! {
        if let Some(desk) = self.family.desk {
            desk.host_is_over();
        }
        spawn::leave()
    }

    /// Waits for `settle`, or until a runtime has shown up. A host that becomes another program meanwhile is left, with
    /// nothing written.
    fn settle(&self) {
        let begun = Instant::now();
        while begun.elapsed() < self.config.settle && self.is_settling() && !self.has_runtime() {
            match self.sight.wait(SETTLE_LOOK.min(self.config.settle)) {
                Seen::Same => {}
                Seen::Other => self.leave(),
                Seen::Gone => return,
            }
        }
    }

    fn has_runtime(&self) -> bool {
        // Not the functions that an agent inside asks: here they are a copy, of a runtime that never ran.
        [Lane::Python, Lane::Jvm].into_iter().any(|lane| self.lanes.of(lane).is_served())
    }

    fn is_settling(&self) -> bool {
        matches!(*self.lock(), Stage::Settling)
    }

    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the scheduler, unless it was started: by the host's end, which could not wait.
    fn begin(&self) -> Option<Arc<SchedulerHandle>> {
        let mut stage = self.lock();
        match &*stage {
            Stage::Running(handle) => return Some(Arc::clone(handle)),
            Stage::Over => return None,
            Stage::Settling => {}
        }
        self.await_predecessor();
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let mut config = self.config.clone();
        if self.family.parent.is_some() {
            // One file cannot hold two sessions at once.
            config.file = config.file.map(|file| recordings::of_child(&file, session.host.pid));
            config.file_max_bytes = recordings::most_bytes_of_child(config.file_max_bytes);
        }
        match compose::start_in_watcher(&config, session, &self.inside, self.sight.process()) {
            Ok(handle) => {
                let handle = Arc::new(handle);
                *stage = Stage::Running(Arc::clone(&handle));
                Some(handle)
            }
            Err(error) => {
                tracing::error!("cannot start: {error}; this program runs unwatched");
                *stage = Stage::Over;
                self.line.stop();
                None
            }
        }
    }

    /// The running scheduler, for the host's commands.
    pub(super) fn handle(&self) -> Option<Arc<SchedulerHandle>> {
        self.begin()
    }

    /// Stops the agent because the host's code said so.
    pub(super) fn stop(&self) {
        self.end(End::Stopped, self.config.final_wait);
    }

    /// Two sessions cannot write one file: who was here first ends first.
    fn await_predecessor(&self) {
        let Some(predecessor) = self.predecessor else { return };
        let begun = Instant::now();
        while is_watcher(predecessor) && begun.elapsed() < PREDECESSOR_WAIT {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Serves what the host wants at its end.
    fn serve_ends(&self) {
        loop {
            match self.line.next_want(Duration::from_secs(3600)) {
                Some(Want::Last) => {
                    if let Some(handle) = self.begin() {
                        handle.final_snapshot(self.config.final_wait / 2);
                        handle.flush(self.config.final_wait / 4);
                    }
                    self.line.done(Want::Last);
                }
                Some(Want::End) => {
                    if self.line.is_gil_held() {
                        // Growth of Python ends at the last tick, then, and the reading says so.
                        [Lane::Python, Lane::Custom]
                            .into_iter()
                            .for_each(|lane| self.lanes.of(lane).give_up());
                    }
                    self.end(End::Orderly, self.config.final_wait);
                    // Before the host goes on: whoever reads its standard error sees the end of it with the host.
                    spawn::leave_stderr();
                    self.line.done(Want::End);
                    self.leave();
                }
                None => {}
            }
        }
    }

    /// Looks at the host until it is gone or another.
    fn look_on(&self) {
        let mut keeps_stderr = logs_to_stderr(&self.config);
        let mut unwatched = Unwatched::of(self.host);
        loop {
            match self.sight.wait(LOOK) {
                Seen::Same => {
                    if keeps_stderr && !self.sight.has_same_stderr() {
                        spawn::leave_stderr();
                        keeps_stderr = false;
                    }
                    self.take_readers();
                    self.tell(unwatched.look());
                    if self.sight.has_only_our_threads() {
                        self.leave_lanes();
                    }
                    if self.line.is_stopped() {
                        self.leave();
                    }
                }
                Seen::Other => {
                    self.lanes.host_is_gone();
                    self.end(End::Exec, LONGEST_END);
                    self.leave();
                }
                Seen::Gone => {
                    self.lanes.host_is_gone();
                    let end = match (self.line.is_ending(), self.sight.was_killed_for_memory()) {
                        (true, _) => End::Orderly,
                        (false, true) => End::OutOfMemory,
                        (false, false) => End::Gone,
                    };
                    self.end(end, LONGEST_END);
                    self.leave();
                }
            }
        }
    }

    fn tell(&self, marks: Vec<String>) {
        if let Stage::Running(handle) = &*self.lock() {
            marks.iter().for_each(|mark| handle.mark(mark));
        }
    }

    /// The host has opened probes of its own: they are read from now on.
    fn take_readers(&self) {
        if let Stage::Running(handle) = &*self.lock()
            && let Some(probe) = self.inside.new_readers()
            && let Err(error) = handle.add_probe(probe)
        {
            tracing::warn!("the program's own probes are not read: {error}");
        }
    }

    /// Has leakline's threads in the host end, so that the process can.
    fn leave_lanes(&self) {
        for (lane, _) in leakline_probing::shared::LANE_NAMES {
            self.lanes.of(lane).stop();
        }
    }

    /// Ends the session, once: a last snapshot unless another program is in the process by now, how it ended, and
    /// everything written. Takes at most `longest`.
    fn end(&self, end: End, longest: Duration) {
        let begun = Instant::now();
        let Some(handle) = self.begin() else { return };
        let mut stage = self.lock();
        if matches!(*stage, Stage::Over) {
            return;
        }
        if !matches!(end, End::Exec | End::Stopped) {
            // Half for reading, so that there is time to get out what was read.
            handle.final_snapshot(longest / 2);
        }
        if let Some(mark) = end.mark() {
            handle.mark(mark);
        }
        let unwatched = self.family.desk.map_or(0, Desk::unwatched_programs);
        if unwatched > 0 {
            handle.mark(&format!(
                "leakline: {unwatched} programs were not watched that this one started within moments"
            ));
        }
        handle.stop(longest.saturating_sub(begun.elapsed()).max(longest / 4));
        *stage = Stage::Over;
    }
}

/// Whether the process is a watcher that works. A number is given to another process once its owner is gone, and one that
/// has ended stays to be seen until it is reaped.
fn is_watcher(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let named = stat.split_once(" (").and_then(|(_, rest)| rest.rsplit_once(") "));
    named.is_some_and(|(name, rest)| name.as_bytes() == spawn::NAME.to_bytes() && !rest.starts_with('Z'))
}

/// Tells the watcher of the program that was in this process before that it is to look now.
pub(super) fn hurry(predecessor: u32) {
    // By the descriptor of the process's folder, which is of one process only.
    let Ok(folder) = File::open(format!("/proc/{predecessor}")) else { return };
    if is_watcher(predecessor) {
        // SAFETY: the folder is open, and no more is told than the number of a signal that a watcher takes.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                folder.as_raw_fd(),
                super::sight::LOOK_NOW,
                std::ptr::null::<libc::siginfo_t>(),
                0_u32,
            )
        };
    }
}
