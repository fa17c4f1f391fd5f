//! What the scheduler knows of one probe: whether it is attached, busy, or failing, and what it said at this tick.
//! Neither waits nor reads a clock: it is told the time.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::alignment::nanos;
use crate::fanout::Backoff;
use crate::lane::{Answer, Gated, Job, Outcome, ProbeLane};
use crate::model::{Layer, Profile, ReadCost, Reading, ReadingStatus, RuntimeInfo, Tick};
use crate::probe::{Attachment, Details, GaugeReading, ProbeError};
use crate::request::{Asked, ProbeRequest};

/// What `Probe` says of itself.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) name: Cow<'static, str>,
    pub(super) layer: Layer,
    pub(super) reads_first: bool,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) identity: Identity,
    lane: ProbeLane,
    backoff: Backoff,
    presence: Presence,
    /// It came later than the scheduler, and there is nothing to say of it yet.
    is_new: bool,
    ever_attached: bool,
    /// When to look for the runtime again, by boot time.
    attach_at: u64,
    busy: Option<Busy>,
    failure: Option<Failure>,
    /// What requests came to, for the next reading.
    request_notes: Vec<String>,
    /// The last request is for this probe.
    took_request: bool,
    /// Answers that came too late, since the last reading told of them.
    dropped_answers: u64,
    current: Current,
    cpu_total: Duration,
    longest_stall: Duration,
}

/// Requests whose failures one reading tells of.
const MAX_REQUEST_NOTES: usize = 4;

#[derive(Debug)]
enum Presence {
    Absent(String),
    Attached(Arc<RuntimeInfo>),
}

#[derive(Debug)]
struct Busy {
    job: Job,
    since: u64,
    /// The snapshot went out without its answer.
    late: bool,
}

#[derive(Debug)]
struct Failure {
    error: String,
    in_a_row: u32,
    retry_at: u64,
    /// The gauges work: only the details wait.
    only_details: bool,
}

/// The reading that is being made.
#[derive(Debug, Default)]
struct Current {
    gauges: Option<GaugeReading>,
    details: Details,
    cost: ReadCost,
    /// It was not asked: it has been busy since then, by boot time.
    late_since: Option<u64>,
    details_asked: bool,
}

impl Slot {
    pub(super) fn new(identity: Identity, lane: ProbeLane, backoff: Backoff) -> Self {
        Self {
            identity,
            lane,
            backoff,
            presence: Presence::Absent("not looked for yet".to_owned()),
            is_new: false,
            ever_attached: false,
            attach_at: 0,
            busy: None,
            failure: None,
            request_notes: Vec::new(),
            took_request: false,
            dropped_answers: 0,
            current: Current::default(),
            cpu_total: Duration::ZERO,
            longest_stall: Duration::ZERO,
        }
    }

    /// As [`new`](Self::new), of a probe that is added: no snapshot has it before it was read, or found nothing to read.
    pub(super) fn added(self) -> Self {
        Self { is_new: true, ..self }
    }

    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// When this probe is to look for its runtime, by boot time; `None` while it needs not or cannot.
    pub(super) fn attach_due(&self) -> Option<u64> {
        (self.busy.is_none() && matches!(self.presence, Presence::Absent(_))).then_some(self.attach_at)
    }

    /// Lets the probe look for its runtime, and again after `discovery`.
    pub(super) fn attach(&mut self, now: u64, discovery: Duration) {
        self.attach_at = now.saturating_add(nanos(discovery));
        self.ask(Job::Attach, now);
    }

    /// A new tick begins: asks for gauges if the probe can be asked.
    pub(super) fn ask_gauges(&mut self, tick: Tick, now: u64, gated: Gated) {
        let late_since = self.busy.as_ref().filter(|busy| busy.late).map(|busy| busy.since);
        self.current = Current { late_since, ..Current::default() };
        let waits =
            self.failure.as_ref().is_some_and(|failure| !failure.only_details && now < failure.retry_at);
        if self.busy.is_none() && !waits && matches!(self.presence, Presence::Attached(_)) {
            self.is_new = false;
            self.ask_gated(Job::Gauges(tick), gated, now);
        }
    }

    /// Asks for details, once, if the gauges of this tick are here.
    pub(super) fn ask_details(&mut self, tick: Tick, now: u64) {
        let waits = self.failure.as_ref().is_some_and(|failure| now < failure.retry_at);
        let asked = self.current.details_asked || self.current.gauges.is_none();
        if self.busy.is_none() && !waits && !asked {
            self.current.details_asked = true;
            self.ask(Job::Details(tick), now);
        }
    }

    /// Hands `request` on, if the probe can be asked.
    pub(super) fn ask_request(&mut self, request: ProbeRequest, now: u64) {
        self.took_request = false;
        if self.busy.is_none() && matches!(self.presence, Presence::Attached(_)) {
            self.ask(Job::Request(request), now);
        }
    }

    /// Whether the answer to a request may still come.
    pub(super) fn request_pending(&self) -> bool {
        self.busy.as_ref().is_some_and(|busy| !busy.late && matches!(busy.job, Job::Request(_)))
    }

    /// Whether the last request was for this probe; one that has not answered by now is late from now on.
    pub(super) fn end_request(&mut self) -> bool {
        if let Some(busy) = &mut self.busy {
            busy.late |= matches!(busy.job, Job::Request(_));
        }
        self.took_request
    }

    /// Asks the probe, once, to give back what it took.
    pub(super) fn detach(&mut self, now: u64) {
        if self.busy.is_none() && std::mem::take(&mut self.ever_attached) {
            self.ask(Job::Detach, now);
        }
    }

    /// Whether an answer to this tick's questions, or to the first look for a runtime, may still come.
    pub(super) fn pending(&self) -> bool {
        self.busy.as_ref().is_some_and(|busy| !busy.late && !matches!(busy.job, Job::Attach))
    }

    /// Whether the gauges of this tick may still come.
    pub(super) fn gauges_pending(&self) -> bool {
        self.pending() && self.busy.as_ref().is_some_and(|busy| matches!(busy.job, Job::Gauges(_)))
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.is_some()
    }

    pub(super) fn cpu_total(&self) -> Duration {
        self.cpu_total
    }

    pub(super) fn longest_stall(&self) -> Duration {
        self.longest_stall
    }

    /// Takes the lane's answer.
    pub(super) fn answered(&mut self, answer: Answer, now: u64) {
        let late = self.busy.take().is_some_and(|busy| busy.late);
        self.cpu_total = answer.cpu_total;
        if !late && !matches!(answer.outcome, Outcome::Attach(_) | Outcome::Request(_) | Outcome::Detached) {
            self.current.cost.cpu += answer.cpu;
            self.current.cost.wall += answer.wall;
        }
        match answer.outcome {
            Outcome::Attach(result) => self.attached(result, now),
            Outcome::Gauges(Ok(reading)) => self.read(late, reading, now),
            Outcome::Details(Ok(details)) => self.detailed(late, details),
            Outcome::Gauges(Err(error)) => self.failed(&error, false, now),
            Outcome::Details(Err(error)) => self.failed(&error, true, now),
            Outcome::Request(result) => self.requested(result, now),
            Outcome::Detached => {}
        }
    }

    /// The reading as it stands at `now`; who has not answered by now is late.
    pub(super) fn reading(&mut self, tick: Tick, now: u64) -> Reading {
        if let Some(busy) = &mut self.busy {
            let allowed = tick.deadline_boot_nanos.saturating_sub(tick.at.boot_nanos);
            busy.late |= !matches!(busy.job, Job::Attach) || now.saturating_sub(busy.since) > allowed;
        }
        let status = self.status(now);
        let Current { gauges, details, cost, .. } = std::mem::take(&mut self.current);
        let mut notes = details.notes;
        notes.append(&mut self.request_notes);
        match std::mem::take(&mut self.dropped_answers) {
            0 => {}
            1 => notes.push("one late answer was dropped".to_owned()),
            many => notes.push(format!("{many} late answers were dropped")),
        }
        let (taken, mut all) = gauges.map_or((None, Vec::new()), |read| {
            // Where nothing was read with the others, nothing was taken at that instant.
            ((!read.gauges.is_empty()).then_some(read.taken), read.gauges)
        });
        all.extend(details.gauges);
        Reading {
            probe: self.identity.name.clone(),
            layer: self.identity.layer,
            status,
            taken,
            gauges: all,
            profiles: one_by_source(details.profiles),
            holders: details.holders,
            cycles: details.cycles,
            runtime: match &self.presence {
                Presence::Attached(runtime) => Some(Arc::clone(runtime)),
                Presence::Absent(_) => None,
            },
            notes,
            cost,
        }
    }

    fn status(&self, now: u64) -> ReadingStatus {
        let busy_since = self.busy.as_ref().filter(|busy| busy.late).map(|busy| busy.since);
        if let Some(since) = busy_since.or(self.current.late_since) {
            return ReadingStatus::Late { since: Duration::from_nanos(now.saturating_sub(since)) };
        }
        if let Some(failure) = &self.failure {
            let retry_in = Duration::from_nanos(failure.retry_at.saturating_sub(now));
            return ReadingStatus::Failed { error: failure.error.clone(), retry_in };
        }
        match &self.presence {
            Presence::Absent(reason) => ReadingStatus::Absent { reason: reason.clone() },
            Presence::Attached(_) if self.current.gauges.is_some() => ReadingStatus::Ok,
            // It attached while this tick was read.
            Presence::Attached(_) => {
                ReadingStatus::Absent { reason: "found after this tick had begun".to_owned() }
            }
        }
    }

    fn ask(&mut self, job: Job, now: u64) {
        self.ask_gated(job, Gated::Free, now);
    }

    fn ask_gated(&mut self, job: Job, gated: Gated, now: u64) {
        if self.lane.ask(job, gated) {
            self.busy = Some(Busy { job, since: now, late: false });
        } else {
            // The lane's thread ended, which it does only by a panic outside of the probe's own calls.
            self.fail("the probe's thread has ended".to_owned(), false, now);
        }
    }

    fn requested(&mut self, result: Result<Asked, ProbeError>, now: u64) {
        self.took_request = !matches!(result, Ok(Asked::NotForThis));
        let note = match result {
            Ok(Asked::Done | Asked::NotForThis) => return,
            Ok(Asked::Refused { reason }) => reason.into_owned(),
            Err(error @ ProbeError::Gone { .. }) => return self.failed(&error, false, now),
            Err(error) => error.to_string(),
        };
        // Requests that come faster than readings do not pile up their words.
        if self.request_notes.len() < MAX_REQUEST_NOTES {
            self.request_notes.push(note);
        }
    }

    fn attached(&mut self, result: Result<Attachment, ProbeError>, now: u64) {
        self.is_new &= matches!(result, Ok(Attachment::Attached(_)));
        match result {
            Ok(Attachment::Attached(runtime)) => {
                tracing::info!(probe = %self.identity.name, runtime = runtime.name, "a probe attached");
                self.failure = None;
                self.presence = Presence::Attached(Arc::new(runtime));
                self.ever_attached = true;
            }
            Ok(Attachment::Absent { reason }) => {
                self.failure = None;
                self.presence = Presence::Absent(reason.into_owned());
            }
            Err(error) => self.failed(&error, false, now),
        }
    }

    fn read(&mut self, late: bool, reading: GaugeReading, now: u64) {
        self.longest_stall = self.longest_stall.max(reading.stall);
        if late {
            self.dropped_answers += 1;
            return;
        }
        let cost = &mut self.current.cost;
        cost.longest_stall = cost.longest_stall.max(reading.stall);
        if self.identity.layer == Layer::Python {
            cost.gil_held += reading.stall;
        }
        self.current.gauges = Some(reading);
        // Gauges work again; whether the details do is known once they were asked for.
        if let Some(failure) = &mut self.failure
            && !failure.only_details
        {
            failure.only_details = true;
            failure.retry_at = failure.retry_at.min(now);
        }
    }

    fn detailed(&mut self, late: bool, details: Details) {
        self.longest_stall = self.longest_stall.max(details.longest_stall);
        if late {
            self.dropped_answers += 1;
            return;
        }
        let cost = &mut self.current.cost;
        cost.longest_stall = cost.longest_stall.max(details.longest_stall);
        cost.gil_held += details.gil_held;
        self.current.details = details;
        self.failure = None;
    }

    fn failed(&mut self, error: &ProbeError, only_details: bool, now: u64) {
        match error {
            ProbeError::Gone { reason } => {
                self.presence = Presence::Absent(format!("gone: {reason}"));
                self.failure = None;
                self.current.gauges = None;
                self.attach_at = self.attach_at.max(now);
            }
            error => self.fail(error.to_string(), only_details, now),
        }
    }

    fn fail(&mut self, error: String, only_details: bool, now: u64) {
        let in_a_row = self.failure.as_ref().map_or(0, |failure| failure.in_a_row).saturating_add(1);
        let retry_at = now.saturating_add(nanos(self.backoff.after(in_a_row)));
        self.attach_at = self.attach_at.max(retry_at);
        self.failure = Some(Failure { error, in_a_row, retry_at, only_details });
    }
}

/// The first profile of each source: a probe that gives two by one name would have them mixed up later.
fn one_by_source(mut profiles: Vec<Arc<Profile>>) -> Vec<Arc<Profile>> {
    let mut index = 0;
    while index < profiles.len() {
        let (before, rest) = profiles.split_at(index);
        let is_known = |profile: &Arc<Profile>| profile.source().name == rest[0].source().name;
        if before.iter().any(is_known) {
            profiles.remove(index);
        } else {
            index += 1;
        }
    }
    profiles
}
