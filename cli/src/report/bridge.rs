//! The part of a report about what lies between two runtimes: what each holds of the other's, and how that grows.
//! Pure: gives a string with colours in it. What grows is said by the verdicts; here is told what of it the other runtime holds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use leakline_core::{
    Cycle, ExplainedBy, Explanation, Frame, GrowingResource, Layer, ProfileSource, Rate, Share, Site,
    SiteGrowth, Subject, Verdict, interval_95, names, text,
};
use serde_json::{Value, json};

use super::model::Report;
use crate::style::{CAUTION, STRONG, paint};
use crate::words::{clean, plural};

/// Gauges of the bridge, and what they count.
const PARTS: &[(&str, &str)] = &[
    (names::BRIDGE_JAVA_HOLDS_PYTHON, "Java holds Python objects"),
    (names::BRIDGE_PYTHON_HOLDS_JAVA, "Python holds Java objects"),
    (names::JVM_GLOBAL_REFS, "native code, Python's bridge among it, holds Java objects"),
    (names::JVM_WEAK_GLOBAL_REFS, "and has weak references to Java objects"),
];

/// Lines that let Java have Python objects, as many as are told.
const MOST_LINES: usize = 3;
/// Samples of a line, below which there are too few to tell.
const FEW: f64 = 4.0;
/// What there is no sample of may be so many samples' worth: the upper end of the 95 % interval of none.
const UNSEEN: f64 = 3.84;
/// Samples may stand for so many times as many objects as are held: more is no chance.
const GARBAGE: f64 = 2.0;
/// Where no frame is anybody's program.
const UNKNOWN: &str = "an unknown line";

/// Nothing where no bridge was read.
pub(super) fn show(report: &Report) -> String {
    let values = |gauge: &str| report.rows.iter().map(|row| row.gauge(gauge)).collect::<Vec<_>>();
    if values(names::BRIDGE_JAVA_HOLDS_PYTHON).iter().all(Option::is_none) {
        return String::new();
    }
    let ticks = report.rows.last().map_or(0.0, |row| row.interval.as_secs_f64());
    let words = PARTS.iter().filter_map(|(gauge, words)| {
        let values = values(gauge);
        let held = values.iter().rev().flatten().next()?;
        Some(part(words, *held, report.slope(&values).map(|slope| slope * ticks)))
    });
    let words: Vec<String> = words.collect();
    let heading = paint(STRONG, "Between Python and Java:");
    let held = values(names::BRIDGE_JAVA_HOLDS_PYTHON).into_iter().rev().flatten().next();
    let held = held.filter(|held| *held >= 1.0);
    let created = held.map_or(String::new(), |held| created(&samples(report), held, &report.roots));
    format!("{heading} {}\n{created}", clean(&words.join("; ")))
}

/// The samples of objects by which Java holds Python's.
fn samples(report: &Report) -> Vec<&SiteGrowth> {
    let of_java = report
        .growths
        .iter()
        .filter(|growth| growth.probe == "jvm" && growth.source.name == ProfileSource::SAMPLED);
    let sites = of_java.flat_map(|growth| &growth.growth.sites);
    sites.filter(|site| site.site.lets_java_have_python() && site.live.blocks > 0).collect()
}

/// What is held by objects of one line's making.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Made {
    bytes: f64,
    objects: f64,
    variance: f64,
}

/// The lines that let Java have most, with how many it holds by them; `None` where no frame is anybody's program.
fn lines<'a>(samples: &[&'a SiteGrowth]) -> Vec<(Option<&'a Arc<Frame>>, Made)> {
    let mut lines: BTreeMap<Option<&Arc<Frame>>, Made> = BTreeMap::new();
    for &sample in samples {
        let made = lines.entry(sample.site.outside_of_bridges()).or_default();
        made.bytes += sample.live.bytes as f64;
        made.objects += sample.live.blocks as f64;
        made.variance += (sample.standard_error_bytes as f64).powi(2);
    }
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort_by(|(_, a), (_, b)| b.objects.total_cmp(&a.objects));
    lines
}

fn words_of(line: Option<&Arc<Frame>>, roots: &[String]) -> String {
    line.map_or(UNKNOWN.to_owned(), |frame| text::frame(frame, roots))
}

impl Made {
    /// Whether there are samples enough.
    fn is_told(&self) -> bool {
        self.variance == 0.0 || self.bytes * self.bytes / self.variance >= FEW
    }

    /// How many objects one sample stands for; none where all are counted.
    fn objects_of_a_sample(&self) -> f64 {
        self.objects * self.variance / (self.bytes * self.bytes).max(f64::MIN_POSITIVE)
    }

    /// The 95 % interval of the objects.
    fn interval(&self) -> (f64, f64) {
        let (low, high) = interval_95(self.bytes, self.variance.sqrt());
        let objects = |bytes: f64| bytes * self.objects / self.bytes.max(1.0);
        (objects(low), objects(high))
    }
}

/// `  created at bridge.py:88 main: about 4100 of them (3300 to 4900)`, a line for each, where Java holds `held`. Samples
/// that stand for far more are mostly of objects that Java has let go of and not collected yet.
fn created(samples: &[&SiteGrowth], held: f64, roots: &[String]) -> String {
    let mut out = String::new();
    let is_told = |made: &Made| made.is_told() && made.interval().0 <= GARBAGE * held;
    for (line, made) in lines(samples).iter().filter(|(_, made)| is_told(made)).take(MOST_LINES) {
        let (low, high) = made.interval();
        let line = clean(&words_of(*line, roots));
        let _ =
            writeln!(out, "  created at {line}: about {:.0} of them ({low:.0} to {high:.0})", made.objects);
    }
    if out.is_empty() {
        let words = "  which line lets Java have them is not sampled yet: Java's allocations are, one in jvm.sample_bytes";
        let _ = writeln!(out, "{words}");
    }
    out
}

/// How much of Python's growth Java holds: what was allocated in the very call that let Java have an object, one block of a
/// site for each object more that Java holds by that line. Of what was allocated elsewhere nothing is known.
pub(super) fn java_holds(report: &Report) -> Option<Explanation> {
    let is_python = |verdict: &&Verdict| verdict.subject == Subject::Layer(Layer::Python);
    let whole = report.verdicts.iter().find(is_python).filter(|verdict| verdict.kind.leaks())?.rate?;
    let held = report.growing.iter().find(|growing| growing.gauge == names::BRIDGE_JAVA_HOLDS_PYTHON)?;
    let samples = samples(report);
    let lines = lines(&samples);
    let mut explained: Option<Rate> = None;
    let mut most: Option<(f64, &Arc<Frame>)> = None;
    for verdict in report.verdicts.iter().filter(|verdict| verdict.kind.leaks()) {
        let (Subject::Site(Layer::Python, site), Some(rate)) = (&verdict.subject, verdict.rate) else {
            continue;
        };
        let given = |frame: &&Arc<Frame>| {
            lines.iter().position(|(line, made)| *line == Some(*frame) && made.is_told())
        };
        let Some((line, at)) = site.frames().iter().find_map(|frame| Some((given(&frame)?, frame))) else {
            continue;
        };
        let Some(block) = block_bytes(report, site) else { continue };
        let objects = objects_by(line, &lines, held);
        let own = Rate {
            bytes_per_second: rate.bytes_per_second.min(objects.bytes_per_second * block),
            low: rate.low.min(objects.low * block),
            high: rate.high.min(objects.high * block),
        };
        explained = Some(explained.map_or(own, |sum| sum.plus(own)));
        if most.is_none_or(|(bytes, _)| bytes < own.bytes_per_second) {
            most = Some((own.bytes_per_second, at));
        }
    }
    let by = ExplainedBy::Held { by: Layer::Jvm, at: Arc::clone(most?.1) };
    Some(Explanation { layer: Layer::Python, by, share: Share::of(explained?, whole)? })
}

/// How many more objects Java holds in a second by one of `lines`: they are counted all together, and told apart by samples.
/// There may be lines of which there is no sample.
fn objects_by(line: usize, lines: &[(Option<&Arc<Frame>>, Made)], held: &GrowingResource) -> Rate {
    let (mut own, mut others) = ([0.0; 3], [0.0; 3]);
    for (index, (_, made)) in lines.iter().enumerate() {
        let (low, high) = made.interval();
        let sum = if index == line { &mut own } else { &mut others };
        *sum = [sum[0] + made.objects, sum[1] + low, sum[2] + high];
        if index == line {
            others[2] += UNSEEN * made.objects_of_a_sample();
        }
    }
    let share = |own: f64, others: f64| own / (own + others).max(f64::MIN_POSITIVE);
    Rate {
        bytes_per_second: held.per_minute / 60.0 * share(own[0], others[0]),
        low: held.per_minute_low / 60.0 * share(own[1], others[2]),
        high: held.per_minute_high / 60.0 * share(own[2], others[1]),
    }
}

/// The mean size of a site's blocks.
fn block_bytes(report: &Report, site: &Site) -> Option<f64> {
    let mut sites = report.growths.iter().flat_map(|growth| &growth.growth.sites);
    let live = sites.find(|grown| grown.site.id() == site.id())?.live;
    (live.blocks > 0).then(|| live.bytes as f64 / live.blocks as f64)
}

/// The same as values.
pub(super) fn created_objects(report: &Report) -> Vec<Value> {
    let samples = samples(report);
    let value = |(line, made): (Option<&Arc<Frame>>, Made)| {
        let error = if made.bytes > 0.0 { made.variance.sqrt() / made.bytes } else { 0.0 };
        json!({ "at": words_of(line, &report.roots), "objects": made.objects, "standard_error_objects": made.objects * error })
    };
    lines(&samples).into_iter().map(value).collect()
}

/// What neither collector can free, when it was looked for last; nothing where none was found.
pub(super) fn cycles(report: &Report, top: usize) -> String {
    if report.cycles.is_empty() { String::new() } else { of_cycles(&report.cycles, top) }
}

fn of_cycles(cycles: &[Cycle], top: usize) -> String {
    let count = cycles.iter().map(|cycle| cycle.count).sum();
    let objects = plural(count, "Python object", "Python objects");
    let heading = paint(CAUTION, "Cycles across both heaps");
    let mut out = format!("{heading} hold {objects}, which neither collector can free:\n");
    for cycle in cycles.iter().take(top) {
        let _ = writeln!(out, "{:>6}  Java holds   {}", cycle.count, clean(&cycle.python));
        let _ = writeln!(out, "        Python holds {}", clean(&cycle.java));
    }
    if cycles.len() > top {
        let _ = writeln!(out, "  and {} more kinds (--top {})", cycles.len() - top, cycles.len());
    }
    out
}

/// The same as values.
pub(super) fn cycle_objects(report: &Report) -> Vec<Value> {
    let of = |cycle: &Cycle| json!({ "python": cycle.python, "java": cycle.java, "count": cycle.count });
    report.cycles.iter().map(of).collect()
}

/// `Java holds Python objects: 4120, +412 per tick`.
fn part(words: &str, held: f64, per_tick: Option<f64>) -> String {
    let growth = match per_tick {
        None => String::new(),
        Some(growth) if growth.abs() < 0.05 => ", as many at each tick".to_owned(),
        Some(growth) if growth.abs() < 10.0 => format!(", {growth:+.1} per tick"),
        Some(growth) => format!(", {growth:+.0} per tick"),
    };
    format!("{words}: {held:.0}{growth}")
}

#[cfg(test)]
mod tests {
    use leakline_core::Amount;

    use super::*;

    fn check(held: f64, per_tick: Option<f64>, expected: &str) {
        assert_eq!(part("Java holds", held, per_tick), format!("Java holds: {expected}"));
    }

    #[test]
    fn both_halves_of_a_cycle_are_told() {
        let cycle = |python: &str, count| Cycle {
            python: python.into(),
            java: "java.util.ArrayList.elementData > java.lang.Object[] > $Proxy4".into(),
            count,
        };
        let cycles =
            [cycle("app.Listener.target > java.util.ArrayList", 412), cycle("app.Other > java.util.List", 1)];
        let shown = anstream::adapter::strip_str(&of_cycles(&cycles, 1)).to_string();
        assert_eq!(
            shown,
            "Cycles across both heaps hold 413 Python objects, which neither collector can free:\n   \
             412  Java holds   app.Listener.target > java.util.ArrayList\n        \
             Python holds java.util.ArrayList.elementData > java.lang.Object[] > $Proxy4\n  \
             and 1 more kinds (--top 2)\n"
        );
    }

    /// A sample of a class: its line, objects, and the relative error of their number.
    fn sample(class: &str, line: &str, objects: u64, error: f64) -> SiteGrowth {
        let frames = vec![
            Arc::new(Frame::made(class)),
            Arc::new(Frame::new("__new__", "/lib/jpype/_jproxy.py", 120)),
            Arc::new(Frame::new(line, "/app/bridge.py", 88)),
        ];
        SiteGrowth {
            site: Arc::new(Site::call_path(frames, false)),
            bytes: 0,
            blocks: 0,
            standard_error_bytes: (64.0 * objects as f64 * error) as u64,
            live: Amount { bytes: 64 * objects, blocks: objects },
            survived: None,
            survived_bytes: None,
        }
    }

    fn check_created(samples: &[SiteGrowth], held: f64, expected: &str) {
        let samples: Vec<&SiteGrowth> = samples.iter().collect();
        assert_eq!(created(&samples, held, &["/app".to_owned()]), expected);
    }

    #[test]
    fn the_line_that_lets_java_have_them_is_told_with_what_chance_allows() {
        let class = "org.jpype.ref.JPypeReference";
        check_created(
            &[sample(class, "main", 2000, 0.1), sample(class, "listen", 4000, 0.1)],
            5900.0,
            "  created at bridge.py:88 listen: about 4000 of them (3289 to 4865)\n  \
             created at bridge.py:88 main: about 2000 of them (1645 to 2432)\n",
        );
    }

    #[test]
    fn with_too_few_samples_no_line_is_told() {
        let yet = "  which line lets Java have them is not sampled yet: Java's allocations are, one in jvm.sample_bytes\n";
        check_created(&[], 2000.0, yet);
        check_created(&[sample("jep.python.PyPointer", "main", 2000, 0.7)], 2000.0, yet);
        // Java has let go of most, and not collected since.
        check_created(&[sample("jep.python.PyPointer", "main", 2000, 0.1)], 50.0, yet);
    }

    #[test]
    fn what_is_held_is_told_with_its_growth_per_tick() {
        check(4120.0, Some(412.2), "4120, +412 per tick");
        check(7.0, Some(1.04), "7, +1.0 per tick");
        check(40.0, Some(-13.0), "40, -13 per tick");
        check(40.0, Some(0.01), "40, as many at each tick");
        check(40.0, None, "40");
    }
}
