//! What somebody may ask of the probe besides readings: a window, its end, a census; and what comes of a census.
//! Asking only sets something up; what takes longer is done with the next reading.

use std::sync::Arc;
use std::time::Duration;

use leakline_core::{
    Amount, Asked, Details, Gauge, Holder, ProbeError, ProbeRequest, Profile, ProfileSource, Site, SiteStat,
    Window, WindowSource, names,
};

use crate::census::{CensusAnswer, CensusOutcome, CensusRequest};
use crate::hooked::Hooked;
use crate::part::Part;
use crate::{Mode, PythonOptions, wire};

/// Percent of a core is judged by the part; a window of tracemalloc's has a time only.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// Boot time at which tracing that was asked for ends.
    tracing_until: Option<u64>,
    census: bool,
}

impl Requests {
    /// Does what is asked; `now` is boot time.
    pub(crate) fn take(
        &mut self,
        request: &ProbeRequest,
        part: Part,
        options: &PythonOptions,
        hooked: &mut Hooked,
        now: u64,
    ) -> Result<Asked, ProbeError> {
        match request {
            ProbeRequest::OpenWindow(window) => self.open(*window, part, options, hooked, now),
            ProbeRequest::CloseWindow => {
                self.tracing_until = self.tracing_until.map(|_| now);
                hooked.end(part)?;
                Ok(Asked::Done)
            }
            ProbeRequest::Census => {
                self.census = true;
                Ok(Asked::Done)
            }
            // The bridge's probe does, and asks for Python's half by itself.
            ProbeRequest::Cycles => Ok(Asked::NotForThis),
        }
    }

    fn open(
        &mut self,
        window: Window,
        part: Part,
        options: &PythonOptions,
        hooked: &mut Hooked,
        now: u64,
    ) -> Result<Asked, ProbeError> {
        let frames = window.frames.unwrap_or(10);
        if window.source == WindowSource::Exact {
            if options.mode == Mode::Exact {
                return Ok(refused("every allocation is recorded already (python.mode = exact)"));
            }
            hooked.open(
                part,
                wire::Window {
                    frames,
                    max_traces: window.max_traces.unwrap_or(options.window.max_traces),
                    max_paths: options.window.max_paths,
                    max_path_bytes: options.max_path_bytes,
                    duration_micros: u64::try_from(window.duration.as_micros()).unwrap_or(u64::MAX).max(1),
                    max_percent: options.window.max_percent,
                    go_on: false,
                },
            )?;
            return Ok(Asked::Done);
        }
        if options.mode == Mode::Tracemalloc {
            return Ok(refused("tracemalloc traces already (python.mode = tracemalloc)"));
        }
        match part.start(frames)? {
            Ok(tracing) if tracing.ours => {
                let lasts = u64::try_from(window.duration.as_nanos()).unwrap_or(u64::MAX);
                self.tracing_until = Some(now.saturating_add(lasts));
                Ok(Asked::Done)
            }
            Ok(_) => Ok(refused("the host traces allocations itself")),
            Err(reason) => Ok(Asked::Refused { reason: reason.into() }),
        }
    }

    /// Whether tracemalloc's profile is wanted for a window.
    pub(crate) fn is_tracing(&self) -> bool {
        self.tracing_until.is_some()
    }

    /// Stops tracing whose time is over, after its profile was read.
    pub(crate) fn end_tracing(
        &mut self,
        part: Part,
        now: u64,
        details: &mut Details,
    ) -> Result<(), ProbeError> {
        if self.tracing_until.take_if(|until| *until <= now).is_some() {
            part.stop_tracing()?;
            details.notes.push("tracemalloc's window is closed, because its time is over".to_owned());
        }
        Ok(())
    }

    /// Whether a census was asked for; once.
    pub(crate) fn wants_census(&mut self) -> bool {
        std::mem::take(&mut self.census)
    }
}

fn refused(reason: &'static str) -> Asked {
    Asked::Refused { reason: reason.into() }
}

/// The share of the time until a tick's deadline that a census may take, in percent: the rest of the reading must not be
/// lost because of it.
const CENSUS_PERCENT: u32 = 70;

/// Takes a census within `left`, the time until the tick's deadline, and `most` under the GIL, and adds what it found.
pub(crate) fn census(
    part: Part,
    left: Duration,
    most: Duration,
    details: &mut Details,
) -> Result<(), ProbeError> {
    let usual = CensusRequest::default();
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let wall = micros(left * CENSUS_PERCENT / 100);
    let answer = part.census(CensusRequest {
        max_types: 500,
        max_wall_micros: usual.max_wall_micros.min(wall),
        max_total_micros: usual.max_total_micros.min(micros(most)),
        ..usual
    })?;
    details.gil_held += Duration::from_nanos(answer.cost.gil_held_nanos);
    details.longest_stall =
        details.longest_stall.max(Duration::from_nanos(answer.cost.longest_stretch_nanos));
    match &answer.outcome {
        CensusOutcome::Taken => add(answer, details),
        CensusOutcome::TooMany => details
            .notes
            .push(format!("no census: counting {} objects took as long as it may", answer.visited)),
        CensusOutcome::Unsupported { reason } => details.notes.push(format!("no census: {reason}")),
        CensusOutcome::Interrupted => {
            return Err(ProbeError::Gone { reason: "the interpreter began to end during a census".into() });
        }
    }
    Ok(())
}

fn add(answer: CensusAnswer, details: &mut Details) {
    let wrappers = answer.wrappers.map(|count| Gauge::count(names::BRIDGE_PYTHON_HOLDS_JAVA, count));
    details.gauges.extend(wrappers);
    let types = answer.types.into_iter().map(|found| {
        let live = Amount { bytes: found.bytes, blocks: found.count };
        SiteStat::exact(Arc::new(Site::class(found.name)), live)
    });
    let source = ProfileSource::exact(ProfileSource::TYPES);
    details.profiles.push(Arc::new(Profile::new(source, types.collect())));
    details.holders.extend(answer.holders.into_iter().map(|holder| Holder {
        of: holder.type_name.into(),
        holder: holder.text,
        count: holder.count,
    }));
    if answer.holders_cut {
        details.notes.push("the search for who holds the growing types ended early".to_owned());
    }
}
