//! How often the verdict errs and what it costs, on made-up series whose truth is known. Prints one JSON object a line:
//! `what`, `figure`, `limit`, `unit`; `cargo xtask bench verdict` makes a table of them. Nothing here is a real program:
//! those are in tests/leaks.

use std::sync::Arc;
use std::time::Instant;

use leakline_core::synthetic::{Random, Recipe, snapshot};
use leakline_core::{
    Amount, Gauge, Kind, PartWatch, Profile, ProfileSource, Rate, Site, SiteStat, Verdict, VerdictEngine,
    explanations, names,
};

const MINUTES: f64 = 60.0;
const INTERVAL: f64 = 5.0 * MINUTES;
/// Ticks of a day.
const DAY: u32 = 288;
const MB: f64 = 1e6;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let count: u64 = arguments.next().and_then(|count| count.parse().ok()).unwrap_or(5000);
    // A part by its name, or all; and the first seed: others than those that thresholds were chosen with.
    let only = arguments.next();
    let wanted = |name: &str| only.as_ref().is_none_or(|only| only == name || only == "all");
    let from = arguments.next().and_then(|from| from.parse().ok()).unwrap_or(0);
    let seeds = Seeds { from, count };
    let parts: [(&str, &dyn Fn()); 6] = [
        ("bound", &|| bound(Seeds { count: count.min(1000) * 200, ..seeds })),
        ("false-alarms", &|| false_alarms(seeds)),
        ("power", &|| power(seeds)),
        ("coverage", &|| coverage(seeds)),
        ("kinds", &|| kinds(Seeds { count: count / 10, ..seeds })),
        ("cost", &cost),
    ];
    parts.iter().filter(|(name, _)| wanted(name)).for_each(|(_, part)| part());
}

#[expect(clippy::print_stdout, reason = "a benchmark prints")]
fn tell(what: &str, figure: f64, limit: f64, unit: &str) {
    println!("{}", serde_json::json!({ "what": what, "figure": figure, "limit": limit, "unit": unit }));
}

/// The verdicts about the whole of a session of `ticks` ticks, one after each snapshot.
fn session(recipe: &Recipe, ticks: u32, seed: u64) -> impl Iterator<Item = Verdict> {
    let mut engine = VerdictEngine::default();
    let series = recipe.series(ticks, &mut Random::new(seed));
    series.into_iter().filter_map(move |(tick, bytes)| {
        engine.push(&snapshot(tick, INTERVAL, bytes), None).into_iter().next()
    })
}

/// Which sessions are made up.
#[derive(Debug, Clone, Copy)]
struct Seeds {
    from: u64,
    count: u64,
}

/// The share of `seeds` for which it holds, on two threads.
fn share_of(seeds: Seeds, holds: impl Fn(u64) -> bool + Sync) -> f64 {
    let Seeds { from, count: sessions } = seeds;
    let count =
        |parity: u64| (from..from + sessions).filter(|seed| seed % 2 == parity && holds(*seed)).count();
    let held: usize = std::thread::scope(|scope| {
        let other = scope.spawn(|| count(1));
        count(0) + other.join().unwrap_or(0)
    });
    held as f64 / sessions.max(1) as f64
}

/// Sessions of a day that leak nothing, and in which a leak is told at any tick.
fn false_alarms(seeds: Seeds) {
    let noise = Recipe { noise: MB, ..Recipe::default() };
    let innocent = [
        ("noise", noise),
        ("noise of which half lasts", Recipe { lasts: 0.5, ..noise }),
        ("noise of which 80 % lasts", Recipe { lasts: 0.8, ..noise }),
        ("outliers, 1 in 50", Recipe { outliers: 0.02, outlier: 20.0 * MB, ..noise }),
        ("a third of the ticks missed", Recipe { missed: 0.33, ..noise }),
        ("a jump by 20 MB", Recipe { jump: Some((100, 20.0 * MB)), ..noise }),
        ("a start-up that levels off", Recipe { warm_up: Some((30.0 * MB, 2.0)), ..noise }),
        ("a sawtooth of four ticks", Recipe { sawtooth: Some((10.0 * MB, 4)), ..noise }),
        (
            "all of it together",
            Recipe {
                lasts: 0.5,
                outliers: 0.02,
                outlier: 20.0 * MB,
                missed: 0.1,
                jump: Some((100, 20.0 * MB)),
                warm_up: Some((30.0 * MB, 2.0)),
                ..noise
            },
        ),
    ];
    for (name, recipe) in innocent {
        let alarms = share_of(seeds, |seed| session(&recipe, DAY, seed).any(|found| found.kind.leaks()));
        tell(&format!("false alarms, {name}"), alarms * 1000.0, 1.0, "of 1,000 days");
    }
}

fn power(seeds: Seeds) {
    let fast = Recipe { per_tick: 7.0 * MB, noise: MB, ..Recipe::default() };
    let slow = Recipe { per_tick: 0.36 * MB, noise: 0.72 * MB, ..Recipe::default() };
    let late = Recipe { begins: 100, ..fast };
    // As in malloc beside a JVM, whose compiler takes some megabytes for some ticks and gives them back.
    let beside = Recipe { per_tick: 0.75 * MB, noise: 1.5 * MB, lasts: 0.8, ..Recipe::default() };
    for (name, recipe, ticks) in [
        ("1.4 MB/min, noise of 1 MB, 4 ticks", fast, 4),
        ("0.36 MB a tick, half of the noise, 24 ticks", slow, 24),
        ("the same, of whose noise half lasts", Recipe { lasts: 0.5, ..slow }, 24),
        ("the same, a fifth of the ticks missed", Recipe { missed: 0.2, ..slow }, 24),
        ("1.4 MB/min that begins at tick 100, 8 ticks later", late, 108),
        ("0.75 MB a tick, half of the noise, of which 80 % lasts, 14 ticks", beside, 14),
        ("the same, 20 ticks", beside, 20),
    ] {
        let found = share_of(seeds, |seed| {
            session(&recipe, ticks, seed).last().is_some_and(|verdict| verdict.kind.leaks())
        });
        tell(&format!("missed leaks, {name}"), (1.0 - found) * 100.0, 5.0, "%");
    }
    for (name, recipe) in [
        ("0.36 MB a tick, half of the noise", slow),
        ("the same, a fifth of the ticks missed", Recipe { missed: 0.2, ..slow }),
        ("0.75 MB a tick, half of the noise, of which 80 % lasts", beside),
    ] {
        let told = median(seeds, |seed| session(&recipe, 48, seed).position(|verdict| verdict.kind.leaks()));
        tell(&format!("readings until it is told, {name}"), told, 24.0, "readings");
    }
}

/// The median over `seeds` of the readings until a session says so, or infinite.
fn median(seeds: Seeds, position: impl Fn(u64) -> Option<usize>) -> f64 {
    let readings = |at: usize| at as f64 + 1.0;
    let mut told: Vec<f64> = (seeds.from..seeds.from + seeds.count)
        .map(|seed| position(seed).map_or(f64::INFINITY, readings))
        .collect();
    told.sort_by(f64::total_cmp);
    told.get(told.len() / 2).copied().unwrap_or(f64::INFINITY)
}

/// What no test of five points can do that goes by nothing but them, whatever its thresholds: the leaks that the best one misses
/// (Neyman and Pearson's, of what stays when level and scale are unknown), silent but for one session in 1,000 where 80 % of the
/// noise lasts. Nothing of leakline's is in it.
fn bound(seeds: Seeds) {
    let leak = Recipe { per_tick: 7.0, noise: 1.0, ..Recipe::default() };
    let quiet = Recipe { noise: 1.0, lasts: 0.8, ..Recipe::default() };
    let score = |recipe: &Recipe, seed: u64| {
        let points: Vec<f64> =
            recipe.series(4, &mut Random::new(seed)).into_iter().map(|point| point.1).collect();
        likely(&points, 0.0, 7.0) - likely(&points, 0.8, 0.0)
    };
    let mut silent: Vec<f64> =
        (seeds.from..seeds.from + seeds.count).map(|seed| score(&quiet, seed)).collect();
    silent.sort_by(|a, b| b.total_cmp(a));
    let threshold = silent[silent.len() / 1000];
    let found = share_of(Seeds { count: seeds.count / 10, ..seeds }, |seed| score(&leak, !seed) > threshold);
    tell("missed by the best test of 4 ticks that knows no scale", (1.0 - found) * 100.0, 100.0, "%");
}

/// The logarithm of how likely `points` are, up to level and scale, when so much of the noise `lasts` and they rise by `slope` of
/// its standard deviations each: the scale is integrated over.
fn likely(points: &[f64], lasts: f64, slope: f64) -> f64 {
    let scale = (1.0 - lasts * lasts).sqrt();
    let white = |of: &dyn Fn(usize) -> f64| -> Vec<f64> {
        let one = |at: usize| if at == 0 { of(0) } else { (of(at) - lasts * of(at - 1)) / scale };
        (0..points.len()).map(one).collect()
    };
    let (ones, times, bytes) = (white(&|_| 1.0), white(&|at| at as f64), white(&|at| points[at]));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let level = dot(&ones, &ones);
    let beside = |a: &[f64], b: &[f64]| dot(a, b) - dot(a, &ones) * dot(b, &ones) / level;
    let (bb, tb, tt) =
        (beside(&bytes, &bytes), slope * beside(&times, &bytes), slope * slope * beside(&times, &times));
    let power = points.len() as f64 - 2.0;
    let at = |inverse: f64| power * inverse.ln() - (bb * inverse * inverse - 2.0 * tb * inverse + tt) / 2.0;
    // Laplace's place and width, then the sum over ten widths.
    let best = (tb + (tb * tb + 4.0 * bb * power).sqrt()) / (2.0 * bb);
    let width = (bb + power / (best * best)).sqrt().recip();
    let steps = (-60..=60).map(|step| best + width * f64::from(step) / 6.0).filter(|inverse| *inverse > 0.0);
    let sum: f64 = steps.map(|inverse| (at(inverse) - at(best)).exp()).sum();
    at(best) + (sum * width).ln() - (points.len() as f64 - 1.0) * scale.ln() - level.ln() / 2.0
}

/// By how much the 95 % intervals are wrong about how often they cover the truth.
fn coverage(seeds: Seeds) {
    for lasts in [0.0, 0.5, 0.8] {
        for ticks in [6, 12, 24, 48, 96, 288] {
            let recipe = Recipe { per_tick: 0.36 * MB, noise: 0.72 * MB, lasts, ..Recipe::default() };
            let truth = recipe.per_tick / INTERVAL;
            let covers = |rate: Rate| rate.low <= truth && truth <= rate.high;
            let covered = share_of(seeds, |seed| {
                session(&recipe, ticks, seed).last().and_then(|found| found.rate).is_some_and(covers)
            });
            let name = format!("coverage less 95 %, {ticks} ticks, {:.0} % of noise lasts", lasts * 100.0);
            tell(
                &format!("{name} ({:.1} %)", covered * 100.0),
                (covered - 0.95).abs() * 100.0,
                2.0,
                "points",
            );
        }
    }
}

fn kinds(seeds: Seeds) {
    let noise = Recipe { noise: MB, ..Recipe::default() };
    for (kind, recipe) in [
        (Kind::SteadyLeak, Recipe { per_tick: 2.0 * MB, ..noise }),
        (Kind::SteadyLeak, Recipe { per_tick: 2.0 * MB, begins: 30, ..noise }),
        (Kind::AcceleratingLeak, Recipe { faster_per_tick: 0.1 * MB, ..noise }),
        (Kind::LeakInSteps, Recipe { per_tick: 4.0 * MB, in_steps_of: 8, ..noise }),
        (Kind::Plateau, Recipe { warm_up: Some((100.0 * MB, 8.0)), ..noise }),
        (Kind::Sawtooth, Recipe { sawtooth: Some((60.0 * MB, 8)), ..noise }),
        (Kind::OneOff, Recipe { jump: Some((30, 60.0 * MB)), ..noise }),
        (Kind::Shrinking, Recipe { per_tick: -2.0 * MB, ..noise }),
        (Kind::Quiet, noise),
    ] {
        let right = share_of(seeds, |seed| {
            session(&recipe, 64, seed).last().is_some_and(|verdict| verdict.kind == kind)
        });
        tell(&format!("wrong kind after 64 ticks, {kind:?}"), (1.0 - right) * 100.0, 5.0, "%");
    }
}

/// A tick with 20,000 sites that all move.
fn cost() {
    let sites: Vec<Arc<Site>> = (0..20_000).map(|site| Arc::new(Site::class(format!("{site}")))).collect();
    let profile = |tick: u64| {
        let stat = |(index, site): (usize, &Arc<Site>)| {
            let bytes = 10_000 + tick * (index as u64 % 97) + if index == 0 { tick * 500_000 } else { 0 };
            SiteStat::exact(Arc::clone(site), Amount { bytes, blocks: 1 })
        };
        Arc::new(Profile::new(ProfileSource::exact("test"), sites.iter().enumerate().map(stat).collect()))
    };
    let mut engine = VerdictEngine::default();
    let mut took = Vec::new();
    let before = resident();
    for tick in 0..200_u32 {
        let mut snapshot = snapshot(tick, INTERVAL, f64::from(tick) * MB);
        snapshot.readings[0].profiles = vec![profile(u64::from(tick))];
        let begun = Instant::now();
        let verdicts = engine.push(&snapshot, None);
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        assert!(tick < 20 || verdicts.len() > 1, "sites are judged, too");
    }
    took.sort_by(f64::total_cmp);
    tell("a tick with 20,000 sites, median", took[took.len() / 2], 20.0, "ms");
    tell("a tick with 20,000 sites, worst", took[took.len() - 1], 20.0, "ms");
    // The baseline's profile and what the allocator keeps of the others are in it.
    tell("resident size after 200 such ticks", (resident() - before) / MB, 10.0, "MB");
    parts_cost();
}

/// The parts of a ledger, beside a layer that leaks: what a log asks at each tick, and a report once.
fn parts_cost() {
    let (mut watch, mut engine) = (PartWatch::default(), VerdictEngine::default());
    let gauges = [
        names::RESIDENT,
        names::ANONYMOUS,
        names::FILE_BACKED,
        names::SHARED,
        names::MALLOC_LIVE,
        names::MALLOC_FREE,
        names::PYTHON_ARENAS,
        names::PYTHON_ARENAS_USED,
        names::PYTHON_LARGE,
        names::JVM_HEAP_USED,
        names::JVM_HEAP_COMMITTED,
        names::JVM_METASPACE_COMMITTED,
        names::MAP_ANONYMOUS,
        names::MAP_UNNAMED,
        names::MAP_LIBRARIES,
        names::MAP_STACKS,
        names::MAP_OTHER,
        names::MAP_MALLOC,
        names::MAP_JAVA_HEAP,
        names::MAP_JAVA_CODE,
        names::MAP_JAVA_OTHER,
    ];
    let mut random = Random::new(1);
    let (mut each, mut all) = (Vec::new(), Vec::new());
    for tick in 0..200_u32 {
        let bytes = f64::from(tick) * MB;
        let mut snapshot = snapshot(tick, INTERVAL, bytes);
        let process = &mut snapshot.readings[0];
        // The process grows, mostly by what was mapped in other ways.
        let value = |random: &mut Random, n: usize| {
            let growth = match gauges[n] {
                names::RESIDENT | names::ANONYMOUS => 6.0 * bytes,
                names::MAP_OTHER => 5.0 * bytes,
                _ => 0.0,
            };
            ((20 + n) as f64 * MB + growth + random.normal() * MB).max(0.0)
        };
        process.gauges = gauges
            .iter()
            .enumerate()
            .map(|(n, name)| Gauge::bytes(*name, value(&mut random, n) as u64))
            .collect();
        let verdicts = engine.push(&snapshot, None);
        let begun = Instant::now();
        watch.push(&snapshot);
        let found = explanations(&verdicts, &watch);
        each.push(begun.elapsed().as_secs_f64() * 1e3);
        assert!(tick < 100 || !found.is_empty(), "a layer leaks: {verdicts:?}");
        let begun = Instant::now();
        assert!(tick < 20 || watch.verdicts(&verdicts).len() > 15, "there are many parts");
        all.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let median = |took: &mut Vec<f64>| {
        took.sort_by(f64::total_cmp);
        took[took.len() / 2]
    };
    tell("a ledger's parts at a tick, median", median(&mut each), 1.0, "ms");
    tell("the verdicts of a ledger's parts, median", median(&mut all), 20.0, "ms");
}

/// Resident bytes of this process; 0 where the system does not tell.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or(0.0) * 4096.0
}
