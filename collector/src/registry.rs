//! Who is connected. One stream per session: a newer one ends the older one and waits until that has let go of the
//! recording.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leakline_core::{Command, Session, SessionId};
use tokio::sync::{OwnedMutexGuard, mpsc, watch};

use crate::error::CollectorError;

/// Commands that wait for one host.
const COMMAND_CAPACITY: usize = 16;

/// Why a stream is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Superseded,
    CollectorEnds,
}

/// The sessions that are connected, and the way to tell their hosts something. Cheap to clone; usable from any thread.
#[derive(Debug, Clone)]
pub struct Handle {
    registry: Arc<Registry>,
}

impl Handle {
    /// Sends `command` to the host of `session`, without waiting for it.
    pub fn send(&self, session: SessionId, command: &Command) -> Result<(), CollectorError> {
        self.registry.send(session, command)
    }

    /// The sessions whose hosts are connected now, the earliest started first.
    pub fn connected(&self) -> Vec<Session> {
        self.registry.connected()
    }
}

#[derive(Debug)]
pub(crate) struct Registry {
    streams: Mutex<Streams>,
    max_sessions: usize,
}

#[derive(Debug, Default)]
struct Streams {
    live: HashMap<SessionId, Live>,
    generation: u64,
    ending: bool,
}

#[derive(Debug)]
struct Live {
    generation: u64,
    stop: watch::Sender<Option<Stop>>,
    /// Held by the stream that has the recording open.
    gate: Arc<tokio::sync::Mutex<()>>,
    ready: Option<Ready>,
}

#[derive(Debug)]
struct Ready {
    session: Session,
    capabilities: Vec<String>,
    commands: mpsc::Sender<Command>,
}

/// A stream's place among the others; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    claim: Claim,
    pub(crate) stop: watch::Receiver<Option<Stop>>,
    _recording: OwnedMutexGuard<()>,
}

/// The entry in the registry, also while its stream still waits for the recording.
#[derive(Debug)]
struct Claim {
    registry: Arc<Registry>,
    id: SessionId,
    generation: u64,
}

/// Why there is no place.
#[derive(Debug)]
pub(crate) enum NoPlace {
    Full { max_sessions: usize },
    Stopped(Stop),
}

impl Registry {
    pub(crate) fn new(max_sessions: usize) -> Arc<Self> {
        Arc::new(Self { streams: Mutex::default(), max_sessions })
    }

    pub(crate) fn handle(self: &Arc<Self>) -> Handle {
        Handle { registry: Arc::clone(self) }
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends `command` to the host of `session`, without waiting for it.
    pub(crate) fn send(&self, session: SessionId, command: &Command) -> Result<(), CollectorError> {
        let streams = self.lock();
        let not_connected = || CollectorError::NotConnected { session };
        let live =
            streams.live.get(&session).and_then(|live| live.ready.as_ref()).ok_or_else(not_connected)?;
        let name = command.name();
        if !live.capabilities.iter().any(|known| known == name) {
            return Err(CollectorError::NotObeyed { command: name, session });
        }
        live.commands.try_send(command.clone()).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CollectorError::TooManyCommands { session },
            mpsc::error::TrySendError::Closed(_) => not_connected(),
        })
    }

    /// The sessions whose hosts are connected now, the earliest started first.
    pub(crate) fn connected(&self) -> Vec<Session> {
        let streams = self.lock();
        let ready = streams.live.values().filter_map(|live| live.ready.as_ref());
        let mut sessions: Vec<Session> = ready.map(|ready| ready.session.clone()).collect();
        sessions.sort_unstable_by_key(|session| (session.started.unix_nanos, session.id));
        sessions
    }

    /// The connected session of a process, which its number and start tell from all others.
    pub(crate) fn of_process(&self, pid: u32, started_boot_nanos: u64) -> Option<SessionId> {
        let is_it = |session: &&Session| {
            (session.host.pid, session.host.started_boot_nanos) == (pid, started_boot_nanos)
        };
        self.connected().iter().rfind(is_it).map(|session| session.id).filter(|_| started_boot_nanos != 0)
    }

    /// The one connected session that `query` means: an id or its beginning, a host's name, or nothing for the only one.
    pub(crate) fn meant(&self, query: &str) -> Result<Session, CollectorError> {
        let connected = self.connected();
        let by_id = |session: &&Session| {
            !query.is_empty() && session.id.to_string().starts_with(&query.to_ascii_lowercase())
        };
        let mut found: Vec<&Session> =
            connected.iter().filter(|session| session.host.name == query).collect();
        if found.is_empty() {
            found = connected.iter().filter(|session| query.is_empty() || by_id(session)).collect();
        }
        match found[..] {
            [one] => Ok(one.clone()),
            _ => Err(CollectorError::NotTheOne {
                query: query.to_owned(),
                candidates: found.iter().map(|session| session.id).collect(),
            }),
        }
    }

    /// Ends the older stream of the session, if there is one, and waits for its recording.
    pub(crate) async fn enter(self: &Arc<Self>, id: SessionId) -> Result<Place, NoPlace> {
        let (stop, mut stopped) = watch::channel(None);
        let (gate, generation) = {
            let mut streams = self.lock();
            if streams.ending {
                return Err(NoPlace::Stopped(Stop::CollectorEnds));
            }
            if !streams.live.contains_key(&id) && streams.live.len() >= self.max_sessions {
                return Err(NoPlace::Full { max_sessions: self.max_sessions });
            }
            streams.generation += 1;
            let generation = streams.generation;
            let older = streams.live.remove(&id);
            let gate = older.as_ref().map(|older| Arc::clone(&older.gate)).unwrap_or_default();
            if let Some(older) = older {
                let _ = older.stop.send(Some(Stop::Superseded));
            }
            streams.live.insert(id, Live { generation, stop, gate: Arc::clone(&gate), ready: None });
            (gate, generation)
        };
        let claim = Claim { registry: Arc::clone(self), id, generation };
        let recording = tokio::select! {
            recording = gate.lock_owned() => recording,
            stop = stop_reason(&mut stopped) => return Err(NoPlace::Stopped(stop)),
        };
        Ok(Place { claim, stop: stopped, _recording: recording })
    }

    /// Ends all streams, and lets no new ones in.
    pub(crate) fn end(&self) {
        let mut streams = self.lock();
        streams.ending = true;
        for live in streams.live.values() {
            let _ = live.stop.send(Some(Stop::CollectorEnds));
        }
    }

    fn leave(&self, id: SessionId, generation: u64) {
        let mut streams = self.lock();
        if streams.live.get(&id).is_some_and(|live| live.generation == generation) {
            streams.live.remove(&id);
        }
    }
}

/// Waits until the stream is told to end.
pub(crate) async fn stop_reason(stop: &mut watch::Receiver<Option<Stop>>) -> Stop {
    match stop.wait_for(Option::is_some).await {
        Ok(reason) => reason.unwrap_or(Stop::Superseded),
        // The registry let go of the other end: a newer stream has taken the place.
        Err(_) => Stop::Superseded,
    }
}

impl Place {
    /// Lets the host be told commands from now on.
    pub(crate) fn ready(&self, session: &Session, capabilities: Vec<String>) -> mpsc::Receiver<Command> {
        let (commands, receiver) = mpsc::channel(COMMAND_CAPACITY);
        let mut streams = self.claim.registry.lock();
        if let Some(live) = streams.live.get_mut(&self.claim.id)
            && live.generation == self.claim.generation
        {
            live.ready = Some(Ready { session: session.clone(), capabilities, commands });
        }
        receiver
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.registry.leave(self.id, self.generation);
    }
}
