//! The scheduler's bounds, each with its default and the reason for it.

use std::time::Duration;

use crate::fanout::{Backoff, QueueLimits};
use crate::request::Window;

/// How often the scheduler reads, how long it waits, and how much it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulerOptions {
    /// Ticks are multiples of this since the Unix epoch. Default 5 min: slow enough to cost nothing, and a leak of
    /// 1 MB/min is still seen within a quarter of an hour.
    pub interval: Duration,
    /// No interval is shorter, whoever asks. Default 100 ms: fast enough for a demonstration, and a collector's slip
    /// of a unit cannot make the agent a burden.
    pub min_interval: Duration,
    /// How long the readings of one tick may take before those that are missing are late. Default (`None`): half the
    /// interval in force and at most 30 s, so that a snapshot is out well before the next tick.
    pub deadline: Option<Duration>,
    /// How late after its instant a tick is still taken; later, it is missed. Default (`None`): a tenth of the interval
    /// in force and at most 10 s, so that points stay evenly spaced and an aligned instant means what it says.
    pub late_start_grace: Option<Duration>,
    /// How often probes that found nothing look again. Default 1 s: a runtime that starts late is traced nearly from
    /// its beginning, and looking costs microseconds.
    pub discovery: Duration,
    /// How long the first snapshot waits for probes to attach. Default 20 ms: enough to look, too short to be felt by
    /// a host that starts; a probe that takes longer is in the next snapshot.
    pub first_attach_wait: Duration,
    /// How long other probes wait for those that read first. Default 50 ms: ten times the 5 ms after which a busy
    /// Python thread lets go of the GIL.
    pub first_reader_wait: Duration,
    /// How long the slow part of a reading waits for everybody's gauges. Default 250 ms: gauges take microseconds, so
    /// who has not answered by then hangs, and the others go on.
    pub gauges_wait: Duration,
    /// How long a probe or a sink is left alone after its first failure; doubled with each one in a row.
    /// Default 1 s: most failures pass at once.
    pub failure_backoff_min: Duration,
    /// The longest that a probe or a sink is left alone. Default 30 min: what works again is noticed within six ticks.
    pub failure_backoff_max: Duration,
    /// How long a request to the probes (a window, a census) may keep the scheduler from going on. Default 1 s: probes only
    /// note what they are asked, or switch something; one that takes longer is late, as at a tick.
    pub request_wait: Duration,
    /// The window that is asked for when a layer leaks and its sampled sites are too coarse to say where. Default
    /// (`None`): none, because recording every allocation slows the host down, which is for somebody to decide.
    pub window_when_leaking: Option<Window>,
    /// Snapshots that wait for one sink. Default 64: over five hours at the default interval.
    pub max_queue_snapshots: usize,
    /// Estimated bytes that wait for one sink. Default 8 MiB: three profiles of 100,000 sites. The newest snapshot is
    /// kept even when it alone is larger. Sinks share what they wait for, so they do not add up.
    pub max_queue_bytes: u64,
    /// Bytes that the agent may hold in all, but for an open window. Beyond, it drops what waits for sinks; far beyond (by
    /// half) for longer than 10 s, it ends. Default 16 MiB: a tenth of what a small service takes.
    pub max_own_bytes: u64,
    /// Bytes that it may hold besides while a window is open. Default 48 MiB: a million recorded allocations.
    pub max_window_bytes: u64,
    /// What the verdict may take for the sites that it follows, bytes. Default 1 MiB: some 1,100 sites, of which 40 for each
    /// layer are judged.
    pub max_verdict_bytes: u64,
    /// Marks that wait for one sink. Default 1024: a burst of events; each takes at most a few hundred bytes.
    pub max_queue_marks: usize,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(300),
            min_interval: Duration::from_millis(100),
            deadline: None,
            late_start_grace: None,
            discovery: Duration::from_secs(1),
            first_attach_wait: Duration::from_millis(20),
            first_reader_wait: Duration::from_millis(50),
            gauges_wait: Duration::from_millis(250),
            failure_backoff_min: Duration::from_secs(1),
            failure_backoff_max: Duration::from_secs(30 * 60),
            request_wait: Duration::from_secs(1),
            window_when_leaking: None,
            max_queue_snapshots: 64,
            max_queue_bytes: 8 * 1024 * 1024,
            max_own_bytes: 16 * 1024 * 1024,
            max_window_bytes: 48 * 1024 * 1024,
            max_verdict_bytes: 1024 * 1024,
            max_queue_marks: 1024,
        }
    }
}

impl SchedulerOptions {
    /// `interval` within its bounds: not shorter than the minimum, not longer than a year.
    pub(super) fn allowed(&self, interval: Duration) -> Duration {
        let shortest = self.min_interval.clamp(Duration::from_millis(1), Duration::from_secs(86_400));
        interval.clamp(shortest, Duration::from_secs(366 * 86_400))
    }

    pub(super) fn deadline_at(&self, interval: Duration) -> Duration {
        self.deadline.unwrap_or_else(|| (interval / 2).min(Duration::from_secs(30)))
    }

    /// Less than half the interval, or two ticks could claim one instant.
    pub(super) fn grace_at(&self, interval: Duration) -> Duration {
        let grace = self.late_start_grace.unwrap_or_else(|| (interval / 10).min(Duration::from_secs(10)));
        grace.min(interval / 2)
    }

    pub(super) fn backoff(&self) -> Backoff {
        Backoff { min: self.failure_backoff_min, max: self.failure_backoff_max }
    }

    pub(super) fn queue_limits(&self) -> QueueLimits {
        QueueLimits {
            snapshots: self.max_queue_snapshots.max(1),
            bytes: self.max_queue_bytes,
            marks: self.max_queue_marks.max(1),
        }
    }
}
