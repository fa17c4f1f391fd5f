//! Whether a JVM may be asked for its tool interface. HotSpot gives it to whoever asks. Android's runtime has it only once an
//! agent was attached, from Android 9 on and in an app that may be debugged, and writes an error into the app's log at each
//! question before that.
//!
//! Never asks a JVM anything: it is told by who attached the agent, and by the probe that knows whose runtime it is.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Android's runtime: not without an agent.
static NEEDS_AGENT: AtomicBool = AtomicBool::new(cfg!(target_os = "android"));
static AGENT: Mutex<Agent> = Mutex::new(Agent::Nobody);

/// What became of leakline as an agent of its JVM.
#[derive(Debug, Clone)]
enum Agent {
    /// Nobody has tried.
    Nobody,
    Attached,
    Refused(String),
}

/// The JVM has attached leakline as an agent; it stays one until its end. A later refusal changes nothing.
pub fn agent_attached() {
    *AGENT.lock().unwrap_or_else(PoisonError::into_inner) = Agent::Attached;
}

/// The JVM does not take leakline as an agent, or nobody may ask it to; why, for people.
pub fn agent_refused(reason: &str) {
    let mut agent = AGENT.lock().unwrap_or_else(PoisonError::into_inner);
    if !matches!(*agent, Agent::Attached) {
        *agent = Agent::Refused(reason.to_owned());
    }
}

/// This process's JVM is Android's, or one that has as little.
pub fn need_agent() {
    NEEDS_AGENT.store(true, Relaxed);
}

/// Why the tool interface may not be asked for now; `None`: it may. That may change while the process runs.
pub fn missing() -> Option<String> {
    if !NEEDS_AGENT.load(Relaxed) {
        return None;
    }
    match &*AGENT.lock().unwrap_or_else(PoisonError::into_inner) {
        Agent::Attached => None,
        Agent::Refused(reason) => Some(reason.clone()),
        Agent::Nobody => Some("leakline was not attached as an agent".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn android_s_runtime_is_asked_once_an_agent_is_attached() {
        assert_eq!(missing(), None, "HotSpot");
        need_agent();
        assert_eq!(missing().as_deref(), Some("leakline was not attached as an agent"));
        agent_refused("too old");
        assert_eq!(missing().as_deref(), Some("too old"));
        agent_attached();
        agent_refused("twice");
        assert_eq!(missing(), None);
    }
}
