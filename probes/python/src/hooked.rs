//! The probe's side of the allocator hook: what it is to do, and profiles out of what it knows.
//! Never asks for the GIL but to set the hook.

use std::sync::Arc;
use std::time::Duration;

use leakline_core::{Details, Gauge, ProbeError, ProfileSource, names};

use crate::part::Part;
use crate::tables::Tables;
use crate::wire::{Request, Sampling, SitesAnswer, SitesRequest, Source, Window, WindowClosed, WindowState};
use crate::{Mode, PythonOptions};

/// The smallest and the largest mean.
const MEANS: std::ops::RangeInclusive<u64> = 1 << 10..=16 << 20;
/// One of so many readings checks every sum.
const CHECK_ALL: u32 = 12;

/// What is to be done as soon as an interpreter is there; `None` when that is nothing.
pub(crate) fn beginning(options: &PythonOptions) -> Option<Request> {
    match options.mode {
        Mode::Sampling => Some(Request::Sample(sampling(options))),
        Mode::Exact => Some(Request::OpenWindow(standing_window(options))),
        Mode::Tracemalloc => Some(Request::Start { frames: options.exact_frames() }),
        Mode::Gauges | Mode::Off => None,
    }
}

fn sampling(options: &PythonOptions) -> Sampling {
    Sampling {
        mean: options.mean_sample_bytes.clamp(*MEANS.start(), *MEANS.end()),
        frames: options.sample_frames(),
        max_samples: options.max_samples,
        max_paths: options.max_sampled_paths,
        max_path_bytes: options.max_path_bytes,
    }
}

/// For [`Mode::Exact`]: bounded by what it holds only.
fn standing_window(options: &PythonOptions) -> Window {
    Window {
        frames: options.exact_frames(),
        max_traces: options.window.max_traces,
        max_paths: options.window.max_paths,
        max_path_bytes: options.max_path_bytes,
        duration_micros: 0,
        max_percent: 0,
        go_on: true,
    }
}

/// What the hook does, and what came of setting it.
#[derive(Debug, Default)]
pub(crate) struct Hooked {
    samples: bool,
    /// Whether a window is open, or closed itself and was not read yet.
    has_window: bool,
    degraded: Option<String>,
    cannot: Option<String>,
    was_lost: bool,
    readings: u32,
}

impl Hooked {
    /// Sets the hook to what `options` ask for.
    pub(crate) fn begin(&mut self, part: Part, options: &PythonOptions) -> Result<(), ProbeError> {
        *self = Self::default();
        match options.mode {
            Mode::Sampling => {
                self.samples = self.note(part.sample(sampling(options))?);
            }
            Mode::Exact => {
                self.has_window = self.note(part.open_window(standing_window(options))?);
            }
            Mode::Tracemalloc | Mode::Gauges | Mode::Off => {}
        }
        Ok(())
    }

    /// Opens a window that closes itself; one that is open is begun anew. What it may not do is an error.
    pub(crate) fn open(&mut self, part: Part, window: Window) -> Result<(), ProbeError> {
        match part.open_window(window)? {
            Ok(degraded) => {
                self.degraded = degraded.or_else(|| self.degraded.take());
                self.has_window = true;
                Ok(())
            }
            Err(reason) => Err(ProbeError::failed("recording every allocation", reason)),
        }
    }

    /// Records no more; what was recorded is in the next reading.
    pub(crate) fn end(&mut self, part: Part) -> Result<(), ProbeError> {
        if self.has_window { part.end_window() } else { Ok(()) }
    }

    /// The hook had been taken away, and was set anew.
    pub(crate) fn lost(&mut self) {
        self.was_lost = true;
    }

    /// Adds the profiles, and what a user should know about them.
    pub(crate) fn read(
        &mut self,
        part: Part,
        tables: &mut Tables,
        options: &PythonOptions,
        details: &mut Details,
    ) -> Result<(), ProbeError> {
        details.notes.extend(self.cannot.iter().map(|why| format!("no call paths: {why}")));
        details.notes.extend(self.degraded.clone());
        if std::mem::take(&mut self.was_lost) {
            details.notes.push(
                "another allocator hook put back what it had found before leakline's: leakline's is set anew, and what was \
                 allocated before is not seen any more"
                    .to_owned(),
            );
        }
        self.readings = self.readings.wrapping_add(1);
        if self.samples {
            let answer = self.sites(part, tables, options, Source::Sampled)?;
            details.gauges.push(Gauge::bytes(names::PYTHON_SAMPLED, answer.live_bytes));
            details.gauges.push(Gauge::bytes(names::PYTHON_LARGE, answer.large_bytes));
            details.gauges.push(Gauge::count(names::PYTHON_SAMPLES, answer.samples));
            self.take(&answer, tables, details)?;
        }
        if self.has_window {
            let answer = self.sites(part, tables, options, Source::Exact)?;
            self.take(&answer, tables, details)?;
            if let Some(window) = answer.window {
                self.note_window(part, window, options, details)?;
            }
        }
        Ok(())
    }

    fn sites(
        &self,
        part: Part,
        tables: &Tables,
        options: &PythonOptions,
        source: Source,
    ) -> Result<SitesAnswer, ProbeError> {
        part.sites(SitesRequest {
            source,
            known: tables.known(),
            filters: options.filters.clone(),
            max_sites: options.max_sites,
            max_name_bytes: options.max_name_bytes,
            // A window may hold a million, and the host's allocations wait meanwhile.
            check_all: source == Source::Sampled && self.readings.is_multiple_of(CHECK_ALL),
        })
    }

    fn take(
        &self,
        answer: &SitesAnswer,
        tables: &mut Tables,
        details: &mut Details,
    ) -> Result<(), ProbeError> {
        tables.extend(&answer.additions)?;
        let source = match answer.mean {
            0 => ProfileSource::exact(ProfileSource::EXACT),
            mean => ProfileSource::sampled(ProfileSource::SAMPLED, mean),
        };
        let profile = tables.sites(source.in_epoch(answer.epoch), &answer.sites)?;
        details.profiles.push(Arc::new(profile));
        details.longest_stall = details.longest_stall.max(Duration::from_nanos(answer.held_nanos));
        details.notes.extend(
            answer
                .fault
                .iter()
                .map(|fault| format!("leakline's tables are wrong, please report this: {fault}")),
        );
        details.notes.extend(merged(answer));
        if answer.missed_frees * 100 > answer.samples {
            details.notes.push(format!("{} frees of sampled memory went by unseen", answer.missed_frees));
        }
        Ok(())
    }

    /// Says what became of the window; one that closed itself is given back.
    fn note_window(
        &mut self,
        part: Part,
        window: WindowState,
        options: &PythonOptions,
        details: &mut Details,
    ) -> Result<(), ProbeError> {
        let lasted = Duration::from_nanos(window.lasted_nanos);
        let share = 100.0 * window.took_nanos as f64 / (window.lasted_nanos.max(1)) as f64;
        let what = format!(
            "{} allocations in {:.1} s, {share:.1} % of a core",
            window.recorded,
            lasted.as_secs_f64()
        );
        let Some(closed) = window.closed else {
            if options.mode != Mode::Exact {
                details.notes.push(format!("an exact window is open: {what}"));
            }
            return Ok(());
        };
        let why = match closed {
            WindowClosed::Time => "its time is over",
            WindowClosed::Traces => "it held as many allocations as it may",
            WindowClosed::Share => "it took too large a share of a core",
            WindowClosed::Asked => "somebody asked for it",
            WindowClosed::Unhooked => "another allocator hook took leakline's away",
        };
        details.notes.push(format!("the exact window is closed, because {why}: {what}"));
        self.has_window = false;
        part.close_window()
    }

    /// Whether the hook was set; why not is kept for the readings.
    fn note(&mut self, set: Result<Option<String>, String>) -> bool {
        match set {
            Ok(degraded) => self.degraded = degraded,
            Err(why) => self.cannot = Some(why),
        }
        self.cannot.is_none()
    }
}

/// What had no room for a call path of its own.
fn merged(answer: &SitesAnswer) -> Option<String> {
    let (samples, names) = (answer.merged_samples, answer.merged_names);
    let what = match (samples, names) {
        (0, 0) => return None,
        (samples, 0) => format!("{samples} samples so far have"),
        (0, names) => format!("{names} call paths of this reading have"),
        (samples, names) => format!("{samples} samples so far and {names} call paths of this reading have"),
    };
    Some(format!(
        "more Python call paths than leakline keeps: {what} no line of their own and are counted as \
         `<more call paths than leakline keeps>`; more room: own.max_bytes"
    ))
}
