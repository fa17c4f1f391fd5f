//! Where probes come in, those of the start and those that are added later: each gets a lane and a number.
//! Never waits for the scheduler, which takes them over before its next tick.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use super::slot::{Identity, Slot};
use super::{StartError, check_names, thread_error};
use crate::clock::Clock;
use crate::fanout::Backoff;
use crate::lane::{Answer, ProbeLane};
use crate::probe::Probe;

/// Probes that may be added to a scheduler that runs: each is a thread.
pub(super) const MOST_ADDED: usize = 16;

pub(super) struct Door {
    /// Of all that came in. A probe's number is its place here, and in the scheduler's list.
    names: Vec<Cow<'static, str>>,
    clock: Arc<dyn Clock>,
    answers: mpsc::Sender<Answer>,
    slots: mpsc::Sender<Slot>,
    backoff: Backoff,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Door {
    /// With the end at which the scheduler takes probes over. `answers` has room for one answer of each.
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        answers: mpsc::Sender<Answer>,
        backoff: Backoff,
    ) -> (Self, mpsc::Receiver<Slot>) {
        let (slots, newcomers) = mpsc::channel(answers.max_capacity());
        (Self { names: Vec::new(), clock, answers, slots, backoff }, newcomers)
    }

    /// Starts the lane of a probe of the start.
    pub(super) fn let_in(
        &mut self,
        identity: Identity,
        probe: Box<dyn Probe>,
    ) -> Result<JoinHandle<()>, StartError> {
        self.pass(identity, probe, |slot| slot)
    }

    /// Starts the lane of a probe that is added.
    pub(super) fn add(
        &mut self,
        identity: Identity,
        probe: Box<dyn Probe>,
    ) -> Result<JoinHandle<()>, StartError> {
        self.pass(identity, probe, Slot::added)
    }

    fn pass(
        &mut self,
        identity: Identity,
        probe: Box<dyn Probe>,
        how: fn(Slot) -> Slot,
    ) -> Result<JoinHandle<()>, StartError> {
        let name = identity.name.clone();
        check_names("probe", self.names.iter().chain([&name]))?;
        if self.names.len() >= self.answers.max_capacity() || self.slots.is_closed() {
            return Err(StartError::Closed { name: name.into_owned() });
        }
        let clock = Arc::clone(&self.clock);
        let lane = ProbeLane::start(self.names.len(), &name, probe, clock, self.answers.clone());
        let (lane, thread) = lane.map_err(|source| thread_error(source, &name))?;
        // There is room for all that may come in. A scheduler that ends just now drops it, and with it the lane.
        let _ = self.slots.try_send(how(Slot::new(identity, lane, self.backoff)));
        self.names.push(name);
        Ok(thread)
    }
}

/// What probes say of themselves.
pub(super) fn identify(probes: &[Box<dyn Probe>]) -> Result<Vec<Identity>, StartError> {
    super::identify("probe", probes, |probe| Identity {
        name: probe.name(),
        layer: probe.layer(),
        reads_first: probe.reads_first(),
    })
}
