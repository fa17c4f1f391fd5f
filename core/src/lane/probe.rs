//! The lane of one probe: does one job at a time and answers with the result and what it cost.
//! Knows neither ticks' alignment nor deadlines: the scheduler judges when an answer is late.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use super::gate::Gated;
use super::{drop_guarded, guard, spawn};
use crate::clock::Clock;
use crate::model::Tick;
use crate::probe::{Attachment, Details, GaugeReading, Probe, ProbeError};
use crate::request::{Asked, ProbeRequest};

/// What the scheduler asks of a lane.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Job {
    Attach,
    Gauges(Tick),
    Details(Tick),
    Request(ProbeRequest),
    Detach,
}

/// What came of a job.
#[derive(Debug)]
pub(crate) enum Outcome {
    Attach(Result<Attachment, ProbeError>),
    Gauges(Result<GaugeReading, ProbeError>),
    Details(Result<Details, ProbeError>),
    Request(Result<Asked, ProbeError>),
    Detached,
}

/// A lane's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The lane's index, as given at its start.
    pub(crate) lane: usize,
    pub(crate) outcome: Outcome,
    /// CPU time of this job.
    pub(crate) cpu: Duration,
    /// Time from the start of this job to its end, by the clock.
    pub(crate) wall: Duration,
    /// CPU time of the lane's thread since its start, and what others used for the probe.
    pub(crate) cpu_total: Duration,
}

/// The scheduler's end of a lane. The lane ends when this is dropped and the job in hand is done.
#[derive(Debug)]
pub(crate) struct ProbeLane {
    jobs: mpsc::Sender<(Job, Gated)>,
}

impl ProbeLane {
    /// Starts the thread `leakline-NAME` for `probe`. `answers` must have room for one answer of each lane.
    pub(crate) fn start(
        index: usize,
        name: &str,
        probe: Box<dyn Probe>,
        clock: Arc<dyn Clock>,
        answers: mpsc::Sender<Answer>,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let (jobs, queue) = mpsc::channel(1);
        let worker = Worker { index, probe, clock, answers };
        let thread = spawn(&format!("leakline-{name}"), move || worker.run(queue))?;
        Ok((Self { jobs }, thread))
    }

    /// Asks for `job`; `false` when the lane has ended or has a job already.
    pub(crate) fn ask(&self, job: Job, gated: Gated) -> bool {
        self.jobs.try_send((job, gated)).is_ok()
    }
}

struct Worker {
    index: usize,
    probe: Box<dyn Probe>,
    clock: Arc<dyn Clock>,
    answers: mpsc::Sender<Answer>,
}

impl Worker {
    async fn run(mut self, mut jobs: mpsc::Receiver<(Job, Gated)>) {
        while let Some((job, gated)) = jobs.recv().await {
            let begun = (self.clock.now().boot_nanos, self.cpu());
            if matches!(job, Job::Gauges(_))
                && let Err(message) = guard(self.probe.prepare()).await
            {
                tracing::warn!(message, "a probe panicked while it got ready");
            }
            let done = gated.wait();
            let outcome = self.work(job).await;
            drop(done);
            let cpu_total = self.cpu();
            let answer = Answer {
                lane: self.index,
                outcome,
                cpu: cpu_total.saturating_sub(begun.1),
                wall: Duration::from_nanos(self.clock.now().boot_nanos.saturating_sub(begun.0)),
                cpu_total,
            };
            // There is room, as a lane has one job at a time. Without a scheduler nobody wants the answer.
            if self.answers.try_send(answer).is_err() {
                break;
            }
        }
        drop_guarded(self.probe);
    }

    async fn work(&mut self, job: Job) -> Outcome {
        match job {
            Job::Attach => Outcome::Attach(caught(self.probe.attach()).await),
            Job::Gauges(tick) => Outcome::Gauges(caught(self.probe.gauges(&tick)).await),
            Job::Details(tick) => Outcome::Details(caught(self.probe.details(&tick)).await),
            Job::Request(request) => Outcome::Request(caught(self.probe.request(&request)).await),
            Job::Detach => {
                if let Err(message) = guard(self.probe.detach()).await {
                    tracing::warn!(message, "a probe panicked while it was detached");
                }
                Outcome::Detached
            }
        }
    }

    /// Of this thread, and of whoever worked for the probe elsewhere.
    fn cpu(&self) -> Duration {
        let own = self.clock.thread_cpu().unwrap_or_default();
        // Foreign code; a panic in it is no reason to lose the answer.
        let elsewhere = catch_unwind(AssertUnwindSafe(|| self.probe.cpu_elsewhere())).unwrap_or_default();
        own.saturating_add(elsewhere)
    }
}

async fn caught<T>(call: impl Future<Output = Result<T, ProbeError>>) -> Result<T, ProbeError> {
    guard(call).await.unwrap_or_else(|message| Err(ProbeError::Panicked { message }))
}
