//! The probe: finds CPython, has its allocations sampled or traced, reads gauges and profiles within their budget.
//! Never restarts tracing that the host has stopped unless it was ours.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use leakline_core::{
    Asked, Attachment, Cause, Clock, Details, Gauge, GaugeReading, Layer, Probe, ProbeError, ProbeRequest,
    Profile, RuntimeInfo, Tick, Timestamp, names,
};

use crate::asked::{self, Requests};
use crate::budget::Budget;
use crate::find::{CPython, python_part};
use crate::hooked::Hooked;
use crate::part::Part;
use crate::tables::Tables;
use crate::wire::{
    CensusAnswer, CensusRequest, GaugeValues, Interpreter, Outcome, ProfileAnswer, ProfileRequest, Tracing,
};
use crate::{Mode, PythonOptions, boot_nanos, early};

/// How long an interpreter that was attached to in its start may take until its `sys.path` is complete.
const START_STEPS: u32 = 40;
const START_STEP: Duration = Duration::from_millis(5);

/// Time under the GIL that the slow gauges may take per tick, on average: pymalloc's pools of about a gigabyte.
const SLOW_GAUGES: Duration = Duration::from_millis(10);

/// Whether an interpreter runs in this process. Any thread; tens of microseconds at most.
pub fn is_present() -> bool {
    CPython::find().is_some_and(|python| python.is_initialized())
}

/// Reads the Python layer through leakline's allocator hook, tracemalloc, `sys` and `gc`.
#[derive(Debug)]
pub struct PythonProbe {
    clock: ClockOf,
    options: PythonOptions,
    python: Option<CPython>,
    part: Option<Part>,
    tracing: Option<Tracing>,
    /// Why this interpreter cannot trace.
    cannot_trace: Option<String>,
    hooked: Hooked,
    requests: Requests,
    /// Regular ones so far.
    ticks: u32,
    tables: Tables,
    budget: Budget,
    /// For the gauges whose cost grows with what they count.
    slow: Budget,
    /// Whether the last gauges had tracemalloc's numbers.
    traced: bool,
    /// Whether pymalloc serves small requests.
    has_arenas: bool,
}

struct ClockOf(Arc<dyn Clock>);

impl std::fmt::Debug for ClockOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

impl PythonProbe {
    /// A probe that has not looked for anything yet. `clock` tells when a deadline has passed.
    pub fn new(clock: Arc<dyn Clock>, options: PythonOptions) -> Self {
        let budget = Budget::new(options.gil_budget);
        Self {
            clock: ClockOf(clock),
            options,
            python: None,
            part: None,
            tracing: None,
            cannot_trace: None,
            hooked: Hooked::default(),
            requests: Requests::default(),
            ticks: 0,
            tables: Tables::default(),
            budget,
            slow: Budget::new(SLOW_GAUGES),
            traced: false,
            has_arenas: true,
        }
    }

    /// The Python part, when an interpreter runs that leakline can read; otherwise why there is none.
    fn reach(&mut self) -> Result<Result<Part, Cow<'static, str>>, ProbeError> {
        if self.options.mode == Mode::Off {
            return Ok(Err("switched off".into()));
        }
        if self.python.is_none() {
            self.python = CPython::find();
        }
        let Some(python) = &self.python else { return Ok(Err("no CPython in this process".into())) };
        if let Some(why) = python.unfit() {
            return Ok(Err(why.into()));
        }
        if !python.is_initialized() {
            // A part that was loaded learns here that its interpreter has ended, so that it may attach to the next.
            if let Some(part) = Part::loaded() {
                part.attach().err();
            }
            return Ok(Err("CPython is there, but not started".into()));
        }
        if let Some(part) = Part::loaded() {
            return Ok(Ok(part));
        }
        Part::load(&python_part(self.options.library.as_deref())?, python).map(Ok)
    }

    /// Attaches; right after a start, waits on this lane until `sys.path` is complete, for paths are shortened by it.
    fn interpreter(part: Part) -> Result<Interpreter, ProbeError> {
        let mut interpreter = part.attach()?;
        let mut steps = START_STEPS;
        while early::attached() && interpreter.is_starting && steps > 0 {
            // The lane is this probe's alone, and may have no runtime.
            std::thread::sleep(START_STEP);
            interpreter = part.attach()?;
            steps -= 1;
            if !interpreter.is_starting {
                // The script's own folder goes in a moment after `site` is done.
                std::thread::sleep(START_STEP);
                interpreter = part.attach()?;
            }
        }
        Ok(interpreter)
    }

    /// When the GIL was got, by the probe's own clock: as long ago from now as the machine's clock says.
    fn taken(&self, asked: Timestamp, taken_boot_nanos: u64) -> Timestamp {
        let now = self.clock.0.now();
        let age = boot_nanos().saturating_sub(taken_boot_nanos);
        Timestamp {
            unix_nanos: now.unix_nanos.saturating_sub(age).max(asked.unix_nanos.min(now.unix_nanos)),
            boot_nanos: now.boot_nanos.saturating_sub(age).max(asked.boot_nanos),
        }
    }

    /// Starts tracing that was asked for, and takes note of who traces.
    fn trace(&mut self, part: Part) -> Result<(), ProbeError> {
        if self.options.mode == Mode::Tracemalloc {
            let started = part.start(self.options.exact_frames())?;
            self.tracing = started.as_ref().ok().copied();
            self.cannot_trace = started.err();
        }
        Ok(())
    }

    /// What a user should know about who traces.
    fn tracing_notes(&self) -> Vec<String> {
        if let Some(reason) = &self.cannot_trace {
            return vec![format!(
                "no call paths: CPython cannot trace allocations in this interpreter: {reason}"
            )];
        }
        match self.tracing {
            Some(Tracing { ours: false, frames })
                if self.traced && frames != u32::from(self.options.exact_frames()) =>
            {
                vec![format!(
                    "the host traces allocations itself, with {frames} frames; this is left as it is"
                )]
            }
            _ => Vec::new(),
        }
    }

    /// Whether tracemalloc's profile is wanted: in the mode that starts it, and where the host traces by itself and
    /// leakline has nothing of its own.
    fn traces(&self) -> bool {
        matches!(self.options.mode, Mode::Tracemalloc | Mode::Gauges) || self.requests.is_tracing()
    }

    /// The profile of tracemalloc's traces, if the budget allows it.
    fn traced_profile(&mut self, part: Part, tick: &Tick, details: &mut Details) -> Result<(), ProbeError> {
        let asked_for = tick.cause == Cause::Requested || tick.cause == Cause::Final;
        if !asked_for && let Some(note) = self.budget.leave_out() {
            details.notes.push(note);
        } else if self.clock.0.now().boot_nanos >= tick.deadline_boot_nanos {
            details
                .notes
                .push("no profile at this tick: its deadline passed while Python was waited for".to_owned());
        } else {
            self.profile(part, details)?;
        }
        Ok(())
    }

    fn profile_request(&self) -> ProfileRequest {
        ProfileRequest {
            known: self.tables.known(),
            filters: self.options.filters.clone(),
            max_stretch_micros: micros(self.options.max_stretch) as u32,
            pause_micros: micros(self.options.pause) as u32,
            max_sites: self.options.max_sites,
            max_name_bytes: self.options.max_name_bytes,
            max_copy_micros: micros(self.options.max_stall),
        }
    }

    /// Pymalloc's arenas and the like, before a profile changes them.
    fn slow_gauges(&mut self, part: Part, asked_for: bool, details: &mut Details) -> Result<(), ProbeError> {
        if !self.slow.pass() && !asked_for {
            return Ok(());
        }
        let values = part.slow_gauges()?;
        let held = Duration::from_nanos(values.held_nanos);
        self.slow.spend(held);
        details.gil_held += held;
        details.longest_stall = details.longest_stall.max(held);
        let are_counted = values.arenas.is_some();
        if let Some(arenas) = values.arenas {
            details.gauges.push(Gauge::bytes(names::PYTHON_ARENAS, arenas.mapped));
            details.gauges.push(Gauge::bytes(names::PYTHON_ARENAS_USED, arenas.used));
            details.gauges.push(Gauge::bytes(names::PYTHON_ARENAS_UNUSED, arenas.unused_pools));
        }
        details.gauges.push(Gauge::count(names::PYTHON_GC_FROZEN, values.gc_frozen));
        let hidden =
            "something stood on top of pymalloc before leakline came, or this CPython does without it";
        let is_silent = self.has_arenas && !are_counted;
        let reason = values.arenas_missing.or_else(|| is_silent.then(|| hidden.to_owned()));
        details.notes.extend(reason.map(|reason| match are_counted {
            true => reason,
            false => format!("pymalloc's arenas are not counted: {reason}"),
        }));
        Ok(())
    }

    fn profile(&mut self, part: Part, details: &mut Details) -> Result<(), ProbeError> {
        let answer = part.profile(self.profile_request())?;
        let held = Duration::from_nanos(answer.cost.held_nanos);
        details.gil_held += held;
        details.longest_stall = details.longest_stall.max(Duration::from_nanos(answer.cost.longest_nanos));
        self.budget.spend(held);
        match answer.outcome {
            Outcome::Taken => {
                details.profiles.push(Arc::new(self.interned(&answer)?));
                if answer.merged_names > 0 {
                    details.notes.push(format!(
                        "{} Python call paths more than leakline keeps are counted as \
                         `<more call paths than leakline keeps>`; more room: own.max_bytes",
                        answer.merged_names
                    ));
                }
                if self.has_arenas {
                    details.gauges.push(Gauge::bytes(names::PYTHON_TRACED_SMALL, answer.small_bytes));
                }
            }
            Outcome::NotTracing => self.not_tracing(part, details)?,
            Outcome::TooMany { expected_micros } => details.notes.push(format!(
                "no profile: reading all traces would hold up Python for about {} ms, and {} ms are allowed",
                expected_micros / 1000,
                self.options.max_stall.as_millis()
            )),
            Outcome::Interrupted => {
                return Err(ProbeError::Gone {
                    reason: "the interpreter began to end during a profile".into(),
                });
            }
        }
        Ok(())
    }

    fn interned(&mut self, answer: &ProfileAnswer) -> Result<Profile, ProbeError> {
        self.tables.extend(&answer.additions)?;
        self.tables.profile(&answer.stats)
    }

    /// Whether this tick has a census: the first one, one of so many, or because somebody asked.
    fn census_is_due(&mut self, tick: &Tick) -> bool {
        let every = self.options.census_every;
        let regular = every > 0 && matches!(tick.cause, Cause::Baseline | Cause::Tick);
        let due = regular && self.ticks.is_multiple_of(every);
        self.ticks = self.ticks.wrapping_add(u32::from(regular));
        self.requests.wants_census() || due
    }

    /// Counts objects by type, as asked; on the lane. For tests, which ask for more or less than a reading does.
    pub fn census(&mut self, request: CensusRequest) -> Result<CensusAnswer, ProbeError> {
        part_of(self.part)?.census(request)
    }

    /// Somebody has stopped tracing, or nobody ever started it.
    fn not_tracing(&mut self, part: Part, details: &mut Details) -> Result<(), ProbeError> {
        match self.tracing {
            None => {}
            Some(Tracing { ours: true, .. }) => {
                self.trace(part)?;
                details.notes.push(
                    "the host stopped the tracing that leakline had started; it is started again, and what was \
                     allocated before is not seen any more"
                        .to_owned(),
                );
            }
            Some(Tracing { ours: false, .. }) => {
                details
                    .notes
                    .push("the host stopped its tracing: there is no profile until it starts it".to_owned());
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Probe for PythonProbe {
    fn name(&self) -> Cow<'static, str> {
        "python".into()
    }

    fn layer(&self) -> Layer {
        Layer::Python
    }

    async fn attach(&mut self) -> Result<Attachment, ProbeError> {
        let part = match self.reach()? {
            Ok(part) => part,
            Err(reason) => return Ok(Attachment::Absent { reason }),
        };
        let interpreter = match Self::interpreter(part) {
            Ok(interpreter) => interpreter,
            Err(ProbeError::Gone { reason }) => return Ok(Attachment::Absent { reason }),
            Err(error) => return Err(error),
        };
        self.trace(part)?;
        self.hooked.begin(part, &self.options)?;
        self.part = Some(part);
        Ok(Attachment::Attached(RuntimeInfo {
            name: interpreter.name,
            source_roots: interpreter.source_roots,
        }))
    }

    async fn gauges(&mut self, _tick: &Tick) -> Result<GaugeReading, ProbeError> {
        let part = part_of(self.part)?;
        let asked = self.clock.0.now();
        let values = part.gauges()?;
        let taken = self.taken(asked, values.taken_boot_nanos);
        self.traced = values.traced.is_some();
        self.has_arenas = values.blocks.is_some();
        if values.hook_was_lost {
            self.hooked.lost();
        }
        Ok(GaugeReading { taken, gauges: gauges(&values), stall: Duration::from_nanos(values.held_nanos) })
    }

    async fn details(&mut self, tick: &Tick) -> Result<Details, ProbeError> {
        let part = part_of(self.part)?;
        let mut details = Details { notes: self.tracing_notes(), ..Details::default() };
        let asked_for = tick.cause == Cause::Requested || tick.cause == Cause::Final;
        if self.clock.0.now().boot_nanos < tick.deadline_boot_nanos {
            self.slow_gauges(part, asked_for, &mut details)?;
        }
        if self.traces() {
            self.traced_profile(part, tick, &mut details)?;
            self.requests.end_tracing(part, self.clock.0.now().boot_nanos, &mut details)?;
        }
        self.hooked.read(part, &mut self.tables, &self.options, &mut details)?;
        let left = tick.deadline_boot_nanos.saturating_sub(self.clock.0.now().boot_nanos);
        if self.census_is_due(tick) && left > 0 {
            // As many ticks' budget as there are from one census to the next.
            let most = self.options.gil_budget.saturating_mul(self.options.census_every.max(12));
            asked::census(part, Duration::from_nanos(left), most, &mut details)?;
        }
        Ok(details)
    }

    async fn request(&mut self, request: &ProbeRequest) -> Result<Asked, ProbeError> {
        let part = part_of(self.part)?;
        let now = self.clock.0.now().boot_nanos;
        self.requests.take(request, part, &self.options, &mut self.hooked, now)
    }

    async fn detach(&mut self) {
        // An interpreter that has ended needs nothing given back.
        if let Some(part) = self.part.take() {
            part.detach().err();
        }
        self.tracing = None;
    }

    /// A busy interpreter lets go of the GIL only every 5 ms.
    fn reads_first(&self) -> bool {
        true
    }
}

fn part_of(part: Option<Part>) -> Result<Part, ProbeError> {
    part.ok_or(ProbeError::Gone { reason: "not attached".into() })
}

fn gauges(values: &GaugeValues) -> Vec<Gauge> {
    let mut gauges = Vec::new();
    if let Some(traced) = values.traced {
        gauges.push(Gauge::bytes(names::PYTHON_TRACED, traced.current));
        gauges.push(Gauge::bytes(names::PYTHON_TRACED_PEAK, traced.peak));
        gauges.push(Gauge::bytes(names::PYTHON_TRACER, traced.tracer));
    }
    gauges.extend(values.blocks.map(|blocks| Gauge::count(names::PYTHON_BLOCKS, blocks)));
    let [young, middle, old] = values.gc_counts;
    gauges.push(Gauge::count(names::PYTHON_GC_YOUNG, young));
    gauges.push(Gauge::count(names::PYTHON_GC_MIDDLE_COUNT, middle));
    gauges.push(Gauge::count(names::PYTHON_GC_OLD_COUNT, old));
    let [young, middle, old] = values.gc_collections;
    gauges.push(Gauge::total(names::PYTHON_GC_COLLECTIONS, young.saturating_add(middle).saturating_add(old)));
    gauges.push(Gauge::total(names::PYTHON_GC_YOUNG_COLLECTIONS, young));
    gauges.push(Gauge::total(names::PYTHON_GC_MIDDLE_COLLECTIONS, middle));
    gauges.push(Gauge::total(names::PYTHON_GC_OLD_COLLECTIONS, old));
    gauges.push(Gauge::total(names::PYTHON_GC_UNCOLLECTABLE, values.gc_uncollectable));
    gauges.extend(values.gc_garbage.map(|objects| Gauge::count(names::PYTHON_GC_GARBAGE, objects)));
    gauges.push(Gauge::count(names::PYTHON_GC_ENABLED, u64::from(values.gc_enabled)));
    gauges.extend(values.interned.map(|strings| Gauge::count(names::PYTHON_INTERNED, strings)));
    gauges
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
