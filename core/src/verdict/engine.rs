//! Follows a session and judges after each snapshot.
//!
//! Bounded: 96 points a series (then every second one is dropped, and from then on only every second one is kept), the
//! 500 most grown sites of each layer, 20 sites of each layer judged.

use std::collections::HashMap;
use std::sync::Arc;

use super::layers::{Level, levels};
use super::slope::{Point, rate, slope};
use super::{Kind, Rate, Subject, Verdict};
use crate::model::{Layer, Profile, Site, SiteId, Snapshot, names};

const MAX_POINTS: usize = 96;
const MAX_SITES: usize = 500;
const JUDGED_SITES: usize = 20;

/// A layer that grew by less than this is called steady, whatever its slope: runtimes breathe.
const LAYER_FLOOR_BYTES: f64 = 64.0 * 1024.0;
const SITE_FLOOR_BYTES: f64 = 4.0 * 1024.0;
/// Allocators round up and keep headers: of what other layers gained, this share appears where nobody counts it.
const OVERHEAD_OF_OTHERS: f64 = 0.15;
/// A site that explains less than this of its layer's growth is not worth a line.
const WORTH_NAMING: f64 = 0.01;
/// Growth that has slowed to less than this share of its whole rate in the later half is a warm-up that levels off.
const STILL_GROWING: f64 = 0.25;

/// Follows a session and says after each snapshot what leaks. Memory and time per snapshot are bounded.
#[derive(Debug, Default)]
pub struct VerdictEngine {
    baseline: Option<u64>,
    layers: HashMap<Layer, LayerTrack>,
    sites: HashMap<Layer, SiteTracks>,
    resident: Series,
    last_gc: Option<f64>,
    heap_max: Option<f64>,
}

impl VerdictEngine {
    /// Takes the next snapshot and gives the verdicts, the worst first: leaking layers by their rate, each followed by
    /// its leaking sites, then the other layers. `limit` is the bytes that the host may use before it is killed.
    ///
    /// The very first snapshot is taken while the host starts and counts for nothing.
    pub fn push(&mut self, snapshot: &Snapshot, limit: Option<u64>) -> Vec<Verdict> {
        if self.baseline.replace(snapshot.baseline).is_some_and(|before| before != snapshot.baseline) {
            *self = Self { baseline: self.baseline, ..Self::default() };
        }
        if snapshot.number > 0 {
            self.take(snapshot);
        }
        self.verdicts(limit)
    }

    fn take(&mut self, snapshot: &Snapshot) {
        let seconds = snapshot.tick.at.boot_nanos as f64 / 1e9;
        self.heap_max = snapshot.gauge(names::JVM_HEAP_MAX).or(self.heap_max);
        if let Some(resident) = snapshot.gauge(names::RESIDENT) {
            self.resident.push((seconds, resident));
        }
        for level in levels(snapshot, self.last_gc) {
            let is_jvm_point = level.layer == Layer::Jvm && level.bytes.is_some();
            self.layers.entry(level.layer).or_default().push(seconds, level);
            if is_jvm_point {
                self.last_gc = snapshot.gauge(names::JVM_GC_COUNT);
            }
        }
        for reading in &snapshot.readings {
            if let Some(profile) = &reading.profile {
                self.sites.entry(reading.layer).or_default().push(seconds, profile);
            }
        }
    }

    fn verdicts(&self, limit: Option<u64>) -> Vec<Verdict> {
        let mut layers: Vec<Verdict> =
            self.layers.iter().map(|(layer, track)| self.judge_layer(*layer, track, limit)).collect();
        layers.sort_by(|a, b| worst_first(a).total_cmp(&worst_first(b)).then(layer_of(a).cmp(&layer_of(b))));
        layers
            .into_iter()
            .flat_map(|verdict| {
                let sites = match verdict.kind {
                    Kind::Leaking => self.judge_sites(layer_of(&verdict)),
                    _ => Vec::new(),
                };
                std::iter::once(verdict).chain(sites)
            })
            .collect()
    }

    fn judge_layer(&self, layer: Layer, track: &LayerTrack, limit: Option<u64>) -> Verdict {
        let floor = LAYER_FLOOR_BYTES + OVERHEAD_OF_OTHERS * track.beside.growth().max(0.0);
        let (kind, rate) = match judge(&track.series.points(), floor) {
            (Kind::Leaking, rate) if !track.conclusive => (Kind::NotEnoughData, rate),
            judged => judged,
        };
        let seconds_to_limit = match layer {
            Layer::Jvm if kind == Kind::Leaking => time_to(self.heap_max, track.series.last(), rate),
            Layer::Process => self.time_to_limit(limit),
            _ => None,
        };
        Verdict {
            subject: Subject::Layer(layer),
            gauge: track.source.clone(),
            kind,
            rate,
            points: track.series.len(),
            share: None,
            seconds_to_limit,
        }
    }

    fn time_to_limit(&self, limit: Option<u64>) -> Option<(f64, f64, f64)> {
        match judge(&self.resident.points(), LAYER_FLOOR_BYTES) {
            (Kind::Leaking, rate) => time_to(limit.map(|bytes| bytes as f64), self.resident.last(), rate),
            _ => None,
        }
    }

    fn judge_sites(&self, layer: Layer) -> Vec<Verdict> {
        let (Some(tracks), Some(whole)) = (self.sites.get(&layer), self.layers.get(&layer)) else {
            return Vec::new();
        };
        let layer_growth = whole.series.growth();
        let mut verdicts: Vec<Verdict> = tracks
            .most_grown(JUDGED_SITES)
            .map(|(site, points)| {
                let (kind, rate) = judge(&points, SITE_FLOOR_BYTES);
                let share = (layer_growth > 0.0).then(|| (growth_of(&points) / layer_growth).clamp(0.0, 1.0));
                Verdict {
                    subject: Subject::Site(layer, Arc::clone(site)),
                    gauge: String::new(),
                    kind,
                    rate,
                    points: u32::try_from(points.len()).unwrap_or(u32::MAX),
                    share,
                    seconds_to_limit: None,
                }
            })
            .filter(|verdict| {
                verdict.kind == Kind::Leaking && verdict.share.is_none_or(|share| share >= WORTH_NAMING)
            })
            .collect();
        verdicts.sort_by(|a, b| worst_first(a).total_cmp(&worst_first(b)));
        verdicts
    }
}

/// What a series looks like, when growth of less than `floor` bytes is nothing.
fn judge(points: &[Point], floor: f64) -> (Kind, Option<Rate>) {
    let Some(rate) = rate(points) else { return (Kind::NotEnoughData, None) };
    let span = points.last().zip(points.first()).map_or(0.0, |(last, first)| last.0 - first.0);
    let beyond_noise = rate.bytes_per_second.abs() * span > floor;
    let later_half = slope(&points[points.len() / 2..]).unwrap_or(0.0);
    let kind = if rate.low > 0.0 && beyond_noise && later_half > STILL_GROWING * rate.bytes_per_second {
        Kind::Leaking
    } else if rate.high < 0.0 && beyond_noise {
        Kind::Shrinking
    } else {
        Kind::Steady
    };
    (kind, Some(rate))
}

/// Seconds from `now` to `limit` at `rate`: the estimate, the soonest, the latest.
fn time_to(limit: Option<f64>, now: Option<f64>, rate: Option<Rate>) -> Option<(f64, f64, f64)> {
    let (room, rate) = ((limit? - now?).max(0.0), rate?);
    (rate.low > 0.0).then(|| (room / rate.bytes_per_second, room / rate.high, room / rate.low))
}

/// Sorts leaking before the rest, and faster before slower.
fn worst_first(verdict: &Verdict) -> f64 {
    let speed = verdict.rate.map_or(0.0, |rate| rate.bytes_per_second);
    if verdict.kind == Kind::Leaking { -speed } else { 1.0 }
}

fn layer_of(verdict: &Verdict) -> Layer {
    match &verdict.subject {
        Subject::Layer(layer) | Subject::Site(layer, _) => *layer,
    }
}

fn growth_of(points: &[Point]) -> f64 {
    points.last().zip(points.first()).map_or(0.0, |(last, first)| last.1 - first.1)
}

/// The series of one layer.
#[derive(Debug, Default)]
struct LayerTrack {
    source: String,
    conclusive: bool,
    series: Series,
    beside: Series,
}

impl LayerTrack {
    fn push(&mut self, seconds: f64, level: Level) {
        if self.source != level.source {
            *self = Self { source: level.source.into_owned(), ..Self::default() };
        }
        self.conclusive = level.conclusive;
        if let Some(bytes) = level.bytes {
            self.series.push((seconds, bytes));
            self.beside.push((seconds, level.beside));
        }
    }
}

/// Points of one number, thinned evenly when there are too many. The newest is always there.
#[derive(Debug, Default)]
struct Series {
    kept: Vec<Point>,
    newest: Option<Point>,
    /// Only each `1 << thinned`th point is kept.
    thinned: u32,
    seen: u64,
}

impl Series {
    fn push(&mut self, point: Point) {
        if self.seen.is_multiple_of(1 << self.thinned) {
            if self.kept.len() == MAX_POINTS {
                thin(&mut self.kept);
                self.thinned += 1;
            }
            if self.seen.is_multiple_of(1 << self.thinned) {
                self.kept.push(point);
            }
        }
        self.seen += 1;
        self.newest = Some(point);
    }

    fn points(&self) -> Vec<Point> {
        let newest = self.newest.filter(|newest| self.kept.last() != Some(newest));
        self.kept.iter().copied().chain(newest).collect()
    }

    fn growth(&self) -> f64 {
        growth_of(&self.points())
    }

    fn last(&self) -> Option<f64> {
        self.newest.map(|point| point.1)
    }

    fn len(&self) -> u32 {
        u32::try_from(self.seen).unwrap_or(u32::MAX)
    }
}

/// Drops every second element.
fn thin<T>(values: &mut Vec<T>) {
    let mut index = 0;
    values.retain(|_| {
        index += 1;
        index % 2 == 1
    });
}

/// The series of one layer's sites, all at the same instants. Before it was seen, a site held nothing.
#[derive(Debug, Default)]
struct SiteTracks {
    seconds: Vec<f64>,
    sites: HashMap<SiteId, (Arc<Site>, Vec<f64>)>,
}

impl SiteTracks {
    fn push(&mut self, seconds: f64, profile: &Profile) {
        if self.seconds.len() == MAX_POINTS {
            thin(&mut self.seconds);
            self.sites.values_mut().for_each(|(_, values)| thin(values));
        }
        let before = self.seconds.len();
        self.seconds.push(seconds);
        for stat in profile.sites() {
            let bytes = stat.live.bytes as f64;
            match self.sites.get_mut(&stat.site.id()) {
                Some((_, values)) => values.push(bytes),
                None if bytes >= SITE_FLOOR_BYTES => {
                    let mut values = vec![0.0; before];
                    values.push(bytes);
                    self.sites.insert(stat.site.id(), (Arc::clone(&stat.site), values));
                }
                None => {}
            }
        }
        // A site that is not in the profile holds nothing now.
        self.sites.values_mut().for_each(|(_, values)| values.resize(before + 1, 0.0));
        self.forget_the_least_grown();
    }

    fn forget_the_least_grown(&mut self) {
        if self.sites.len() > MAX_SITES {
            let kept: Vec<SiteId> = self.by_growth().into_iter().take(MAX_SITES).collect();
            self.sites.retain(|id, _| kept.contains(id));
        }
    }

    fn by_growth(&self) -> Vec<SiteId> {
        let growth =
            |values: &[f64]| values.last().zip(values.first()).map_or(0.0, |(last, first)| last - first);
        let mut order: Vec<(f64, SiteId)> =
            self.sites.iter().map(|(id, (_, values))| (growth(values), *id)).collect();
        order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        order.into_iter().map(|(_, id)| id).collect()
    }

    fn most_grown(&self, count: usize) -> impl Iterator<Item = (&Arc<Site>, Vec<Point>)> {
        self.by_growth().into_iter().take(count).filter_map(|id| {
            let (site, values) = self.sites.get(&id)?;
            Some((site, self.seconds.iter().copied().zip(values.iter().copied()).collect()))
        })
    }
}

#[cfg(test)]
mod tests;
