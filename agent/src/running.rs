//! The one agent of this process: started, asked, stopped, and left alone in a forked child.
//! Where a watcher runs beside the process, it is the agent, and these calls go to it.
//! Never panics and never waits longer than it says: the host is in these calls.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use leakline_core::{Probe, ProbeRequest, SchedulerHandle, Sink, Snapshot, StartError, Window};

use crate::config::Config;
use crate::stats::Stats;
use crate::watched::commands::{self, Asked};
use crate::{compose, custom, threads, watched};

/// How long `snapshot_now` waits for the slowest probe.
pub(crate) const SNAPSHOT_WAIT: Duration = Duration::from_secs(60);

static AGENT: Mutex<Option<Running>> = Mutex::new(None);

/// The process that started the agent; in a forked child it differs from the child's own. 0: no agent runs.
static OWNER: AtomicU32 = AtomicU32::new(0);

struct Running {
    handle: Arc<SchedulerHandle>,
    final_wait: Duration,
}

/// Why the agent did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// `start` was called while an agent runs; that one goes on, unchanged.
    #[error("leakline runs in this process already")]
    AlreadyRunning,
    /// No agent runs in this process.
    #[error("leakline does not run in this process: call start first")]
    NotRunning,
    /// The host forked: the agent stays with the parent.
    #[error("leakline stays with the process that started it ({owner}); this is a forked child")]
    ForkedChild {
        /// The process that has the agent.
        owner: u32,
    },
    /// The snapshot was not complete in time; it goes to the sinks all the same when it is.
    #[error("no snapshot within {} s", waited.as_secs())]
    TimedOut {
        /// How long it was waited for.
        waited: Duration,
    },
    /// leakline watches this process from another one, which cannot call a probe of this one's code.
    #[error(
        "leakline watches this program from a process beside it and cannot take a probe written in Rust: run it with LEAKLINE_WATCHER=off"
    )]
    Watched,
    /// Too many requests wait already, or the agent has ended.
    #[error("too many requests wait already")]
    Busy,
    /// The scheduler could not be started.
    #[error("cannot start: {source}")]
    Start {
        /// Why.
        #[from]
        source: StartError,
    },
}

/// Starts the agent with `config`. Returns as soon as its threads run; the first reading is theirs.
pub fn start(config: Config) -> Result<(), AgentError> {
    start_with(config, Vec::new(), Vec::new())
}

/// As [`start`], with probes and sinks of the host's own beside those that `config` asks for.
pub fn start_with(
    config: Config,
    probes: Vec<Box<dyn Probe>>,
    sinks: Vec<Box<dyn Sink>>,
) -> Result<(), AgentError> {
    refuse_in_forked_child()?;
    let mut agent = lock();
    if agent.is_some() || watched::runs() {
        return Err(AgentError::AlreadyRunning);
    }
    custom::begin_waiting();
    let handle = threads::with_signals_blocked(|| compose::start(&config, probes, sinks))?;
    *agent = Some(Running { handle: Arc::new(handle), final_wait: config.final_wait });
    OWNER.store(std::process::id(), Ordering::Release);
    Ok(())
}

/// Whether an agent runs in this process.
pub fn is_running() -> bool {
    refuse_in_forked_child().is_ok() && (watched::runs() || handle().is_ok())
}

/// A watcher is the agent of this process.
pub(crate) fn has_a_watcher() {
    OWNER.store(std::process::id(), Ordering::Release);
}

/// Whether the watcher is to be asked; an error in a forked child.
fn asks_watcher() -> Result<bool, AgentError> {
    refuse_in_forked_child()?;
    Ok(watched::runs())
}

/// Has a probe of the host's own read from the next tick on, beside those that [`start_with`] was given: for what comes up
/// while the agent runs. It goes when the agent is stopped; at most 16 can be added.
pub fn add_probe(probe: Box<dyn Probe>) -> Result<(), AgentError> {
    if asks_watcher()? {
        return Err(AgentError::Watched);
    }
    let handle = handle()?;
    threads::with_signals_blocked(|| handle.add_probe(probe))?;
    Ok(())
}

/// Takes a snapshot now, besides the aligned ones, and waits for it: up to a minute when a runtime is busy.
/// Must not be called while holding the GIL, which the Python probe needs.
pub fn snapshot_now() -> Result<Arc<Snapshot>, AgentError> {
    if asks_watcher()? {
        return commands::snapshot(SNAPSHOT_WAIT);
    }
    handle()?.snapshot_now(SNAPSHOT_WAIT).ok_or(AgentError::TimedOut { waited: SNAPSHOT_WAIT })
}

/// Current and peak memory per layer, and the agent's own cost, as of the last snapshot.
pub fn stats() -> Result<Stats, AgentError> {
    if asks_watcher()? {
        return commands::stats();
    }
    let handle = handle()?;
    let snapshot = match handle.latest() {
        Some(snapshot) => snapshot,
        None => handle.snapshot_now(SNAPSHOT_WAIT).ok_or(AgentError::TimedOut { waited: SNAPSHOT_WAIT })?,
    };
    Ok(Stats::new(snapshot, &handle.peaks()))
}

/// Tells a named event of the host (a reconnect, the app going to the background). Never blocks; where a watcher is the
/// agent, it waits until that has taken it, some microseconds.
pub fn mark(name: &str) -> Result<(), AgentError> {
    if asks_watcher()? {
        return commands::tell(&Asked::Mark(name.to_owned()));
    }
    handle()?.mark(name);
    Ok(())
}

/// Takes a snapshot that growth is counted from from now on. Does not wait for it.
pub fn reset_baseline() -> Result<(), AgentError> {
    if asks_watcher()? {
        return commands::tell(&Asked::ResetBaseline);
    }
    handle()?.reset_baseline();
    Ok(())
}

/// Records every allocation for a while: takes a snapshot when the window is open, and one when its time has passed.
/// Does not wait. A runtime whose probe cannot do it says so in the notes of its next reading.
pub fn open_window(window: Window) -> Result<(), AgentError> {
    if asks_watcher()? {
        return commands::open_window(&window);
    }
    ask(ProbeRequest::OpenWindow(window))
}

/// Ends the window that is open, with a last snapshot of it. Does not wait.
pub fn close_window() -> Result<(), AgentError> {
    if asks_watcher()? {
        return commands::tell(&Asked::CloseWindow);
    }
    ask(ProbeRequest::CloseWindow)
}

/// Counts objects by type, and who holds those of the growing types, with a snapshot taken now. Does not wait.
pub fn take_census() -> Result<(), AgentError> {
    if asks_watcher()? {
        return commands::tell(&Asked::Census);
    }
    ask(ProbeRequest::Census)
}

/// Looks for cycles across the heaps of Python and Java, with a snapshot taken now. Does not wait.
pub fn look_for_cycles() -> Result<(), AgentError> {
    if asks_watcher()? {
        return commands::tell(&Asked::Cycles);
    }
    ask(ProbeRequest::Cycles)
}

fn ask(request: ProbeRequest) -> Result<(), AgentError> {
    if handle()?.ask(request) { Ok(()) } else { Err(AgentError::Busy) }
}

/// Ticks at multiples of `interval` from now on.
pub fn set_interval(interval: Duration) -> Result<(), AgentError> {
    if asks_watcher()? {
        return commands::tell(&Asked::SetInterval(interval));
    }
    handle()?.set_interval(interval);
    Ok(())
}

/// Stops the agent: gives back what its probes took, gets out what its sinks still hold, ends its threads. Waits at
/// most `final_wait` of the config; a thread that is stuck in a runtime is left behind, asleep. Without an agent, or in
/// a forked child, it does nothing.
pub fn stop() {
    if refuse_in_forked_child().is_err() {
        return;
    }
    if watched::runs() {
        watched::stop();
    }
    let running = lock().take();
    OWNER.store(0, Ordering::Release);
    if let Some(running) = running {
        custom::let_go();
        running.handle.stop(running.final_wait);
    }
}

/// The host's end: a last snapshot (unless Python's end had one already), then [`stop`]. Never waits for the lock:
/// whoever holds it may be gone.
pub(crate) fn end() {
    if refuse_in_forked_child().is_err() {
        return;
    }
    let running = match AGENT.try_lock() {
        Ok(mut agent) => agent.take(),
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().take(),
        Err(TryLockError::WouldBlock) => None,
    };
    OWNER.store(0, Ordering::Release);
    if let Some(running) = running {
        let begun = Instant::now();
        // Half for reading, so that there is time to get out what was read.
        running.handle.final_snapshot(running.final_wait / 2);
        custom::let_go();
        running.handle.stop(running.final_wait.saturating_sub(begun.elapsed()));
    }
}

/// The last snapshot while a runtime that is about to end can still be read. Called on the host's thread, which holds
/// no lock of the runtime.
pub(crate) fn runtime_is_closing(host_ends_with_it: bool) {
    if watched::runs() {
        return watched::runtime_is_closing(host_ends_with_it);
    }
    let Ok(handle) = handle() else { return };
    let wait = lock().as_ref().map_or(Duration::ZERO, |running| running.final_wait);
    if host_ends_with_it {
        handle.final_snapshot(wait);
    } else {
        handle.snapshot_now(wait);
    }
}

fn handle() -> Result<Arc<SchedulerHandle>, AgentError> {
    refuse_in_forked_child()?;
    lock().as_ref().map(|running| Arc::clone(&running.handle)).ok_or(AgentError::NotRunning)
}

fn refuse_in_forked_child() -> Result<(), AgentError> {
    match OWNER.load(Ordering::Acquire) {
        0 => Ok(()),
        owner if owner == std::process::id() => Ok(()),
        owner => Err(AgentError::ForkedChild { owner }),
    }
}

/// A poisoned lock still holds a whole `Option`: nothing is half done under it.
fn lock() -> MutexGuard<'static, Option<Running>> {
    AGENT.lock().unwrap_or_else(PoisonError::into_inner)
}
