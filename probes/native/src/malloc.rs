//! The probe `native`: what the host's malloc counts, and which call paths hold it.
//! Never asks malloc at each tick when that is slow: the answer is given under the allocator's own lock.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use leakline_core::{
    Attachment, Clock, Details, Gauge, GaugeReading, Layer, Probe, ProbeError, RuntimeInfo, Tick, names,
};
use leakline_probing::joined::Told;

use crate::allocator::Kind;
use crate::gains::Gains;
use crate::hook;
use crate::hooked::Hooked;
use crate::mallinfo::{Counts, Source};
use crate::pace::Pace;
use crate::process::Instants;

/// How long the host is waited for when it is asked: at the tick as long as one look takes, and afterwards this long.
const PATIENCE: Duration = Duration::from_millis(20);
/// Between two looks for its answer: an answer takes some microseconds.
const POLL: Duration = Duration::from_micros(50);

/// What the probe `native` reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NativeMode {
    /// Malloc's numbers, and call paths of a few allocations.
    Sampling,
    /// Malloc's numbers.
    Gauges,
}

/// What the probe `native` does, and what it may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NativeOptions {
    /// Whether malloc is hooked.
    pub mode: NativeMode,
    /// Bytes between two samples on average, from 4 KiB to 1 GiB. 512 KiB: a sample with its stack costs about a
    /// microsecond, so a program that allocates a gigabyte a second spends 0.2 % of a core on it.
    pub mean_sample_bytes: u64,
    /// Frames of a call path, at most 64. 48: deep enough for most programs.
    pub max_frames: u16,
    /// Live samples; when there are more, the mean is doubled. 65,536: some 32 GiB of live memory at 512 KiB.
    pub max_samples: u32,
    /// Call paths; further ones share one. 16,384: 8 MiB when all are deep.
    pub max_paths: u32,
    /// An answer that took no longer is asked for at every tick. 1 ms: about 5,000 free blocks.
    pub quick: Duration,
    /// A slower answer rests this many times as long before it is asked for again. 10,000, more than for the kernel's
    /// numbers, because malloc stands still meanwhile: at most 0.01 % of the time; 90 ms (500,000 free blocks) are
    /// asked for every 15 minutes.
    pub rest_factor: u32,
}

impl Default for NativeOptions {
    fn default() -> Self {
        Self {
            mode: NativeMode::Sampling,
            mean_sample_bytes: 512 << 10,
            max_frames: 48,
            max_samples: 65_536,
            max_paths: 16_384,
            quick: Duration::from_millis(1),
            rest_factor: 10_000,
        }
    }
}

impl NativeOptions {
    /// The same, with tables and what a reader keeps beside them within so many bytes. They are never more than they are
    /// here: most processes have fewer live samples than places for them.
    #[must_use]
    pub fn within(self, bytes: u64) -> Self {
        /// A sample, and its places in the index.
        const SAMPLE: u64 = 24 + 16;
        /// A path with its sums, its places in the index and 28 frames, and its site in the reader.
        const PATH: u64 = 80 + 16 + 4 * 64 + 600;
        let most = |share: u64, each: u64, most: u32| {
            u32::try_from(share / each).map_or(most, |count| count.min(most))
        };
        Self {
            max_samples: most(bytes / 4, SAMPLE, self.max_samples).max(1024),
            max_paths: most(bytes / 4 * 3, PATH, self.max_paths).max(256),
            ..self
        }
    }
}

/// Has a runtime of the host, by its place among those that joined, tell frames by their numbers; `None`: not now.
pub type Tell = Arc<dyn Fn(u32, &[u64]) -> Option<Vec<Option<Told>>> + Send + Sync>;

/// Another process that is watched: the one that this one was forked from.
#[derive(Clone)]
pub struct Watching {
    /// Its number.
    pub pid: u32,
    /// Whom to ask for the names of its runtimes' frames.
    pub tell: Tell,
    /// Has a thread of leakline's in the host, where there is one, call [`answer_now`](crate::answer_now).
    pub answer: Arc<dyn Fn() + Send + Sync>,
}

/// Reads malloc's live, free and mapped bytes.
///
/// The first answer is asked for in `gauges`. Once an answer was slow, it comes with `details`, and only after a rest;
/// in between the gauges are absent, and a note says why. In a watcher malloc answers when the host calls it next: the
/// gauges are there if it does at once, or if it is known not to have called it since the last answer.
pub struct NativeProbe {
    clock: Arc<dyn Clock>,
    options: NativeOptions,
    hooked: Hooked,
    pace: Pace,
    gains: Gains,
    source: Option<Result<Source, Cow<'static, str>>>,
    /// Malloc's live bytes at this tick, once they are known.
    live: Option<u64>,
    watching: Option<Watching>,
    /// The last answer that was used, in a watcher.
    seen: u64,
}

/// An answer of malloc.
struct Asked {
    gauges: Vec<Gauge>,
    /// How long malloc may have stood still for it.
    stall: Duration,
}

impl NativeProbe {
    /// A probe that has not looked for malloc yet.
    pub fn new(clock: Arc<dyn Clock>, options: NativeOptions) -> Self {
        Self {
            clock,
            options,
            hooked: Hooked::default(),
            pace: Pace::new(options.quick, options.rest_factor),
            gains: Gains::default(),
            source: None,
            live: None,
            watching: None,
            seen: 0,
        }
    }

    /// A probe in a watcher, for the process that it was forked from and that called [`begin_early`].
    ///
    /// [`begin_early`]: crate::begin_early
    pub fn watching(clock: Arc<dyn Clock>, options: NativeOptions, watching: Watching) -> Self {
        Self { watching: Some(watching), ..Self::new(clock, options) }
    }

    fn source(&mut self) -> Result<Source, Cow<'static, str>> {
        self.source.get_or_insert_with(Source::find).clone()
    }

    /// Asks; in a watcher, waits at most `patience` for the host's next call. `None`: there was none.
    fn ask(&mut self, source: Source, patience: Duration) -> Option<Asked> {
        let (counts, stall) = if self.watching.is_some() {
            let (counts, cost) = self.ask_host(patience)?;
            self.pace.took(self.clock.now().boot_nanos, cost);
            (counts, cost)
        } else {
            let started = Instants::now(&*self.clock);
            let counts = source.ask();
            let (ended, cost) = started.cost(&*self.clock);
            self.pace.took(ended.boot_nanos, cost);
            (counts, started.wall(&ended))
        };
        self.live = Some(counts.live);
        let Counts { live, free, mapped } = counts;
        let mut gauges = Vec::with_capacity(4);
        gauges.push(Gauge::bytes(names::MALLOC_LIVE, live));
        gauges.push(Gauge::bytes(names::MALLOC_FREE, free));
        // What trimming gives back cannot be more; pages that are partly used stay.
        if matches!(source, Source::Wide(_)) {
            gauges.push(Gauge::bytes(names::MALLOC_TRIMMABLE, free));
        }
        gauges.extend(mapped.map(|bytes| Gauge::bytes(names::MALLOC_MAPPED, bytes)));
        Some(Asked { gauges, stall })
    }

    /// The host's answer: the last one if it holds, or a new one.
    fn ask_host(&mut self, patience: Duration) -> Option<(Counts, Duration)> {
        if let Some(last) = hook::ready().filter(|last| last.holds) {
            // What it cost was counted when it was given.
            let cost = if last.number == self.seen { Duration::ZERO } else { last.cost };
            self.seen = last.number;
            return Some((last.counts, cost));
        }
        let before = hook::ready().map_or(0, |last| last.number);
        let began = Instant::now();
        let mut lanes = self.watching.as_ref().filter(|_| !patience.is_zero());
        loop {
            hook::ask();
            std::thread::sleep(POLL);
            if let Some(answer) = hook::ready().filter(|answer| answer.number > before) {
                self.seen = answer.number;
                return Some((answer.counts, answer.cost));
            }
            // A host that is idle may not call for long.
            if let Some(watching) = lanes.take() {
                (watching.answer)();
                continue;
            }
            if began.elapsed() >= patience {
                return None;
            }
        }
    }

    /// Why malloc's numbers are not there, in a watcher.
    fn unanswered(&self) -> String {
        if !hook::host_is_asked_by_page() {
            return "malloc not asked: with pages larger than 4 KiB a watcher cannot ask".to_owned();
        }
        match hook::ready() {
            Some(last) => format!(
                "malloc not asked this tick: the process did not call it since; it held {} bytes at its last answer",
                last.counts.live
            ),
            None => "malloc not asked yet: the process did not call it since".to_owned(),
        }
    }
}

#[async_trait]
impl Probe for NativeProbe {
    fn name(&self) -> Cow<'static, str> {
        "native".into()
    }

    fn layer(&self) -> Layer {
        Layer::Native
    }

    async fn attach(&mut self) -> Result<Attachment, ProbeError> {
        self.hooked.begin(&self.options, self.watching.as_ref());
        Ok(match self.source() {
            Ok(source) => {
                Attachment::Attached(RuntimeInfo { name: source.name().to_owned(), source_roots: Vec::new() })
            }
            // Whose numbers cannot be had may still be hooked.
            Err(_) if self.hooked.is_sampling() => {
                let name = Kind::of_host().name().to_owned();
                Attachment::Attached(RuntimeInfo { name, source_roots: Vec::new() })
            }
            Err(reason) => Attachment::Absent { reason },
        })
    }

    async fn gauges(&mut self, _: &Tick) -> Result<GaugeReading, ProbeError> {
        self.live = None;
        let taken = self.clock.now();
        let asked = match self.source() {
            Ok(source) if !self.pace.is_slow() => self.ask(source, Duration::ZERO),
            _ => None,
        };
        let (gauges, stall) = asked.map_or_else(Default::default, |asked| (asked.gauges, asked.stall));
        Ok(GaugeReading { taken, gauges, stall })
    }

    async fn details(&mut self, _: &Tick) -> Result<Details, ProbeError> {
        let mut details = Details::default();
        match self.source() {
            Err(reason) => details.notes.push(format!("malloc not asked: {reason}")),
            Ok(source) => {
                details.notes.extend(source.caveat().map(str::to_owned));
                if self.live.is_none() {
                    match self.pace.due(self.clock.now().boot_nanos) {
                        Ok(()) => match self.ask(source, PATIENCE) {
                            Some(asked) => {
                                details.gauges = asked.gauges;
                                details.longest_stall = asked.stall;
                            }
                            None => details.notes.push(self.unanswered()),
                        },
                        Err(took) => details.notes.push(format!(
                            "malloc not asked this tick: the last answer took {took:.1?} under its lock"
                        )),
                    }
                }
            }
        }
        let sampled = self.hooked.read(&mut details);
        details.notes.extend(self.gains.note(self.live, sampled));
        Ok(details)
    }

    async fn detach(&mut self) {
        self.hooked.end();
    }
}
