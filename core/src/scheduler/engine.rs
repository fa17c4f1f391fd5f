//! The scheduler's own thread: waits for the next instant, obeys requests, and ends.
//! How one tick is read stands in `tick`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Receiver;

use super::alignment::{Alignment, Due, nanos};
use super::options::SchedulerOptions;
use super::own::{Bound, LOOK_EVERY, Own};
use super::shared::{Request, Shared};
use super::slot::Slot;
use crate::clock::{Clock, Timestamp};
use crate::command::{Command, CommandReceiver};
use crate::fanout::FanOut;
use crate::lane::Answer;
use crate::model::{Cause, Snapshot};
use crate::request::ProbeRequest;
use crate::verdict::{CloserLook, Verdict};

/// Says what follows from a snapshot and all that came before.
pub(super) type Judge = Box<dyn FnMut(&Snapshot) -> Vec<Verdict> + Send>;

pub(super) struct Engine {
    pub(super) options: SchedulerOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) judge: Judge,
    pub(super) own: Own,
    pub(super) bound: Bound,
    pub(super) shared: Arc<Shared>,
    pub(super) fanout: Arc<FanOut>,
    pub(super) slots: Vec<Slot>,
    /// Probes that came in and are not among the slots yet; their numbers go on from there.
    pub(super) newcomers: Receiver<Slot>,
    pub(super) answers: Receiver<Answer>,
    pub(super) requests: Receiver<Request>,
    pub(super) commands: CommandReceiver,
    pub(super) alignment: Alignment,
    pub(super) interval: Duration,
    pub(super) started: Timestamp,
    /// Of the next snapshot.
    pub(super) number: u64,
    pub(super) baseline: u64,
    /// When the last snapshot was begun.
    pub(super) last_begun: Option<Timestamp>,
    pub(super) asked: Asked,
    /// When the window that was asked for has passed, by boot time.
    pub(super) window_end: Option<u64>,
    pub(super) closer: Option<CloserLook>,
    /// In a row, by the clock.
    pub(super) early_wakes: u32,
}

/// What was asked and is not done yet.
#[derive(Default)]
pub(super) struct Asked {
    snapshot: bool,
    baseline: bool,
    requests: Vec<Request>,
    /// For the probes; each kind of request once.
    of_probes: Vec<ProbeRequest>,
}

impl Engine {
    /// Runs until somebody calls `stop`, or leakline has to end by itself.
    pub(super) async fn run(&mut self) {
        self.take_over();
        self.look_for_runtimes();
        let wait = self.options.first_attach_wait;
        self.answers_until(wait, |slots| !slots.iter().any(Slot::is_busy)).await;
        if !self.shared.stopping() {
            let begun = self.clock.now();
            self.take(Cause::Baseline, begun, begun, self.options.deadline_at(self.interval)).await;
        }
        while !self.shared.stopping() {
            if let Some(ending) = self.must_end() {
                return self.end_by_itself(ending).await;
            }
            self.take_over();
            while let Ok(answer) = self.answers.try_recv() {
                self.answered(answer);
            }
            let now = self.clock.now();
            let due = self.alignment.check(now, self.options.grace_at(self.interval));
            // After the last snapshot the host ends: a tick would only show runtimes that are gone already.
            if let (Due::Now(instant), None) = (due, self.shared.last()) {
                self.take_aligned(instant, now).await;
            }
            // After each tick too, so that ticks which take all the time keep nobody waiting.
            let obeyed = self.obey().await;
            if let (Due::At(next), false) = (due, obeyed) {
                let look_at = self.look_for_runtimes().into_iter().chain(self.window_end).min();
                self.wait(now, next, look_at).await;
            }
        }
    }

    fn take_over(&mut self) {
        while let Ok(slot) = self.newcomers.try_recv() {
            self.slots.push(slot);
        }
    }

    /// Lets probes give back what they took: all but those that are stuck.
    pub(super) async fn detach(&mut self) {
        let until = tokio::time::Instant::from_std(self.shared.detach_until());
        loop {
            let now = self.clock.now().boot_nanos;
            for slot in &mut self.slots {
                slot.detach(now);
            }
            if !self.slots.iter().any(Slot::is_busy) {
                return;
            }
            match tokio::time::timeout_at(until, self.answers.recv()).await {
                Ok(Some(answer)) => self.answered(answer),
                Ok(None) | Err(_) => break,
            }
        }
        for slot in self.slots.iter().filter(|slot| slot.is_busy()) {
            tracing::warn!(probe = %slot.identity.name, "a probe is stuck and is left behind");
            self.shared.left_undetached();
        }
    }

    async fn take_aligned(&mut self, instant: u64, now: Timestamp) {
        let late = now.unix_nanos.saturating_sub(instant);
        let at = Timestamp { unix_nanos: instant, boot_nanos: now.boot_nanos.saturating_sub(late) };
        self.take(Cause::Tick, at, now, self.options.deadline_at(self.interval)).await;
    }

    /// Does what was asked for, one snapshot at a time; `false` when nothing was.
    async fn obey(&mut self) -> bool {
        while let Some(command) = self.commands.next_now() {
            self.note(command);
        }
        while let Ok(request) = self.requests.try_recv() {
            self.asked.requests.push(request);
        }
        let now = Instant::now();
        // Who waits for the last snapshot gets the one that there is; who gave up needs none.
        if let Some(last) = self.shared.last() {
            let finals = self.asked.requests.extract_if(.., |request| request.cause == Cause::Final);
            finals.for_each(|request| reply(&request, &last));
        }
        self.asked.requests.retain(|request| request.until > now);

        self.ask_probes().await;
        let passed = self.clock.now().boot_nanos;
        self.asked.snapshot |= self.window_end.take_if(|end| *end <= passed).is_some();

        let requests = std::mem::take(&mut self.asked.requests);
        let cause = if requests.iter().any(|request| request.cause == Cause::Final) {
            Cause::Final
        } else if std::mem::take(&mut self.asked.baseline) {
            Cause::Baseline
        } else if self.asked.snapshot || !requests.is_empty() {
            Cause::Requested
        } else {
            return false;
        };
        self.asked.snapshot = false;
        // A quarter of the time is left for all that is not reading, so that who waits gets a snapshot with somebody
        // late in it rather than none.
        let patience = requests.iter().map(|request| request.until.saturating_duration_since(now)).max();
        let allowed = self.options.deadline_at(self.interval);
        let allowed = patience.map_or(allowed, |patience| allowed.min(patience.mul_f64(0.75)));
        let begun = self.clock.now();
        let snapshot = self.take(cause, begun, begun, allowed).await;
        requests.iter().for_each(|request| reply(request, &snapshot));
        if cause == Cause::Final {
            self.shared.no_hurry();
        }
        true
    }

    fn note(&mut self, command: Command) {
        match command {
            Command::SnapshotNow => self.asked.snapshot = true,
            Command::ResetBaseline => self.asked.baseline = true,
            Command::SetInterval(interval) => {
                self.interval = self.options.allowed(interval);
                self.alignment.set_interval(self.clock.now(), self.interval);
            }
            Command::Ask(request) => self.note_request(request),
        }
    }

    /// A newer request of the same kind takes the place of an older one that was not handed on yet.
    pub(super) fn note_request(&mut self, request: ProbeRequest) {
        let kind = std::mem::discriminant(&request);
        self.asked.of_probes.retain(|known| std::mem::discriminant(known) != kind);
        self.asked.of_probes.push(match request {
            ProbeRequest::OpenWindow(window) => ProbeRequest::OpenWindow(window.within_bounds()),
            other => other,
        });
    }

    /// Hands requests to all probes, and sees to it that a snapshot follows.
    async fn ask_probes(&mut self) {
        for request in std::mem::take(&mut self.asked.of_probes) {
            // After the last snapshot the host ends: there is nothing to look at any more.
            if self.shared.last().is_some() || self.shared.stopping() {
                return;
            }
            let now = self.clock.now().boot_nanos;
            self.slots.iter_mut().for_each(|slot| slot.ask_request(request, now));
            let wait = self.options.request_wait;
            self.answers_until(wait, |slots| !slots.iter().any(Slot::request_pending)).await;
            let takers = self.slots.iter_mut().map(Slot::end_request).filter(|took| *took).count();
            if takers == 0 {
                tracing::warn!(?request, "no probe does what was asked for, or none can be asked now");
            }
            self.asked.snapshot = true;
            match request {
                ProbeRequest::OpenWindow(window) => {
                    let end = self.clock.now().boot_nanos.saturating_add(nanos(window.duration));
                    self.window_end = Some(end);
                }
                ProbeRequest::CloseWindow => self.window_end = None,
                ProbeRequest::Census | ProbeRequest::Cycles => {}
            }
        }
    }

    /// Asks probes that found nothing to look again, if it is time; says when it will be.
    fn look_for_runtimes(&mut self) -> Option<u64> {
        let now = self.clock.now().boot_nanos;
        for slot in &mut self.slots {
            if slot.attach_due().is_some_and(|due| due <= now) {
                slot.attach(now, self.options.discovery);
            }
        }
        self.slots.iter().filter_map(Slot::attach_due).min()
    }

    /// Waits for the instant `next`, for boot time `look_at` (a runtime to look for, a window that ends), or for anybody who asks or answers.
    async fn wait(&mut self, now: Timestamp, next: u64, look_at: Option<u64>) {
        // Both ways: the clock counts suspend, and tokio's timer is not moved when somebody sets the wall clock.
        let look_in = look_at.map(|at| at.saturating_sub(now.boot_nanos));
        let wake_at = look_in.map_or(next, |left| next.min(now.unix_nanos.saturating_add(left)));
        let look = look_in.map_or(LOOK_EVERY, |left| LOOK_EVERY.min(Duration::from_nanos(left)));
        tokio::select! {
            biased;
            () = self.shared.wake.notified() => {}
            Some(answer) = self.answers.recv() => self.answered(answer),
            Some(slot) = self.newcomers.recv() => self.slots.push(slot),
            Some(command) = self.commands.next() => self.note(command),
            Some(request) = self.requests.recv() => self.asked.requests.push(request),
            () = patient_sleep(self.clock.as_ref(), wake_at, &mut self.early_wakes) => {}
            () = tokio::time::sleep(look) => {}
        }
    }
}

/// Sleeps until the wall clock shows `unix_nanos`, or less, as clocks may. One that returns early time and again
/// must not keep a core busy.
async fn patient_sleep(clock: &dyn Clock, unix_nanos: u64, early: &mut u32) {
    clock.sleep_until(unix_nanos).await;
    *early = if clock.now().unix_nanos < unix_nanos { early.saturating_add(1) } else { 0 };
    if *early > 16 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn reply(request: &Request, snapshot: &Arc<Snapshot>) {
    // Who gave up meanwhile does not listen any more.
    let _ = request.reply.try_send(Arc::clone(snapshot));
}
