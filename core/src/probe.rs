//! What a probe is: the one thing to implement to make leakline read something new.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::model::{Cycle, Gauge, Holder, Layer, Profile, RuntimeInfo, Tick};
use crate::request::{Asked, ProbeRequest};

/// Reads one thing of one layer.
///
/// Every method is called on the probe's own lane: a thread that belongs to this probe alone, with a current-thread
/// tokio runtime. So a probe may block there (a GIL, a JNI attachment), and never needs a lock of its own.
/// A panic is caught, counted as a failure, and the probe is asked again later, with backoff.
#[async_trait]
pub trait Probe: Send + 'static {
    /// A name that is unique in the session, such as `python`. The lane's thread is called `leakline-NAME`.
    fn name(&self) -> Cow<'static, str>;

    /// The layer that it reads.
    fn layer(&self) -> Layer;

    /// Looks for what the probe reads, and gets hold of it. Called at start, and every second or so until it answers
    /// `Attached`; again after `gauges` answered `ProbeError::Gone`. Must be cheap while the answer is `Absent`
    /// (tens of microseconds). The default suits a probe that can always read.
    async fn attach(&mut self) -> Result<Attachment, ProbeError> {
        Ok(Attachment::Attached(RuntimeInfo::default()))
    }

    /// Gets ready to be read. Called right before `gauges`, while probes that read first may still be at it: what takes
    /// time and does not change the numbers (entering a runtime that needs no lock for it) is done here, so that the
    /// layers' numbers are of the same instant. An error shows in `gauges`, which is called in any case.
    async fn prepare(&mut self) {}

    /// Reads the gauges. Called at the tick, close together with all other probes' gauges, so it must be quick
    /// (well under a millisecond) and leave slow things to `details`. Must return before `tick.deadline_boot_nanos`;
    /// a later answer is dropped and counted. After an error the probe stays usable.
    async fn gauges(&mut self, tick: &Tick) -> Result<GaugeReading, ProbeError>;

    /// Reads what is too slow for `gauges`: slow gauges and the profile. Called after every probe's gauges were read,
    /// with the same deadline. The default has nothing.
    async fn details(&mut self, tick: &Tick) -> Result<Details, ProbeError> {
        let _ = tick;
        Ok(Details::default())
    }

    /// Does what somebody asked for, or says that it is not for this probe, as the default does. Called between ticks, and
    /// followed by a reading at once; must return within a second or so, and leaves what takes longer (a census) to
    /// `details`. An error is told in the notes of that reading, and changes nothing else.
    async fn request(&mut self, request: &ProbeRequest) -> Result<Asked, ProbeError> {
        let _ = request;
        Ok(Asked::NotForThis)
    }

    /// Gives back what the probe took: stops tracing that it started, detaches. Called once at the end, and only if it
    /// ever attached; not called when the lane is stuck in an earlier call.
    async fn detach(&mut self) {}

    /// CPU time that other threads have used for this probe since it was made; never less than the last time. Asked before
    /// and after each job: it counts in what the reading and leakline cost. For a probe that reads through another process.
    fn cpu_elsewhere(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether this probe's gauges are read before the others' (a runtime with a lock that may take milliseconds to get).
    fn reads_first(&self) -> bool {
        false
    }
}

/// Whether a probe has found what it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attachment {
    /// Found, and ready to be read.
    Attached(RuntimeInfo),
    /// Not there, or not yet.
    Absent {
        /// Why, in words for a user.
        reason: Cow<'static, str>,
    },
}

/// Gauges and when they were read.
#[derive(Debug, Clone, PartialEq)]
pub struct GaugeReading {
    /// The instant at which the numbers were read: for a lock that had to be waited for, after it was got.
    pub taken: Timestamp,
    /// The numbers.
    pub gauges: Vec<Gauge>,
    /// Time under the GIL or in a pause of the runtime; zero where there is none.
    pub stall: Duration,
}

/// What is read after the gauges.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Details {
    /// Gauges that take too long to be read with the others.
    pub gauges: Vec<Gauge>,
    /// Live bytes and counts per site: at most one profile by each source's name; of more, the first counts.
    pub profiles: Vec<Arc<Profile>>,
    /// Who refers to objects of the types that grow, where a census was taken.
    pub holders: Vec<Holder>,
    /// Cycles across two runtimes' heaps, where they were looked for.
    pub cycles: Vec<Cycle>,
    /// The GIL was held this long, all together.
    pub gil_held: Duration,
    /// Longest single time for which threads of the host could not run.
    pub longest_stall: Duration,
    /// Degraded modes and limits that were hit, in words for a user.
    pub notes: Vec<String>,
}

/// Why a probe could not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The runtime is ending or has ended: `attach` is called again, and no error is shown.
    #[error("the runtime is gone: {reason}")]
    Gone {
        /// What showed it.
        reason: Cow<'static, str>,
    },
    /// The runtime is there, but does not do what is asked of it.
    #[error("{what}: {reason}")]
    Failed {
        /// What was tried.
        what: Cow<'static, str>,
        /// What came of it.
        reason: String,
    },
    /// A panic was caught on the lane.
    #[error("the probe panicked: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
}

impl ProbeError {
    /// A failure of `what`, for `reason`.
    pub fn failed(what: impl Into<Cow<'static, str>>, reason: impl ToString) -> Self {
        Self::Failed { what: what.into(), reason: reason.to_string() }
    }
}
