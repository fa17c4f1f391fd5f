//! The scheduler: reads all probes at aligned instants on one clock and hands the snapshots to the sinks.
//!
//! It has a thread of its own, `leakline`; each probe and each sink has one too (`crate::lane`). It never waits for a
//! lane beyond the tick's deadline, never asks one that has not answered yet, and never lets a panic out of its thread.
//! It reads time from the `Clock` it is given and from nowhere else, except for short waits in which nothing is measured.

mod alignment;
mod door;
mod engine;
mod handle;
mod options;
mod own;
mod shared;
mod slot;
#[cfg(test)]
mod tests;
mod tick;

use std::borrow::Cow;
use std::collections::HashSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use self::alignment::Alignment;
use self::door::Door;
use self::engine::{Asked, Engine, Judge};
use self::own::Bound;
use self::shared::Shared;
use crate::clock::Clock;
use crate::command::{CommandReceiver, CommandSender};
use crate::fanout::FanOut;
use crate::lane::{self, Answer, guard, panic_message};
use crate::model::Session;
use crate::probe::Probe;
use crate::sink::Sink;
use crate::verdict::{CloserLook, VerdictEngine};

pub use self::handle::{SchedulerHandle, Stopped};
pub use self::options::SchedulerOptions;
pub use self::own::{Ending, Own};

/// Threads of the host that may wait for a snapshot before one more has to try again.
const MAX_REQUESTS: usize = 256;

/// What a scheduler is started with.
type Plugged = (Vec<Box<dyn Probe>>, Vec<Box<dyn Sink>>);

/// Why the scheduler could not be started. Nothing of it runs then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Two probes or two sinks have one name: their readings or their numbers could not be told apart.
    #[error("two {kind}s are called {name}: give one of them another name")]
    DuplicateName {
        /// `probe` or `sink`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A name that cannot be a thread's: empty, or with a zero byte in it.
    #[error("a {kind} has no usable name: {name:?}")]
    BadName {
        /// `probe` or `sink`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A probe or a sink panicked while it was asked for its name.
    #[error("a {kind} panicked when asked for its name: {message}")]
    Panicked {
        /// `probe` or `sink`.
        kind: &'static str,
        /// The panic's message.
        message: String,
    },
    /// A probe that was to be added comes too late, or after too many others.
    #[error("no probe can be added any more: {name}")]
    Closed {
        /// The probe's name.
        name: String,
    },
    /// The system gave no thread.
    #[error("cannot start a thread: {source}: {name}")]
    Thread {
        /// What the system said.
        source: io::Error,
        /// The thread's name.
        name: String,
    },
}

/// Reads all probes at aligned instants. Once started it is a [`SchedulerHandle`].
#[derive(Debug)]
pub struct Scheduler;

impl Scheduler {
    /// Starts the threads and returns; the first snapshot, the baseline, is theirs to take.
    ///
    /// `session` goes to every sink, and its host's limit to the verdict. `commands` is a whole channel, so that a sink
    /// could be given a sender before. `own` says what the agent holds, and whether it has to end by itself.
    pub fn start(
        options: SchedulerOptions,
        session: Session,
        clock: Arc<dyn Clock>,
        probes: Vec<Box<dyn Probe>>,
        sinks: Vec<Box<dyn Sink>>,
        commands: (CommandSender, CommandReceiver),
        own: Own,
    ) -> Result<SchedulerHandle, StartError> {
        let limit = session.host.limit.as_ref().map(|(bytes, _)| *bytes);
        let mut verdicts = VerdictEngine::within(options.max_verdict_bytes);
        let judge: Judge = Box::new(move |snapshot| verdicts.push(snapshot, limit));
        Self::start_with_judge(options, session, clock, (probes, sinks), commands, own, judge)
    }

    fn start_with_judge(
        options: SchedulerOptions,
        session: Session,
        clock: Arc<dyn Clock>,
        (probes, sinks): Plugged,
        commands: (CommandSender, CommandReceiver),
        own: Own,
        judge: Judge,
    ) -> Result<SchedulerHandle, StartError> {
        let identities = door::identify(&probes)?;
        let sink_names = identify("sink", &sinks, |sink| sink.name())?;
        check_names("probe", identities.iter().map(|identity| &identity.name))?;
        check_names("sink", sink_names.iter())?;

        let started = clock.now();
        let closer = options.window_when_leaking.map(CloserLook::new);
        let interval = options.allowed(options.interval);
        let session = Arc::new(session);
        let mut threads = Vec::new();

        let mut fanout = FanOut::new();
        for (name, sink) in sink_names.iter().zip(sinks) {
            let (session, clock) = (Arc::clone(&session), Arc::clone(&clock));
            let thread = fanout.add(name, sink, session, clock, options.queue_limits(), options.backoff());
            threads.push(thread.map_err(|source| thread_error(source, name))?);
        }
        let fanout = Arc::new(fanout);

        let (answer_sender, answers) = mpsc::channel(probes.len() + door::MOST_ADDED);
        let (mut door, newcomers) = Door::new(Arc::clone(&clock), answer_sender.clone(), options.backoff());
        for (identity, probe) in identities.into_iter().zip(probes) {
            threads.push(door.let_in(identity, probe)?);
        }

        let shared = Arc::new(Shared::new());
        let (request_sender, requests) = mpsc::channel(MAX_REQUESTS);
        let (command_sender, commands) = commands;
        let engine = Engine {
            alignment: Alignment::new(started, interval),
            options,
            clock: Arc::clone(&clock),
            judge,
            own,
            bound: Bound::default(),
            shared: Arc::clone(&shared),
            fanout: Arc::clone(&fanout),
            slots: Vec::new(),
            newcomers,
            answers,
            requests,
            commands,
            interval,
            started,
            number: 0,
            baseline: 0,
            last_begun: None,
            asked: Asked::default(),
            window_end: None,
            closer,
            early_wakes: 0,
        };
        threads.push(spawn(engine, answer_sender).map_err(|source| thread_error(source, "leakline"))?);
        let threads = Mutex::new(threads);
        Ok(SchedulerHandle {
            shared,
            fanout,
            clock,
            requests: request_sender,
            commands: command_sender,
            door: Mutex::new(door),
            threads,
        })
    }
}

/// `open_answers` keeps the channel of answers open, so that waiting on it never spins when all lanes are gone.
fn spawn(mut engine: Engine, open_answers: mpsc::Sender<Answer>) -> io::Result<JoinHandle<()>> {
    lane::spawn("leakline", move || async move {
        if let Err(message) = guard(engine.run()).await {
            tracing::error!(message, "leakline ends by a panic of its own; the host goes on");
        }
        engine.shared.stop(handle::DEFAULT_PATIENCE);
        // The sinks get out what they hold while the probes detach.
        engine.fanout.close();
        if let Err(message) = guard(engine.detach()).await {
            tracing::error!(message, "a panic while probes were detached");
        }
        engine.shared.end();
        drop(open_answers);
    })
}

fn identify<T: ?Sized, I>(
    kind: &'static str,
    items: &[Box<T>],
    ask: impl Fn(&T) -> I,
) -> Result<Vec<I>, StartError> {
    let asked = catch_unwind(AssertUnwindSafe(|| items.iter().map(|item| ask(item)).collect()));
    asked.map_err(|payload| StartError::Panicked { kind, message: panic_message(payload) })
}

fn check_names<'a>(
    kind: &'static str,
    names: impl Iterator<Item = &'a Cow<'static, str>>,
) -> Result<(), StartError> {
    let mut seen = HashSet::new();
    for name in names {
        if name.is_empty() || name.contains('\0') {
            return Err(StartError::BadName { kind, name: name.to_string() });
        }
        if !seen.insert(name) {
            return Err(StartError::DuplicateName { kind, name: name.to_string() });
        }
    }
    Ok(())
}

fn thread_error(source: io::Error, name: &str) -> StartError {
    StartError::Thread { source, name: name.to_owned() }
}
