//! What each part of the ledger does over a session: its kind, and how fast it grows.
//! Pure: no clock, no I/O. Bounded: a part has 64 points, and a ledger names its parts from a list.
//!
//! A part's verdict is about bytes that are resident, and never says whose fault they are: that is the layers' to say.
//! What grows free inside an allocator or a heap is fragmentation here; and a Java heap, whose used part is garbage as
//! likely as not, is what its layer is.
//!
//! Some parts are what their owner says at each tick. The others are as old as the memory map is, and have points only
//! where it was read at that tick. A ledger that lacks a figure which those before had (a late probe) is skipped; a new
//! figure (a runtime that was found) begins all series anew, and so does one that stays away, because parts take from each
//! other.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::judge::{Bar, Judged, judge};
use super::layers::is_fresh;
use super::series::Timeline;
use super::slope::{MIN_POINTS, Point, rate};
use super::{Evidence, Kind, Rate, Subject, Verdict};
use crate::ledger::Ledger;
use crate::model::{Layer, Snapshot, names};

const MAX_POINTS: usize = 64;
/// After so many ledgers without one of its figures, all begin anew without it.
const PATIENCE: u32 = 32;
/// A ledger that follows the first one by less of an interval belongs to the start.
const EARLY: f64 = 0.5;
/// As for layers: growth by less is nothing.
const FLOOR_BYTES: f64 = 64.0 * 1024.0;
/// The chance of a false alarm of one part. A ledger has some twenty, and is looked at when somebody asks.
const ALLOWED: f64 = 4e-5;
/// As for layers: the noise of a part is usually about this share of it.
const USUAL_NOISE: f64 = 0.0025;

/// Parts that are what their owner says at each tick, whatever the memory map's age.
const TOLD: [&str; 15] = [
    RESIDENT,
    "files (code, data)",
    "files and shared memory",
    "shared memory",
    "python objects",
    "python arenas used",
    "python large objects",
    "python tracer",
    "jvm heap used",
    "jvm metaspace",
    "jvm non-heap",
    "jvm direct buffers",
    "malloc in use",
    "other malloc",
    "malloc free",
];
/// The figures that parts are made of.
const FIGURES: [&str; 12] = [
    names::ANONYMOUS,
    names::MAP_UNNAMED,
    names::MALLOC_LIVE,
    names::PYTHON_TRACED,
    names::PYTHON_TRACED_SMALL,
    names::PYTHON_LARGE,
    names::PYTHON_ARENAS,
    names::PYTHON_ARENAS_USED,
    names::JVM_HEAP_USED,
    names::JVM_HEAP_COMMITTED,
    names::JVM_NON_HEAP_USED,
    names::JVM_METASPACE_COMMITTED,
];

/// What a part of the resident size does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartVerdict {
    /// Its name in the ledger.
    pub part: String,
    /// What its bytes do. That it grows is a leak of somebody's, or of nobody's.
    pub kind: Kind,
    /// How fast; `None` where there is not enough data.
    pub rate: Option<Rate>,
    /// How many ledgers it rests on.
    pub points: u32,
    /// What `kind` rests on.
    pub evidence: Evidence,
}

impl PartVerdict {
    /// How fast it grows, where that is sure.
    pub fn growth(&self) -> Option<Rate> {
        let grows = self.kind.leaks() || self.kind == Kind::Fragmentation;
        self.rate.filter(|rate| grows && rate.low > 0.0)
    }
}

/// Follows the ledgers of a session.
#[derive(Debug)]
pub struct PartWatch {
    baseline: Option<u64>,
    figures: u16,
    skipped: u32,
    /// What owners tell at each tick, the resident size among it.
    told: Series,
    /// What only the memory map tells.
    mapped: Series,
    /// The names of all parts, in the ledger's order.
    names: Vec<Cow<'static, str>>,
}

/// Parts that are read together.
#[derive(Debug)]
struct Series {
    /// When they were read first, which is no point.
    start: Option<f64>,
    timeline: Timeline,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    name: Cow<'static, str>,
    bytes: Vec<f64>,
    now: f64,
}

/// How the resident size is called among the parts.
const RESIDENT: &str = "resident";

impl Default for PartWatch {
    fn default() -> Self {
        Self {
            baseline: None,
            figures: 0,
            skipped: 0,
            told: Series::new(),
            mapped: Series::new(),
            names: Vec::new(),
        }
    }
}

impl PartWatch {
    /// Takes the next snapshot. The first one, taken while the host starts, counts for nothing, unless it is that of a
    /// new baseline.
    pub fn push(&mut self, snapshot: &Snapshot) {
        let is_reset =
            self.baseline.replace(snapshot.baseline).is_some_and(|before| before != snapshot.baseline);
        if is_reset {
            *self = Self { baseline: self.baseline, figures: self.figures, ..Self::default() };
        }
        let Some(ledger) = Ledger::of(snapshot) else { return };
        let figures = figures(snapshot);
        let lacks = self.figures & !figures != 0;
        if lacks && self.skipped < PATIENCE {
            self.skipped += 1;
            return;
        }
        if figures != self.figures {
            *self = Self { baseline: self.baseline, figures, ..Self::default() };
        }
        self.skipped = 0;
        self.name(&ledger);
        let seconds = snapshot.tick.at.boot_nanos as f64 / 1e9;
        let early = if is_reset { 0.0 } else { EARLY * snapshot.interval.as_secs_f64() };
        let (told, mapped): (Vec<_>, Vec<_>) = ledger
            .parts
            .iter()
            .map(|part| (&part.name, part.bytes))
            .chain([(&Cow::Borrowed(RESIDENT), ledger.resident)])
            .partition(|(name, _)| TOLD.contains(&&***name));
        self.told.push(seconds, early, &told);
        if is_fresh(snapshot) {
            self.mapped.push(seconds, early, &mapped);
        }
    }

    /// A part that shows up later stands behind the one that it follows in its own ledger.
    fn name(&mut self, ledger: &Ledger) {
        let mut at = 0;
        for part in &ledger.parts {
            let known = self.names.iter().position(|name| *name == part.name);
            let place = known.unwrap_or(at);
            if known.is_none() {
                self.names.insert(place, part.name.clone());
            }
            at = place + 1;
        }
    }

    /// What each part does, in the ledger's order; `layers` are the verdicts of the same snapshots.
    pub fn verdicts(&self, layers: &[Verdict]) -> Vec<PartVerdict> {
        self.names.iter().map(|name| self.verdict(name, layers)).collect()
    }

    /// What the whole resident size does.
    pub fn resident(&self) -> PartVerdict {
        self.verdict(RESIDENT, &[])
    }

    fn verdict(&self, name: &str, layers: &[Verdict]) -> PartVerdict {
        let (judged, points) = match self.find(name) {
            Some((series, part)) => (series.judge(part), series.timeline.seen()),
            None => (Judged::UNSURE, 0),
        };
        let kind = match (name, judged.kind) {
            (_, kind) if !kind.leaks() => kind,
            (name, _) if name.ends_with(" free") => Kind::Fragmentation,
            ("jvm heap" | "jvm heap used", kind) => match heap(layers) {
                Some(heap) if !heap.leaks() => heap,
                _ => kind,
            },
            (_, kind) => kind,
        };
        PartVerdict { part: name.to_owned(), kind, rate: judged.rate, points, evidence: judged.evidence() }
    }

    /// How fast a part has grown for so many seconds, or since the beginning; `None` where that is clearly less than `least`
    /// bytes per second.
    pub(super) fn rate_for(&self, part: &str, lasting_seconds: Option<f64>, least: f64) -> Option<Rate> {
        let (series, part) = self.find(part)?;
        let mut points = series.points(part);
        if let (Some(lasting), Some(last)) = (lasting_seconds, points.last().copied()) {
            points.retain(|point| last.0 - point.0 <= lasting);
        }
        // Most parts stand still, and a look at the halves costs next to nothing.
        let (early, late) = points.split_at(points.len() / 2);
        let rough = (mean(late, |point| point.1) - mean(early, |point| point.1))
            / (mean(late, |point| point.0) - mean(early, |point| point.0));
        if rough < 0.5 * least { None } else { rate(&points) }
    }

    fn find(&self, name: &str) -> Option<(&Series, &Part)> {
        let part = |series: &'_ Series| series.parts.iter().position(|part| part.name == name);
        let series = [&self.told, &self.mapped].into_iter().find(|series| part(series).is_some())?;
        Some((series, series.parts.get(part(series)?)?))
    }
}

impl Series {
    fn new() -> Self {
        Self { start: None, timeline: Timeline::new(MAX_POINTS), parts: Vec::new() }
    }

    /// Takes the bytes of all parts; what follows the first ones by less than `early` seconds belongs to the start.
    fn push(&mut self, seconds: f64, early: f64, parts: &[(&Cow<'static, str>, f64)]) {
        let start = *self.start.get_or_insert(seconds);
        if self.timeline.seen() == 0 && seconds - start < early {
            return;
        }
        let edit = self.timeline.push(seconds);
        let (points, part_of_mean) = (self.timeline.seconds().len(), self.timeline.newest_part());
        // A part that is not there has nothing.
        self.parts.iter_mut().for_each(|part| part.now = 0.0);
        let mut fresh = Vec::new();
        for (name, bytes) in parts {
            match self.parts.iter_mut().find(|part| part.name == **name) {
                Some(part) => part.now = *bytes,
                None => fresh.push(Part { name: (*name).clone(), bytes: Vec::new(), now: *bytes }),
            }
        }
        for part in &mut self.parts {
            edit.apply(&mut part.bytes, part.now);
        }
        for mut part in fresh {
            part.bytes = vec![0.0; points - 1];
            part.bytes.push(part.now * part_of_mean);
            self.parts.push(part);
        }
    }

    fn judge(&self, part: &Part) -> Judged {
        let bar = Bar {
            floor: FLOOR_BYTES,
            allowed: ALLOWED,
            usual: USUAL_NOISE * part.now,
            is_first: self.timeline.seen() <= MIN_POINTS,
        };
        judge(&self.points(part), bar)
    }

    fn points(&self, part: &Part) -> Vec<Point> {
        self.timeline.seconds().iter().copied().zip(part.bytes.iter().copied()).collect()
    }
}

fn mean(points: &[Point], of: impl Fn(&Point) -> f64) -> f64 {
    points.iter().map(of).sum::<f64>() / points.len() as f64
}

/// Which of the figures are there, one bit each.
fn figures(snapshot: &Snapshot) -> u16 {
    let is_there = |name: &str| snapshot.gauge(name).is_some_and(f64::is_finite);
    FIGURES.iter().enumerate().map(|(bit, name)| u16::from(is_there(name)) << bit).sum()
}

/// What the Java heap does, by what collections leave of it.
fn heap(layers: &[Verdict]) -> Option<Kind> {
    layers.iter().find(|verdict| verdict.subject == Subject::Layer(Layer::Jvm)).map(|verdict| verdict.kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Gauge, testing::snapshot_of};

    /// Feeds one snapshot a minute; each word holds the MiB of `gauges` in order, separated by `/`; `-` is an absent gauge.
    fn watched(gauges: &[&str], words: &str) -> PartWatch {
        let mut watch = PartWatch::default();
        for (number, word) in words.split_whitespace().enumerate() {
            let values = gauges.iter().zip(word.split('/')).filter(|(_, value)| *value != "-");
            let read = values.map(|(name, value)| {
                let mib: f64 = value.parse().unwrap();
                Gauge::bytes((*name).to_owned(), (mib * 1_048_576.0) as u64)
            });
            watch.push(&snapshot_of(number as u64, read.collect()));
        }
        watch
    }

    /// Those parts that surely grow, with their kind and MiB a minute.
    fn grown(watch: &PartWatch, layers: &[Verdict]) -> Vec<String> {
        let verdicts = watch.verdicts(layers).into_iter();
        let growing = verdicts.filter_map(|part| {
            let rate = part.growth()?.bytes_per_second * 60.0 / 1_048_576.0;
            Some(format!("{} {:?} {rate:.1}", part.part, part.kind))
        });
        growing.collect()
    }

    fn check(gauges: &[&str], words: &str, expected: &[&str]) {
        assert_eq!(grown(&watched(gauges, words), &[]), expected, "{words}");
    }

    const MAPPED: [&str; 5] =
        [names::RESIDENT, names::ANONYMOUS, names::MAP_UNNAMED, names::MAP_ANONYMOUS, names::MAP_STACKS];

    #[test]
    fn a_part_that_grows_is_told_with_its_rate_and_others_are_not() {
        let words: Vec<String> =
            (0..8).map(|n| format!("{}/{}/20/{}/{}", 90 + n, 40 + n, 40 + n, 10 + n)).collect();
        check(&MAPPED, &words.join(" "), &["thread stacks SteadyLeak 1.0"]);
        check(&MAPPED, &words[..4].join(" "), &[]);
        check(&MAPPED, &["90/40/20/40/10"; 8].join(" "), &[]);
    }

    #[test]
    fn what_grows_free_is_fragmentation() {
        let gauges = [names::RESIDENT, names::MALLOC_LIVE, names::MALLOC_FREE];
        let words: Vec<String> = (0..8).map(|n| format!("{}/20/{}", 90 + n, 3 + n)).collect();
        check(&gauges, &words.join(" "), &["malloc free Fragmentation 1.0"]);
    }

    #[test]
    fn an_old_map_says_nothing_new_and_a_late_probe_makes_no_jump() {
        let gauges = [&MAPPED[..], &[names::MAP_AGE]].concat();
        let words = "90/40/20/40/10/0 91/41/20/41/11/0 95/45/20/41/11/9 93/43/20/43/13/0 94/44/20/44/14/0";
        let watch = watched(&gauges, words);
        assert_eq!((watch.told.timeline.seen(), watch.mapped.timeline.seen()), (4, 3));
        let late = "90/40/20 91/41/20 92/42/- 93/43/20 94/44/20 95/45/20";
        let watch = watched(&[names::RESIDENT, names::ANONYMOUS, names::MALLOC_LIVE], late);
        assert_eq!(watch.told.timeline.seen(), 4);
        // A runtime that is found begins anew.
        let found = "90/40/- 91/41/- 92/42/- 93/43/20 94/44/20 95/45/20";
        let watch = watched(&[names::RESIDENT, names::ANONYMOUS, names::MALLOC_LIVE], found);
        assert_eq!(watch.told.timeline.seen(), 2);
    }

    #[test]
    fn a_part_that_shows_up_late_held_nothing_before() {
        let words: Vec<String> = (0..24_i32)
            .map(|n| {
                let stacks = (3 * (n - 12)).max(0);
                format!("{}/{}/20/{}/{stacks}", 90 + stacks, 40 + stacks, 40 + stacks)
            })
            .collect();
        check(&MAPPED, &words.join(" "), &["thread stacks SteadyLeak 3.0"]);
    }

    #[test]
    fn a_java_heap_grows_only_where_its_layer_does() {
        let words: Vec<String> = (0..8).map(|n| format!("{}/{}/{}", 90 + n, 40 + n, 10 + n)).collect();
        let watch = watched(&[names::RESIDENT, names::ANONYMOUS, names::JVM_HEAP_USED], &words.join(" "));
        let layer = |kind| Verdict {
            subject: Subject::Layer(Layer::Jvm),
            gauge: String::new(),
            kind,
            rate: None,
            points: 7,
            share: None,
            seconds_to_limit: None,
            evidence: Evidence::default(),
        };
        assert_eq!(grown(&watch, &[layer(Kind::SteadyLeak)]), ["jvm heap used SteadyLeak 1.0"]);
        assert_eq!(grown(&watch, &[layer(Kind::NotEnoughData)]), [""; 0]);
        let resident = watch.resident();
        assert_eq!((resident.kind, resident.points), (Kind::SteadyLeak, 7));
    }

    #[test]
    fn the_rate_of_a_stretch_is_that_stretchs() {
        let words: Vec<String> = (0..14_i32)
            .map(|n| {
                let stacks = 10 + 2 * (n - 6).max(0);
                format!("90/80/20/80/{stacks}")
            })
            .collect();
        let watch = watched(&MAPPED, &words.join(" "));
        let per_minute = |seconds| {
            let rate = watch.rate_for("thread stacks", seconds, 0.0).unwrap();
            (rate.bytes_per_second * 60.0 / 1_048_576.0).round()
        };
        assert_eq!((per_minute(Some(300.0)), per_minute(None)), (2.0, 1.0));
        assert_eq!(watch.rate_for("thread stacks", None, 1_048_576.0), None);
    }
}
