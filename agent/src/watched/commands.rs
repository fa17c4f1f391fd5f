//! What the host's own code asks of the agent, on its way to the watcher and back.
//!
//! Called on the host's threads, which wait no longer than each call says. A watcher that is gone answers nothing; then no
//! agent runs here any more.

use std::sync::Arc;
use std::time::Duration;

use leakline_core::{ProbeRequest, Snapshot, Window, WindowSource};
use leakline_probing::shared::{CallError, Lanes, Reply};
use serde::{Deserialize, Serialize};

use super::WATCHED;
use super::watcher::Watcher;
use crate::running::{AgentError, SNAPSHOT_WAIT};
use crate::stats::Stats;

/// For what is answered without a reading.
const SHORT_WAIT: Duration = Duration::from_secs(2);

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Asked {
    Mark(String),
    Snapshot(Duration),
    /// The last snapshot, or one that is taken now when there is none.
    Latest,
    ResetBaseline,
    OpenWindow {
        exact: bool,
        frames: Option<u16>,
        duration: Duration,
        max_traces: Option<u64>,
    },
    CloseWindow,
    Census,
    Cycles,
    SetInterval(Duration),
    Stop,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Done,
    Busy,
    TimedOut,
    NotRunning,
    /// As JSON: not all of a snapshot's fields are there at all times, which other forms cannot say.
    Snapshot(Vec<u8>, Vec<(String, f64)>),
}

/// Asks for something that has no answer but that it was taken.
pub(crate) fn tell(asked: &Asked) -> Result<(), AgentError> {
    let timeout = if let Asked::Stop = asked { SNAPSHOT_WAIT } else { SHORT_WAIT };
    match call(asked, timeout)? {
        Answer::Done | Answer::Snapshot(..) => Ok(()),
        other => Err(error(&other, timeout)),
    }
}

/// Asks for a snapshot that is taken now.
pub(crate) fn snapshot(wait: Duration) -> Result<Arc<Snapshot>, AgentError> {
    match call(&Asked::Snapshot(wait), wait)? {
        Answer::Snapshot(snapshot, _) => decode(&snapshot),
        other => Err(error(&other, wait)),
    }
}

/// The last snapshot, and the peaks.
pub(crate) fn stats() -> Result<Stats, AgentError> {
    match call(&Asked::Latest, SNAPSHOT_WAIT)? {
        Answer::Snapshot(snapshot, peaks) => Ok(Stats::new(decode(&snapshot)?, &peaks.into_iter().collect())),
        other => Err(error(&other, SNAPSHOT_WAIT)),
    }
}

/// As a window is asked for.
pub(crate) fn open_window(window: &Window) -> Result<(), AgentError> {
    tell(&Asked::OpenWindow {
        exact: window.source == WindowSource::Exact,
        frames: window.frames,
        duration: window.duration,
        max_traces: window.max_traces,
    })
}

fn call(asked: &Asked, timeout: Duration) -> Result<Answer, AgentError> {
    let watched = WATCHED.get().ok_or(AgentError::NotRunning)?;
    let request = postcard::to_stdvec(asked).map_err(|_| AgentError::Busy)?;
    match watched.lanes.commands.call(&request, timeout) {
        Ok(answer) => postcard::from_bytes(&answer).map_err(|_| AgentError::Busy),
        Err(CallError::TimedOut) => Err(AgentError::TimedOut { waited: timeout }),
        Err(CallError::NotServed | CallError::Gone) => Err(AgentError::NotRunning),
        Err(CallError::Dropped | CallError::TooLarge | CallError::Damaged) => Err(AgentError::Busy),
    }
}

fn decode(snapshot: &[u8]) -> Result<Arc<Snapshot>, AgentError> {
    serde_json::from_slice(snapshot).map(Arc::new).map_err(|error| {
        tracing::error!("the watcher's snapshot cannot be read: {error}");
        AgentError::Busy
    })
}

fn error(answer: &Answer, waited: Duration) -> AgentError {
    match answer {
        Answer::NotRunning => AgentError::NotRunning,
        Answer::TimedOut => AgentError::TimedOut { waited },
        Answer::Busy | Answer::Done | Answer::Snapshot(..) => AgentError::Busy,
    }
}

/// The watcher's side: serves the host's calls until the watcher ends.
pub(super) fn serve(watcher: &Arc<Watcher>, lanes: &Lanes) {
    lanes.commands.serve(|request| {
        let answer = match postcard::from_bytes::<Asked>(request) {
            Ok(asked) => answer(watcher, asked),
            Err(_) => Answer::Busy,
        };
        Reply { bytes: postcard::to_stdvec(&answer).unwrap_or_default(), more_follows: false }
    });
}

fn answer(watcher: &Arc<Watcher>, asked: Asked) -> Answer {
    if let Asked::Stop = asked {
        watcher.stop();
        return Answer::Done;
    }
    let Some(handle) = watcher.handle() else { return Answer::NotRunning };
    let with_peaks = |snapshot: Option<Arc<Snapshot>>| match snapshot {
        Some(snapshot) => {
            let text = serde_json::to_vec(&*snapshot).unwrap_or_default();
            Answer::Snapshot(text, handle.peaks().into_iter().collect())
        }
        None => Answer::TimedOut,
    };
    let taken = |taken: bool| if taken { Answer::Done } else { Answer::Busy };
    match asked {
        Asked::Mark(name) => {
            handle.mark(&name);
            Answer::Done
        }
        Asked::Snapshot(wait) => with_peaks(handle.snapshot_now(wait.min(SNAPSHOT_WAIT))),
        Asked::Latest => with_peaks(handle.latest().or_else(|| handle.snapshot_now(SNAPSHOT_WAIT))),
        Asked::ResetBaseline => taken(handle.reset_baseline()),
        Asked::OpenWindow { exact, frames, duration, max_traces } => {
            let source = if exact { WindowSource::Exact } else { WindowSource::Tracemalloc };
            taken(handle.ask(ProbeRequest::OpenWindow(Window { source, frames, duration, max_traces })))
        }
        Asked::CloseWindow => taken(handle.ask(ProbeRequest::CloseWindow)),
        Asked::Census => taken(handle.ask(ProbeRequest::Census)),
        Asked::Cycles => taken(handle.ask(ProbeRequest::Cycles)),
        Asked::SetInterval(interval) => taken(handle.set_interval(interval)),
        Asked::Stop => Answer::Done,
    }
}
