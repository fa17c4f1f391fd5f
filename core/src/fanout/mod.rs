//! The fan-out: hands every record to every sink's own bounded queue, and calls each sink on a lane of its own.
//! Never waits for a sink, and never lets one sink's trouble reach another.

mod queue;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use self::queue::{SinkQueue, Work, estimated_bytes};
use crate::clock::Clock;
use crate::lane::{drop_guarded, guard, spawn};
use crate::model::Session;
use crate::sink::{Record, Sink, SinkError, SinkStats};

pub(crate) use self::queue::QueueLimits;

/// How long a failing sink, or a failing probe, is left alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
}

impl Backoff {
    /// After the `failures`th failure in a row: doubled each time.
    pub(crate) fn after(self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.min.saturating_mul(factor).min(self.max)
    }
}

/// The queues of all sinks. Dropping it closes them.
#[derive(Debug)]
pub(crate) struct FanOut {
    queues: Vec<Arc<SinkQueue>>,
}

impl FanOut {
    /// A fan-out without sinks.
    pub(crate) fn new() -> Self {
        Self { queues: Vec::new() }
    }

    /// Starts the thread `leakline-NAME` for `sink`.
    pub(crate) fn add(
        &mut self,
        name: &str,
        sink: Box<dyn Sink>,
        session: Arc<Session>,
        clock: Arc<dyn Clock>,
        limits: QueueLimits,
        backoff: Backoff,
    ) -> io::Result<JoinHandle<()>> {
        let queue = Arc::new(SinkQueue::new(name, limits));
        let lane = SinkLane { sink, queue: Arc::clone(&queue), session, clock, backoff, failures: 0 };
        let thread = spawn(&format!("leakline-{name}"), move || lane.run())?;
        self.queues.push(queue);
        Ok(thread)
    }

    /// Queues `record` for every sink. Called from any thread.
    pub(crate) fn push(&self, record: &Record) {
        let bytes = estimated_bytes(record);
        for queue in &self.queues {
            queue.push(record.clone(), bytes);
        }
    }

    /// Drops all snapshots that wait but the newest of each queue, and counts them as lost: leakline holds too much.
    pub(crate) fn shed(&self) {
        self.queues.iter().for_each(|queue| queue.shed());
    }

    /// Asks every sink for its numbers, for the next `stats`.
    pub(crate) fn want_stats(&self) {
        self.queues.iter().for_each(|queue| queue.want_stats());
    }

    /// What each sink took and lost, as far as is known now.
    pub(crate) fn stats(&self) -> Vec<SinkStats> {
        self.queues.iter().map(|queue| queue.stats()).collect()
    }

    /// CPU time of all sinks' lanes.
    pub(crate) fn cpu(&self) -> Duration {
        self.queues.iter().map(|queue| queue.cpu()).sum()
    }

    /// Records that no sink has taken yet.
    pub(crate) fn waiting(&self) -> usize {
        self.queues.iter().map(|queue| queue.waiting()).sum()
    }

    /// Waits until all that is queued now was taken or lost; `false` when `until` came first.
    pub(crate) fn flush(&self, until: Instant) -> bool {
        self.queues.iter().all(|queue| queue.flush(until))
    }

    /// Takes nothing more: each lane delivers what it has, closes its sink and ends.
    pub(crate) fn close(&self) {
        self.queues.iter().for_each(|queue| queue.close());
    }
}

impl Drop for FanOut {
    fn drop(&mut self) {
        self.close();
    }
}

struct SinkLane {
    sink: Box<dyn Sink>,
    queue: Arc<SinkQueue>,
    session: Arc<Session>,
    clock: Arc<dyn Clock>,
    backoff: Backoff,
    /// In a row.
    failures: u32,
}

/// Why a lane ends before its queue is closed.
struct Dead(String);

impl SinkLane {
    async fn run(mut self) {
        if let Err(Dead(error)) = self.serve().await {
            tracing::warn!(sink = self.queue.name(), error, "a sink is not called again");
            self.queue.report(error);
        }
        self.queue.end();
        drop_guarded(self.sink);
    }

    async fn serve(&mut self) -> Result<(), Dead> {
        while !self.open().await? {
            self.refresh()?;
            if self.queue.closing() {
                return Ok(());
            }
            self.queue.pause(self.backoff.after(self.failures)).await;
        }
        loop {
            match self.queue.next().await {
                Work::Stats => self.refresh()?,
                Work::Record(record) => self.deliver(&record).await?,
                Work::Close => break,
            }
        }
        let closed = guard(self.sink.close()).await.map_err(died)?;
        if let Err(error) = closed {
            self.failed(&error);
        }
        self.refresh()
    }

    /// Whether the sink is open now.
    async fn open(&mut self) -> Result<bool, Dead> {
        match guard(self.sink.open(&self.session)).await.map_err(died)? {
            Ok(()) => {
                self.failures = 0;
                self.queue.report(String::new());
                Ok(true)
            }
            Err(error @ SinkError::Misconfigured { .. }) => Err(Dead(error.to_string())),
            Err(error) => {
                self.failed(&error);
                Ok(false)
            }
        }
    }

    async fn deliver(&mut self, record: &Record) -> Result<(), Dead> {
        let result = guard(self.sink.deliver(record)).await.map_err(died)?;
        // Before the record counts as settled: who flushed sees what became of it.
        self.refresh()?;
        match result {
            Ok(()) => {
                self.failures = 0;
                self.queue.settle(Ok(()));
            }
            Err(error) => {
                self.queue.settle(Err(error.to_string()));
                self.failed(&error);
                self.queue.pause(self.backoff.after(self.failures)).await;
            }
        }
        Ok(())
    }

    fn failed(&mut self, error: &SinkError) {
        // Once per series: each snapshot tells the rest.
        if self.failures == 0 {
            tracing::warn!(sink = self.queue.name(), %error, "a sink fails and is tried again");
        }
        self.failures = self.failures.saturating_add(1);
        self.queue.report(error.to_string());
    }

    fn refresh(&self) -> Result<(), Dead> {
        let sink = &self.sink;
        let stats = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sink.stats()));
        let stats = stats.map_err(|payload| died(crate::lane::panic_message(payload)))?;
        self.queue.refresh(Some(stats), self.clock.thread_cpu());
        Ok(())
    }
}

fn died(message: String) -> Dead {
    Dead(SinkError::Panicked { message }.to_string())
}
