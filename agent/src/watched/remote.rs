//! The watcher's side of the probes that run in the host: asks a lane of the host's, and passes on what it says.
//!
//! What comes from the host is checked before it is believed: the host may have damaged the memory that both share.
//!
//! Never waits without a time-out; never longer than an instant where nobody serves the lane.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use leakline_core::{
    Asked, Attachment, Clock as _, Details, GaugeReading, Layer, Probe, ProbeError, ProbeRequest, Tick,
    Timestamp,
};
use leakline_probing::joined::Told;
use leakline_probing::regions;
use leakline_probing::shared::{CallError, LANE_NAMES, Lane, Lanes, Mailbox};

use super::codec::{Answer, Job, ProbeJob, Question, Receiver, Regions, Said, decode, encode};
use crate::clock::SystemClock;

/// A lane that answers later than this after the deadline is given up; until then it is late, as any other.
const AFTER_DEADLINE: Duration = Duration::from_secs(60);
/// For what has no deadline of a tick. An interpreter may be busy for long.
const WITHOUT_DEADLINE: Duration = Duration::from_secs(30);
/// Entering a runtime takes well under a millisecond.
const TO_PREPARE: Duration = Duration::from_secs(1);
/// Names of frames come from tables; a lane that is busy meanwhile has them at the next reading.
const TO_TELL: Duration = Duration::from_secs(2);
const TO_LOOK: Duration = Duration::from_millis(200);
/// Nothing that a reading says it took can be longer: sums of it must not overflow.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Nor can a thread have used more.
const MOST_CPU: Duration = Duration::from_secs(1 << 32);

/// Bytes that leakline holds in the host, as a lane said last.
static HELD_IN_HOST: AtomicU64 = AtomicU64::new(0);

/// What all remote probes of a watcher share.
pub(crate) struct Remote {
    lanes: &'static Lanes,
    /// The change of the host's regions that is known here; locked while they are passed on.
    regions: Mutex<u64>,
    /// The host has probes of its own.
    has_readers: AtomicBool,
    /// Somebody was told so.
    took_readers: AtomicBool,
}

impl Remote {
    /// For the lanes of one host. To be made once in a watcher.
    pub(crate) fn new(lanes: &'static Lanes) -> Arc<Self> {
        leakline_probing::add_heap(|| HELD_IN_HOST.load(Ordering::Relaxed));
        let (has_readers, took_readers) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { lanes, regions: Mutex::new(0), has_readers, took_readers })
    }

    /// Whether the host was heard to have probes of its own: true once.
    pub(crate) fn has_new_readers(&self) -> bool {
        self.has_readers.load(Ordering::Acquire) && !self.took_readers.swap(true, Ordering::AcqRel)
    }

    /// The names of a runtime's frames, by its place among those that joined in the host: for the native probe.
    /// `None`: no lane answers now, or no such runtime joined.
    pub(crate) fn tell(&self, runtime: u32, numbers: &[u64]) -> Option<Vec<Option<Told>>> {
        let job = Job::Tell { runtime, numbers: numbers.to_vec() };
        // Any lane can tell, for no runtime is asked; one that is busy with a profile answers late.
        let told = self.served().find_map(|mailbox| match self.say(mailbox, job.clone(), TO_TELL) {
            Ok(Said::Told(told)) => told,
            _ => None,
        })?;
        (told.len() == numbers.len()).then(|| told.into_iter().map(|frame| frame.map(Told::from)).collect())
    }

    fn served(&self) -> impl Iterator<Item = &Mailbox> {
        LANE_NAMES.into_iter().map(|(lane, _)| self.lanes.of(lane)).filter(|mailbox| mailbox.is_served())
    }

    /// Has a lane that runs look for runtimes that came since.
    fn look(&self) {
        for mailbox in self.served() {
            if self.say(mailbox, Job::Look, TO_LOOK).is_ok() {
                return;
            }
        }
    }

    /// Has a lane ask malloc for its numbers: the host itself may not call it for long.
    pub(crate) fn answer_for_malloc(&self) {
        for mailbox in self.served() {
            if self.say(mailbox, Job::Malloc, TO_LOOK).is_ok() {
                return;
            }
        }
    }

    /// A job without a dictionary.
    fn say(&self, mailbox: &Mailbox, job: Job, timeout: Duration) -> Result<Said, ProbeError> {
        let answer = self.ask(mailbox, &mut Receiver::default(), false, job, timeout)?;
        Ok(answer.result?)
    }

    fn ask(
        &self,
        mailbox: &Mailbox,
        receiver: &mut Receiver,
        waited_for: bool,
        job: Job,
        timeout: Duration,
    ) -> Result<Answer, ProbeError> {
        // Only who is waited for looks without sleeping: the others would take the processors from those who read, and
        // when they hear of a reading that was taken is of no account.
        let at_once = waited_for && matches!(job, Job::Probe { job: ProbeJob::Gauges(_), .. });
        let regions = *self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        let question = encode(&Question { known: receiver.known(), regions, job }).map_err(damaged)?;
        let answer =
            if at_once { mailbox.call_at_once(&question, timeout) } else { mailbox.call(&question, timeout) };
        let answer: Answer = decode(&answer.map_err(unanswered)?).map_err(damaged)?;
        HELD_IN_HOST.store(answer.held_bytes, Ordering::Relaxed);
        if let Some(regions) = &answer.regions {
            self.pass_on(regions);
        }
        if answer.has_readers {
            self.has_readers.store(true, Ordering::Release);
        }
        Ok(answer)
    }

    /// What the host's probes know of its addresses, for who reads its memory map here.
    fn pass_on(&self, said: &Regions) {
        let mut known = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        // Of two lanes that answer at once, the later news counts.
        if said.change > *known {
            *known = said.change;
            said.by_source().into_iter().for_each(|(source, all)| regions::set(source, all));
        }
    }
}

/// A probe that runs in the host, on a lane there.
pub(crate) struct RemoteProbe {
    remote: Arc<Remote>,
    lane: Lane,
    receiver: Receiver,
    cpu: Duration,
}

impl RemoteProbe {
    /// The probe of `lane`, which may not be served yet.
    pub(crate) fn new(remote: Arc<Remote>, lane: Lane) -> Self {
        Self { remote, lane, receiver: Receiver::default(), cpu: Duration::ZERO }
    }

    /// Where this probe is asked, if anybody serves it: the host's own probes are anybody's.
    fn mailbox(&self) -> Option<(&'static Mailbox, bool)> {
        let lanes: &'static Lanes = self.remote.lanes;
        let own = lanes.of(self.lane);
        if own.is_served() {
            return Some((own, true));
        }
        let other = || LANE_NAMES.into_iter().map(|(lane, _)| lanes.of(lane)).find(|other| other.is_served());
        if self.lane == Lane::Custom { Some((other()?, false)) } else { None }
    }

    fn ask(&mut self, job: ProbeJob, timeout: Duration) -> Result<Said, ProbeError> {
        let Some((mailbox, is_own)) = self.mailbox() else {
            return Err(ProbeError::Gone { reason: unserved(self.lane).into() });
        };
        let job = Job::Probe { custom: self.lane == Lane::Custom, job };
        let remote = Arc::clone(&self.remote);
        let waited_for = self.reads_first();
        let answer = remote.ask(mailbox, &mut self.receiver, waited_for, job, timeout)?;
        if is_own {
            self.cpu = self.cpu.max(answer.cpu.min(MOST_CPU));
        }
        let said = answer.result?;
        if matches!(said, Said::Details(_)) {
            self.receiver.receive(answer.additions).map_err(damaged)?;
        }
        Ok(said)
    }
}

#[async_trait]
impl Probe for RemoteProbe {
    fn name(&self) -> Cow<'static, str> {
        let named = LANE_NAMES.into_iter().find(|(lane, _)| *lane == self.lane);
        named.map_or("custom", |(_, name)| name).into()
    }

    fn layer(&self) -> Layer {
        match self.lane {
            Lane::Python => Layer::Python,
            Lane::Jvm => Layer::Jvm,
            Lane::Bridge | Lane::Custom => Layer::Process,
        }
    }

    async fn attach(&mut self) -> Result<Attachment, ProbeError> {
        if self.mailbox().is_none() {
            self.remote.look();
        }
        if self.mailbox().is_none() {
            return Ok(Attachment::Absent { reason: unserved(self.lane).into() });
        }
        match self.ask(ProbeJob::Attach, WITHOUT_DEADLINE)? {
            Said::Attached(runtime) => Ok(Attachment::Attached(runtime)),
            Said::Absent { reason } => Ok(Attachment::Absent { reason }),
            _ => Err(unexpected()),
        }
    }

    async fn prepare(&mut self) {
        // What it comes to shows in the gauges.
        self.ask(ProbeJob::Prepare, TO_PREPARE).ok();
    }

    async fn gauges(&mut self, tick: &Tick) -> Result<GaugeReading, ProbeError> {
        let asked = SystemClock.now();
        match self.ask(ProbeJob::Gauges(*tick), until(tick, asked))? {
            Said::Gauges { taken, gauges, stall } => {
                // Both clocks are the machine's.
                if !(asked.boot_nanos..=SystemClock.now().boot_nanos).contains(&taken.boot_nanos) {
                    return Err(damaged(CallError::Damaged));
                }
                Ok(GaugeReading { taken, gauges, stall: stall.min(LONGEST) })
            }
            _ => Err(unexpected()),
        }
    }

    async fn details(&mut self, tick: &Tick) -> Result<Details, ProbeError> {
        match self.ask(ProbeJob::Details(*tick), until(tick, SystemClock.now()))? {
            Said::Details(said) => {
                let mut details = said.details(&self.receiver).map_err(damaged)?;
                details.gil_held = details.gil_held.min(LONGEST);
                details.longest_stall = details.longest_stall.min(LONGEST);
                Ok(details)
            }
            _ => Err(unexpected()),
        }
    }

    async fn request(&mut self, request: &ProbeRequest) -> Result<Asked, ProbeError> {
        match self.ask(ProbeJob::Request(*request), WITHOUT_DEADLINE)? {
            Said::Asked(asked) => Ok(asked.into()),
            _ => Err(unexpected()),
        }
    }

    async fn detach(&mut self) {
        // A host that has gone, or does not answer, needs nothing given back.
        self.ask(ProbeJob::Detach, TO_TELL).ok();
    }

    fn cpu_elsewhere(&self) -> Duration {
        self.cpu
    }

    /// As the probe in the host says.
    fn reads_first(&self) -> bool {
        self.lane == Lane::Python
    }
}

/// Why nobody serves a lane: as the probe itself would say.
fn unserved(lane: Lane) -> &'static str {
    match lane {
        Lane::Python => "no CPython in this process",
        Lane::Jvm => "no JVM is loaded",
        Lane::Bridge => "no bridge between Python and Java is loaded",
        Lane::Custom => "the program has no probes of its own",
    }
}

/// Until the deadline, and some more: the snapshot goes out at the deadline without this probe, which is late then.
fn until(tick: &Tick, now: Timestamp) -> Duration {
    Duration::from_nanos(tick.deadline_boot_nanos.saturating_sub(now.boot_nanos))
        .min(LONGEST)
        .saturating_add(AFTER_DEADLINE)
}

fn unanswered(error: CallError) -> ProbeError {
    match error {
        CallError::Gone => ProbeError::Gone { reason: "the process has ended".into() },
        CallError::NotServed => ProbeError::Gone { reason: "its thread in the process has ended".into() },
        error => ProbeError::failed("asking the process", error),
    }
}

fn damaged(error: impl ToString) -> ProbeError {
    ProbeError::failed("reading the process's answer", error)
}

fn unexpected() -> ProbeError {
    damaged("it belongs to another question")
}

#[cfg(test)]
#[path = "remote_tests.rs"]
mod tests;
