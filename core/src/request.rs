//! What a probe can be asked for besides its readings: to look closer for a while, or to count objects.
//! Plain data; how it gets to a probe stands in `command` and in the scheduler.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A request to every probe; a probe that cannot do it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeRequest {
    /// Begin to record every allocation, for a while. A window that is open already is replaced.
    OpenWindow(Window),
    /// End the window that is open. The next reading still has its profile.
    CloseWindow,
    /// Count objects by type with the next reading.
    Census,
    /// Look for cycles across the heaps of two runtimes with the next reading.
    Cycles,
}

/// A bounded time in which every allocation is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Who records.
    pub source: WindowSource,
    /// Frames of each call path; `None`: as configured.
    pub frames: Option<u16>,
    /// The window closes by itself at the first reading after this.
    pub duration: Duration,
    /// The window closes when so many allocations are live in it; `None`: as configured.
    pub max_traces: Option<u64>,
}

/// Who records the allocations of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowSource {
    /// The probe's own hook.
    Exact,
    /// The runtime's own tracer.
    Tracemalloc,
}

impl Window {
    /// No window is open for longer, whoever asks: recording everything is for looking closer, not for leaving on.
    pub const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);

    /// A window of `duration` with the probe's own hook, all else as configured.
    pub fn exact(duration: Duration) -> Self {
        Self { source: WindowSource::Exact, frames: None, duration, max_traces: None }
    }

    /// The window within its bounds.
    #[must_use]
    pub fn within_bounds(self) -> Self {
        Self { duration: self.duration.min(Self::MAX_DURATION), ..self }
    }
}

/// What a probe makes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// It is done, or will be with the next reading.
    Done,
    /// Such a thing is not for this probe.
    NotForThis,
    /// It is for this probe, which cannot do it here.
    Refused {
        /// Why, in words for a user; goes into the notes of the next reading.
        reason: Cow<'static, str>,
    },
}
