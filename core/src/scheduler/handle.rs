//! The host's end of a running scheduler.
//! Never panics into the host, and never waits longer than it was told to.

use std::collections::HashMap;
use std::fmt;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::StartError;
use super::alignment::nanos;
use super::door::{self, Door};
use super::own::Ending;
use super::shared::{Request, Shared, lock};
use crate::clock::Clock;
use crate::command::{Command, CommandSender};
use crate::fanout::FanOut;
use crate::model::{Cause, Mark, Snapshot};
use crate::probe::Probe;
use crate::request::ProbeRequest;
use crate::sink::Record;
use crate::verdict::Verdict;

/// Longer names of marks are cut: a mark is a name, not a message.
const MAX_MARK_BYTES: usize = 256;
/// How long probes may take to detach when nobody called `stop`, so that nobody waits for it.
pub(super) const DEFAULT_PATIENCE: Duration = Duration::from_secs(2);

/// A running scheduler. Every method may be called from any thread, inside and outside of a runtime, and after `stop`.
/// Those that wait say so; they must not be called while holding a lock that a probe needs, such as the GIL.
///
/// Dropping it ends the agent without waiting for it.
pub struct SchedulerHandle {
    pub(super) shared: Arc<Shared>,
    pub(super) fanout: Arc<FanOut>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) requests: Sender<Request>,
    pub(super) commands: CommandSender,
    pub(super) door: Mutex<Door>,
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for SchedulerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulerHandle").field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// How `stop` went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stopped {
    /// Every probe that had attached was detached, every sink took what was queued, and every thread ended.
    pub clean: bool,
    /// Names of the threads that are left behind, stuck in a probe or a sink.
    pub left_behind: Vec<String>,
    /// Records that are still queued for sinks that are left behind.
    pub undelivered: usize,
}

impl SchedulerHandle {
    /// Takes a snapshot besides the aligned ones and waits for it; `None` when it is not there within `timeout`.
    /// Calls that wait at the same time share one snapshot.
    pub fn snapshot_now(&self, timeout: Duration) -> Option<Arc<Snapshot>> {
        self.request(Cause::Requested, timeout)
    }

    /// Takes the last snapshot, because the host is about to end, and waits for it. A tick in hand is cut short for it.
    /// There is one at most: a second call returns the first.
    pub fn final_snapshot(&self, timeout: Duration) -> Option<Arc<Snapshot>> {
        if let Some(last) = self.shared.last() {
            return Some(last);
        }
        self.shared.hurry(self.clock.now().boot_nanos.saturating_add(nanos(timeout / 4)));
        let last = self.request(Cause::Final, timeout);
        self.shared.no_hurry();
        last
    }

    /// Tells a named event of the host. Does not wait; at most 256 bytes of the name are kept.
    pub fn mark(&self, name: &str) {
        if self.shared.ended() {
            return;
        }
        let name = shortened(name).to_owned();
        self.fanout.push(&Record::Mark(Mark { name, at: self.clock.now() }));
    }

    /// Takes a snapshot that growth is counted from from now on. Does not wait; `false` when too many requests wait.
    pub fn reset_baseline(&self) -> bool {
        self.commands.send(Command::ResetBaseline)
    }

    /// Ticks at multiples of `interval` from now on. Does not wait; `false` when too many requests wait.
    pub fn set_interval(&self, interval: Duration) -> bool {
        self.commands.send(Command::SetInterval(interval))
    }

    /// Has `probe` read from the next tick on, on a lane of its own, until the end; it may find nothing to read at any time
    /// (`Absent`). Does not wait. At most 16 can be added, and none when the agent ends.
    pub fn add_probe(&self, probe: Box<dyn Probe>) -> Result<(), StartError> {
        let probes = [probe];
        let identities = door::identify(&probes)?;
        let mut door = lock(&self.door);
        for (identity, probe) in identities.into_iter().zip(probes) {
            if self.shared.ended() {
                return Err(StartError::Closed { name: identity.name.into_owned() });
            }
            let thread = door.add(identity, probe)?;
            lock(&self.threads).push(thread);
        }
        Ok(())
    }

    /// Asks every probe for `request`, and takes a snapshot after it. Does not wait; `false` when too many requests wait.
    pub fn ask(&self, request: ProbeRequest) -> bool {
        self.commands.send(Command::Ask(request))
    }

    /// The last snapshot; `None` before the first one is complete.
    pub fn latest(&self) -> Option<Arc<Snapshot>> {
        self.shared.latest()
    }

    /// The snapshot that growth is counted from.
    pub fn baseline(&self) -> Option<Arc<Snapshot>> {
        self.shared.baseline()
    }

    /// Why the agent ended by itself; `None` while it runs, and when somebody stopped it.
    pub fn ended_by_itself(&self) -> Option<Ending> {
        self.shared.ending()
    }

    /// The verdict after the last snapshot, the worst first.
    pub fn verdicts(&self) -> Arc<[Verdict]> {
        self.shared.verdicts()
    }

    /// The highest value of each gauge that is a level, over all snapshots so far, for at most 1024 names.
    pub fn peaks(&self) -> HashMap<String, f64> {
        self.shared.peaks()
    }

    /// Waits until the sinks have taken or lost what was queued before this call; `false` when `timeout` came first.
    pub fn flush(&self, timeout: Duration) -> bool {
        let now = Instant::now();
        self.fanout.flush(now.checked_add(timeout).unwrap_or(now))
    }

    /// Ends the agent: takes no new ticks, detaches the probes that are not stuck, lets the sinks take what is queued
    /// and closes them. Waits at most `patience`; what is stuck then is left behind, and reported. May be called again.
    pub fn stop(&self, patience: Duration) -> Stopped {
        let begun = Instant::now();
        // Some of the patience is for what comes after the probes: their threads' ends.
        self.shared.stop(patience.mul_f64(0.8));
        let mut nap = Duration::from_micros(100);
        while self.running() && begun.elapsed() < patience {
            std::thread::sleep(nap.min(patience.saturating_sub(begun.elapsed())));
            nap = (nap * 2).min(Duration::from_millis(5));
        }
        let left_behind: Vec<String> = lock(&self.threads)
            .iter()
            .filter_map(|thread| thread.thread().name().map(str::to_owned))
            .collect();
        let undelivered = self.fanout.waiting();
        let clean = left_behind.is_empty() && undelivered == 0 && !self.shared.undetached();
        Stopped { clean, left_behind, undelivered }
    }

    /// Joins the threads that have ended; whether there are others.
    fn running(&self) -> bool {
        let mut threads = lock(&self.threads);
        let (ended, running) = threads.drain(..).partition(JoinHandle::is_finished);
        *threads = running;
        // The last thread of a process runs its exit handlers, and cannot wait for itself.
        if self.shared.ending() == Some(Ending::HostOver) {
            return !threads.is_empty();
        }
        for thread in ended {
            // Its panics were caught on it.
            let _ = JoinHandle::join(thread);
        }
        !threads.is_empty()
    }

    fn request(&self, cause: Cause, timeout: Duration) -> Option<Arc<Snapshot>> {
        let now = Instant::now();
        let until = now.checked_add(timeout).unwrap_or(now);
        let (reply, answer) = sync_channel(1);
        let mut request = Request { cause, until, reply };
        while !self.shared.ended() {
            match self.requests.try_send(request) {
                Ok(()) => {
                    return answer.recv_timeout(until.saturating_duration_since(Instant::now())).ok();
                }
                Err(TrySendError::Full(back)) if Instant::now() < until => request = back,
                Err(_) => return None,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    }
}

/// `name` up to its bound, cut between two characters.
fn shortened(name: &str) -> &str {
    let end = (0..=MAX_MARK_BYTES.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
    end.and_then(|end| name.get(..end)).unwrap_or(name)
}

impl Drop for SchedulerHandle {
    fn drop(&mut self) {
        self.shared.stop(DEFAULT_PATIENCE);
    }
}
