//! Follows a session and judges after each snapshot.
//!
//! A series is judged by `judge`. What grew by less than a floor is nothing: 64 KiB for a layer (1 MiB for the JVM), and what
//! it may grow by because others do (see `layers`); 4 KiB for a site, and a hundredth of its layer's growth. The first
//! reading, taken while the host or the runtime starts, counts only as long as there are few others; the one that a
//! reset of the baseline takes does count. How often noise passes for a leak: `cargo xtask bench verdict`.
//!
//! Bounded: 144 points for each layer (neighbours become their mean when there are more), sites as in `sites`, 40 sites of each
//! leaking layer judged, 20 told of.
//!
//! A reading that lacks an input which the series has (a late probe, a figure that was not asked for this time) is
//! skipped. A new input (a runtime that was found) begins the series anew, and so does one that stays away.

use std::collections::BTreeMap;

use super::fragmentation::FragmentationWatch;
use super::judge::{Bar, Judged, judge, span};
use super::layers::{Level, Memory, levels};
use super::reached::Reached;
use super::series::Series;
use super::shapes::comes_and_goes;
use super::sites::{SiteSeries, SiteTracks};
use super::slope::{Point, rate, slope};
use super::sources::Sources;
use super::{Evidence, Kind, Rate, Subject, Verdict};
use crate::model::{Layer, ProfileSource, Site, Snapshot, names};

const MAX_POINTS: usize = 144;
const JUDGED_SITES: usize = 40;
const TOLD_SITES: usize = 20;
/// After so many readings without one of its inputs, a series begins anew without it.
const PATIENCE: u32 = 32;

/// A layer that grew by less than this is called steady, whatever its slope: runtimes breathe.
const LAYER_FLOOR_BYTES: f64 = 64.0 * 1024.0;
/// A Java heap is counted in regions of a megabyte or more, and a JVM that is warming up keeps some for good.
const JAVA_FLOOR_BYTES: f64 = 1024.0 * 1024.0;
/// What comes and goes of a Java heap is nothing up to this share of its maximum.
const SMALL_PART: f64 = 0.05;
const SITE_FLOOR_BYTES: f64 = 4.0 * 1024.0;
/// A layer's noise is usually about this share of what it holds (a megabyte in some hundreds); what a series itself shows of its
/// noise soon weighs more.
const USUAL_NOISE: f64 = 0.0035;
/// A site that explains less than this of its layer's growth is not worth a line.
const WORTH_NAMING: f64 = 0.01;
/// Mappings that make up so much of what no layer explains are to blame for it.
const MOST_OF_IT: f64 = 0.5;
/// The class whose methods allocate direct buffers.
const DIRECT_BUFFER: &str = "java.nio.DirectByteBuffer";
/// A reading that follows the first one by less of an interval belongs to the start.
const EARLY: f64 = 0.5;
/// With more points after the start, the start is no longer asked.
const FEW_AFTER_START: usize = 5;
/// Sites are judged only below a layer that leaks: they need not be as sure as that.
const SITE_ALLOWED: f64 = 5e-3;

/// Follows a session and says after each snapshot what leaks. Memory and time per snapshot are bounded.
#[derive(Debug)]
pub struct VerdictEngine {
    baseline: Option<u64>,
    layers: BTreeMap<Layer, LayerTrack>,
    sites: Sources,
    resident: Series,
    java_heap: Series,
    /// The Java heap's use at every reading, garbage and all.
    java_used: Series,
    java_direct: Series,
    /// Its collector has a young generation: most of what it uses comes and goes all the time.
    is_generational: bool,
    java_reached: Reached,
    /// Collections of its old generation: when they were first counted, and now.
    old_collections: Option<(f64, f64)>,
    fragmentation: FragmentationWatch,
    heap_max: Option<f64>,
    /// What the machine had left at the last reading that told.
    machine_left: Option<f64>,
    memory: Memory,
}

impl Default for VerdictEngine {
    fn default() -> Self {
        Self {
            baseline: None,
            layers: BTreeMap::new(),
            sites: Sources::default(),
            resident: Series::new(MAX_POINTS),
            java_heap: Series::new(MAX_POINTS),
            java_used: Series::new(MAX_POINTS),
            java_direct: Series::new(MAX_POINTS),
            is_generational: false,
            java_reached: Reached::new(MAX_POINTS),
            old_collections: None,
            fragmentation: FragmentationWatch::default(),
            heap_max: None,
            machine_left: None,
            memory: Memory::default(),
        }
    }
}

impl VerdictEngine {
    /// One that follows sites in at most about so many bytes.
    pub fn within(bytes: u64) -> Self {
        Self { sites: Sources::within(bytes), ..Self::default() }
    }

    /// Takes the next snapshot and gives the verdicts, the worst first: leaking layers by their rate, each followed by
    /// its leaking sites, then the other layers. `limit` is the bytes that the host may use before it is killed.
    pub fn push(&mut self, snapshot: &Snapshot, limit: Option<u64>) -> Vec<Verdict> {
        let is_reset =
            self.baseline.replace(snapshot.baseline).is_some_and(|before| before != snapshot.baseline);
        if is_reset {
            self.begin_anew();
        }
        self.take(snapshot, is_reset);
        self.layers.values_mut().for_each(LayerTrack::look);
        self.verdicts(limit)
    }

    /// Forgets all points, and keeps in mind what was there: it has started long ago.
    fn begin_anew(&mut self) {
        for track in self.layers.values_mut() {
            track.series = Series::new(MAX_POINTS);
            track.allowance = Series::new(MAX_POINTS);
            track.start = None;
            track.warm = true;
            track.judged = Judged::UNSURE;
        }
        self.sites.clear();
        self.resident = Series::new(MAX_POINTS);
        self.java_heap = Series::new(MAX_POINTS);
        self.java_used = Series::new(MAX_POINTS);
        self.java_direct = Series::new(MAX_POINTS);
        self.java_reached = Reached::new(MAX_POINTS);
        self.old_collections = None;
    }

    fn take(&mut self, snapshot: &Snapshot, is_reset: bool) {
        let seconds = snapshot.tick.at.boot_nanos as f64 / 1e9;
        let is_first = self.layers.is_empty();
        self.heap_max = snapshot.gauge(names::JVM_HEAP_MAX).or(self.heap_max);
        self.machine_left = snapshot.gauge(names::MACHINE_LEFT).or(self.machine_left);
        if let Some(resident) = snapshot.gauge(names::RESIDENT).filter(|_| !is_first) {
            self.resident.push(seconds, resident);
        }
        if let Some(used) = snapshot.gauge(names::JVM_HEAP_USED) {
            self.java_used.push(seconds, used);
        }
        self.is_generational |= has_young(snapshot);
        if let Some(direct) = snapshot.gauge(names::JVM_DIRECT) {
            self.java_direct.push(seconds, direct);
        }
        self.java_reached.push(seconds, snapshot);
        if let Some(count) = snapshot.gauge(names::JVM_OLD_GC_COUNT) {
            let first = self.old_collections.map_or(count, |(first, _)| first);
            self.old_collections = Some((first, count));
        }
        self.fragmentation.push(snapshot);
        for level in levels(snapshot, &mut self.memory) {
            let track = self.layers.entry(level.layer).or_insert_with(|| LayerTrack::new(&level));
            let taken = track.push(seconds, &level, snapshot.interval.as_secs_f64());
            if level.layer != Layer::Jvm {
                continue;
            }
            if track.series.seen() <= 1 {
                self.java_heap = Series::new(MAX_POINTS);
            }
            if taken {
                self.java_heap.push(seconds, snapshot.gauge(level.gauge).unwrap_or(0.0));
            }
        }
        for reading in &snapshot.readings {
            self.sites.push(seconds, reading, is_reset);
        }
    }

    fn verdicts(&self, limit: Option<u64>) -> Vec<Verdict> {
        let mut layers: Vec<(Layer, Verdict)> = self
            .layers
            .iter()
            .map(|(layer, track)| (*layer, self.judge_layer(*layer, track, limit)))
            .collect();
        self.blame_mappings(&mut layers);
        if !layers.iter().any(|(layer, _)| matches!(layer, Layer::Python | Layer::Jvm)) {
            blame_native(&mut layers);
        }
        // The map has the layers in their own order already, and the sort is stable.
        layers.sort_by(|a, b| worst_first(&a.1).total_cmp(&worst_first(&b.1)));
        layers
            .into_iter()
            .flat_map(|(layer, mut verdict)| {
                let rate = verdict.rate.filter(|_| verdict.kind.leaks());
                let sites = rate.map_or(Vec::new(), |rate| self.sites_of(layer, rate));
                verdict.evidence.explained = rate.map(|_| explained(&sites));
                std::iter::once(verdict).chain(sites)
            })
            .collect()
    }

    fn judge_layer(&self, layer: Layer, track: &LayerTrack, limit: Option<u64>) -> Verdict {
        let (judged, floor) = (track.judged.clone(), track.floor());
        let is_uncollected =
            layer == Layer::Jvm && self.old_collections.is_some_and(|(first, now)| first == now);
        let live = || self.java_reached.judge(&judged, floor, USUAL_NOISE * track.size);
        let live = if is_uncollected { live() } else { None };
        let uncollected = is_uncollected && live.is_none();
        let judged = live.unwrap_or(judged);
        Verdict {
            subject: Subject::Layer(layer),
            gauge: track.gauge.to_owned(),
            kind: self.kind_of(layer, judged.kind),
            rate: judged.rate,
            points: track.series.seen(),
            share: None,
            seconds_to_limit: if judged.kind.leaks() { self.time_to_limit(layer, limit) } else { None },
            evidence: Evidence { uncollected, ..judged.evidence() },
        }
    }

    /// What the layer's own series does not show: free memory that grows beside malloc's live bytes, and garbage that comes and
    /// goes above what collections leave.
    fn kind_of(&self, layer: Layer, kind: Kind) -> Kind {
        if !matches!(kind, Kind::Quiet | Kind::Plateau | Kind::OneOff) {
            return kind;
        }
        match layer {
            Layer::Native if self.fragmentation.mark().is_some() => Kind::Fragmentation,
            Layer::Jvm if kind != Kind::Plateau && self.garbage_comes_and_goes() => Kind::Sawtooth,
            _ => kind,
        }
    }

    /// Garbage fills the whole heap and goes again. A young generation does so all the time, which is nothing to speak of: there it
    /// counts what collections leave.
    fn garbage_comes_and_goes(&self) -> bool {
        if !self.is_generational {
            let floor = (SMALL_PART * self.heap_max.unwrap_or(0.0)).max(JAVA_FLOOR_BYTES);
            return comes_and_goes(&self.java_used.points(), floor);
        }
        let left = self.java_heap.points();
        let mean = left.iter().map(|point| point.1).sum::<f64>() / left.len().max(1) as f64;
        comes_and_goes(&left, (MOST_OF_IT * mean).max(JAVA_FLOOR_BYTES))
    }

    /// Whatever ends first: the host's limit, which the resident size runs into, what the machine has left, or for the JVM its
    /// maximal heap.
    fn time_to_limit(&self, layer: Layer, limit: Option<u64>) -> Option<(f64, f64, f64)> {
        let below = |limit: Option<f64>, series: &Series| Some(limit? - series.last()?);
        let limit = below(limit.map(|bytes| bytes as f64), &self.resident);
        let room = [limit, self.machine_left].into_iter().flatten().reduce(f64::min);
        let host = time_for(room, &self.resident);
        let heap_room = below(self.heap_max, &self.java_heap).filter(|_| layer == Layer::Jvm);
        let heap = time_for(heap_room, &self.java_heap);
        [host, heap].into_iter().flatten().min_by(|one, other| one.0.total_cmp(&other.0))
    }

    /// Growth that no layer explains is native's where call paths of mappings make up most of it.
    fn blame_mappings(&self, layers: &mut [(Layer, Verdict)]) {
        let position = |wanted| layers.iter().position(|(layer, _)| *layer == wanted);
        let (Some(native), Some(process)) = (position(Layer::Native), position(Layer::Process)) else {
            return;
        };
        let whole = layers[process].1.rate.filter(|_| layers[process].1.kind.leaks());
        let Some(rate) = whole.filter(|_| !layers[native].1.kind.leaks()) else { return };
        let is_mapped = |tracks: &SiteTracks| tracks.source().name == ProfileSource::MAPPED;
        let sites = self.judge_sites(Layer::Native, rate, is_mapped, |_| true);
        let explained = explained(&sites);
        if explained < MOST_OF_IT {
            return;
        }
        let told = layers[process].1.clone();
        layers[native].1 = Verdict {
            subject: Subject::Layer(Layer::Native),
            gauge: names::NATIVE_MAPPED.to_owned(),
            ..told
        };
        take_off(&mut layers[process].1, explained * rate.bytes_per_second);
    }

    /// A leaking layer's sites. Where a JVM leaks direct buffers, these are call paths of malloc, which their memory is from.
    fn sites_of(&self, layer: Layer, rate: Rate) -> Vec<Verdict> {
        let own = self.judge_sites(layer, rate, |_| true, |_| true);
        let direct = slope(&self.java_direct.points()).unwrap_or(0.0);
        if layer != Layer::Jvm || direct < MOST_OF_IT * rate.bytes_per_second {
            return own;
        }
        let lent = self.judge_sites(Layer::Native, rate, |_| true, is_direct).into_iter().map(|verdict| {
            let Subject::Site(_, site) = verdict.subject else { return verdict };
            Verdict { subject: Subject::Site(layer, site), ..verdict }
        });
        lent.chain(own).take(TOLD_SITES).collect()
    }

    /// The leaking sites of the sources, and of those sites, that are `meant`.
    fn judge_sites(
        &self,
        layer: Layer,
        whole: Rate,
        meant: impl Fn(&SiteTracks) -> bool,
        is_meant: impl Fn(&Site) -> bool,
    ) -> Vec<Verdict> {
        let judge_site = |SiteSeries { site, points, error }: SiteSeries| {
            let judged = judge(
                &points,
                Bar { floor: SITE_FLOOR_BYTES, allowed: SITE_ALLOWED, usual: 0.0, is_first: false },
            );
            let (kind, evidence) = (judged.kind, judged.evidence());
            // Samples that a point shares with the one before err alike: what that adds is not seen beside the line.
            let rate = judged.rate.map(|rate| rate.with_error(error / span(&points).max(f64::MIN_POSITIVE)));
            let share = (rate?.bytes_per_second / whole.bytes_per_second).clamp(0.0, 1.0);
            (kind.leaks() && rate?.low > 0.0 && share >= WORTH_NAMING).then(|| Verdict {
                subject: Subject::Site(layer, site),
                gauge: String::new(),
                kind,
                rate,
                points: u32::try_from(points.len()).unwrap_or(u32::MAX),
                share: Some(share),
                seconds_to_limit: None,
                evidence,
            })
        };
        let judge_source = |tracks: &SiteTracks| {
            let grown = if meant(tracks) { tracks.most_grown(JUDGED_SITES) } else { Vec::new() };
            grown.into_iter().filter(|series| is_meant(&series.site)).filter_map(judge_site).collect()
        };
        let explained = |verdict: &Verdict| verdict.share.unwrap_or(0.0);
        let mut verdicts: Vec<Verdict> = self.sites.best(layer, judge_source, explained);
        verdicts.sort_by(|a, b| worst_first(a).total_cmp(&worst_first(b)).then(site_id(a).cmp(&site_id(b))));
        verdicts.truncate(TOLD_SITES);
        verdicts
    }
}

/// The share of their layer's growth that `sites` make up together.
fn explained(sites: &[Verdict]) -> f64 {
    // Not `sum`, which is -0 where there is none.
    sites.iter().filter_map(|site| site.share).fold(0.0, |sum, share| sum + share).min(1.0)
}

/// Whether the Java heap has a young generation, by the names of its parts (`PS Eden Space`, `ZGC Young Generation`).
fn has_young(snapshot: &Snapshot) -> bool {
    let gauges = snapshot.readings.iter().flat_map(|reading| &reading.gauges);
    let mut parts = gauges.filter_map(|gauge| gauge.name.strip_prefix(names::JVM_POOL_AFTER_GC_PREFIX));
    parts.any(|part| part.contains("eden") || part.contains("young"))
}

/// Whether a direct buffer of Java's is made there.
fn is_direct(site: &Site) -> bool {
    site.frames().iter().any(|frame| frame.function.starts_with(DIRECT_BUFFER))
}

/// In a program without a runtime, what no allocator explains is native code's all the same: stacks and libraries, which the C
/// library maps without asking anybody.
fn blame_native(layers: &mut [(Layer, Verdict)]) {
    let position = |wanted| layers.iter().position(|(layer, _)| *layer == wanted);
    let (Some(native), Some(process)) = (position(Layer::Native), position(Layer::Process)) else { return };
    let Some(rate) = layers[process].1.rate.filter(|_| layers[process].1.kind.leaks()) else { return };
    let own = &layers[native].1;
    let whole = match own.rate.filter(|_| own.kind.leaks()) {
        Some(own) => rate.plus(own),
        None => rate,
    };
    let told = if own.kind.leaks() { own.clone() } else { layers[process].1.clone() };
    layers[native].1 = Verdict { subject: Subject::Layer(Layer::Native), rate: Some(whole), ..told };
    take_off(&mut layers[process].1, rate.bytes_per_second);
}

/// The rest, when another layer is to blame for `bytes_per_second` of what this one was.
fn take_off(verdict: &mut Verdict, bytes_per_second: f64) {
    verdict.kind = Kind::Quiet;
    verdict.seconds_to_limit = None;
    verdict.rate = verdict.rate.map(|rate| Rate {
        bytes_per_second: rate.bytes_per_second - bytes_per_second,
        low: rate.low - bytes_per_second,
        high: rate.high - bytes_per_second,
    });
}

/// Slope times time: unlike last minus first, one odd reading at an end does not move it.
fn growth(points: &[Point]) -> f64 {
    slope(points).unwrap_or(0.0) * span(points)
}

/// Seconds until `series` has grown by `room` at its own rate: the estimate, the soonest, the latest. `None` where it does
/// not surely rise.
fn time_for(room: Option<f64>, series: &Series) -> Option<(f64, f64, f64)> {
    let room = room?.max(0.0);
    let rate = rate(&series.points())?;
    (rate.low > 0.0).then(|| (room / rate.bytes_per_second, room / rate.high, room / rate.low))
}

/// Sorts leaking before the rest, and faster before slower.
fn worst_first(verdict: &Verdict) -> f64 {
    let speed = verdict.rate.map_or(0.0, |rate| rate.bytes_per_second);
    if verdict.kind.leaks() { -speed } else { 1.0 }
}

fn site_id(verdict: &Verdict) -> u64 {
    match &verdict.subject {
        Subject::Site(_, site) => site.id().0,
        Subject::Layer(_) => 0,
    }
}

/// The series of one layer.
#[derive(Debug)]
struct LayerTrack {
    layer: Layer,
    gauge: &'static str,
    inputs: u16,
    /// The first reading is over.
    warm: bool,
    /// Readings in a row that lacked an input.
    skipped: u32,
    /// The first reading, which does not count as a point.
    start: Option<Point>,
    series: Series,
    allowance: Series,
    /// What it holds now, bytes.
    size: f64,
    /// What the latest look said.
    judged: Judged,
}

impl LayerTrack {
    fn new(level: &Level) -> Self {
        Self {
            layer: level.layer,
            size: 0.0,
            judged: Judged::UNSURE,
            gauge: level.gauge,
            inputs: level.inputs,
            warm: false,
            skipped: 0,
            start: None,
            series: Series::new(MAX_POINTS),
            allowance: Series::new(MAX_POINTS),
        }
    }

    /// Growth of less is nothing, bytes.
    fn floor(&self) -> f64 {
        let own = if self.layer == Layer::Jvm { JAVA_FLOOR_BYTES } else { LAYER_FLOOR_BYTES };
        own + growth(&self.allowance.points()).max(0.0)
    }

    /// Judges what is there now. A leak that was told stays one until the readings speak against it, and not only for it a
    /// little less: that costs no false alarm more, and words that change with each reading help nobody.
    fn look(&mut self) {
        let looks = self.series.seen().saturating_add(u32::from(self.start.is_some()));
        let bar = Bar::at(looks, self.floor(), USUAL_NOISE * self.size);
        let judged = self.judge(bar);
        let is_lost = self.judged.kind.leaks() && !judged.kind.leaks();
        self.judged = if is_lost { self.judge(bar.once_told()) } else { judged };
    }

    fn judge(&self, bar: Bar) -> Judged {
        let points = self.series.points();
        // A straight rise from the very start on needs no reading more.
        if let Some(start) = self.start.filter(|_| points.len() <= FEW_AFTER_START) {
            let all: Vec<Point> = std::iter::once(start).chain(points.iter().copied()).collect();
            let judged = judge(&all, bar);
            if judged.kind.leaks() {
                return judged;
            }
        }
        judge(&points, bar)
    }

    /// Whether the reading became a point.
    fn push(&mut self, seconds: f64, level: &Level, interval: f64) -> bool {
        let lacks = self.inputs & !level.inputs != 0;
        if lacks && self.skipped < PATIENCE {
            self.skipped += 1;
            return false;
        }
        if level.inputs != self.inputs {
            *self = Self::new(level);
        }
        self.skipped = 0;
        let Some(bytes) = level.bytes else { return false };
        if !std::mem::replace(&mut self.warm, true) {
            self.start = Some((seconds, bytes));
            return false;
        }
        // The first tick may come at once after the first reading: the host starts still.
        let is_early = self.start.is_some_and(|start| seconds - start.0 < EARLY * interval);
        if is_early && self.series.seen() == 0 {
            return false;
        }
        self.size = level.size;
        self.series.push(seconds, bytes);
        self.allowance.push(seconds, level.allowance);
        true
    }
}

#[cfg(test)]
mod tests;
