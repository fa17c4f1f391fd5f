use super::*;
use crate::model::{Amount, Gauge, SiteStat, testing::snapshot_of};

const KIB: f64 = 1024.0;

/// Feeds one snapshot a minute; each word holds the KiB of `gauges` in order, separated by `/`; `-` is an absent gauge.
/// The first word is the baseline. Gives the verdict about `layer` after the last.
fn verdict(gauges: &[&str], words: &str, layer: Layer) -> Verdict {
    let mut engine = VerdictEngine::default();
    let mut last = Vec::new();
    for (number, word) in words.split_whitespace().enumerate() {
        let values = gauges.iter().zip(word.split('/')).filter(|(_, value)| *value != "-");
        let read = values.map(|(name, value)| {
            let value: f64 = value.parse().unwrap();
            match name.ends_with("_bytes") {
                true => Gauge::bytes((*name).to_owned(), (value * KIB) as u64),
                false => Gauge::total((*name).to_owned(), value as u64),
            }
        });
        last = engine.push(&snapshot_of(number as u64, read.collect()), None);
    }
    last.into_iter().find(|verdict| verdict.subject == Subject::Layer(layer)).expect("the layer is judged")
}

fn check(gauges: &[&str], words: &str, layer: Layer, expected: Kind) {
    assert_eq!(verdict(gauges, words, layer).kind, expected, "{words}");
}

fn check_python(words: &str, expected: Kind) {
    check(&[names::PYTHON_TRACED], words, Layer::Python, expected);
}

#[test]
fn steady_growth_is_a_leak_from_the_fifth_reading_after_the_start() {
    check_python("0 100 200 300 400", Kind::NotEnoughData);
    check_python("0 100 200 300 400 500", Kind::Leaking);
    let rate = verdict(&[names::PYTHON_TRACED], "0 60 120 180 240 300", Layer::Python).rate.unwrap();
    assert!((rate.bytes_per_second - KIB).abs() < 1.0, "{rate:?}");
}

#[test]
fn the_start_up_counts_for_nothing() {
    check_python("0 5000 5000 5000 5000 5000 5000", Kind::Steady);
}

#[test]
fn a_warm_up_that_levels_off_is_not_a_leak() {
    check_python("0 100 600 900 990 1000 1001 1002 1002 1003 1003", Kind::Steady);
}

#[test]
fn a_sawtooth_is_not_a_leak() {
    check_python("0 1000 4000 1200 4100 1100 4000 1000 4100 1200", Kind::Steady);
}

#[test]
fn growth_below_the_floor_is_breathing() {
    check_python("0 1 2 3 4 5 6 7 8 9 10", Kind::Steady);
}

#[test]
fn shrinking_is_told() {
    check_python("0 900 800 700 600 500 400", Kind::Shrinking);
}

#[test]
fn uncollected_garbage_is_no_leak_and_not_called_steady_either() {
    check(&[names::JVM_HEAP_USED], "0 100 200 300 400 500 600", Layer::Jvm, Kind::NotEnoughData);
}

#[test]
fn a_java_heap_is_judged_by_what_collections_leave() {
    let gauges = [names::JVM_HEAP_USED, names::JVM_HEAP_AFTER_GC, names::JVM_GC_COUNT];
    check(
        &gauges,
        "0/0/0 900/100/1 100/100/2 800/100/3 200/100/4 900/100/5 300/100/6",
        Layer::Jvm,
        Kind::Steady,
    );
    check(
        &gauges,
        "0/0/0 900/100/1 900/200/2 900/300/3 900/400/4 900/500/5 900/600/6",
        Layer::Jvm,
        Kind::Leaking,
    );
    // The same floor read again without a collection in between is no new evidence.
    check(&gauges, "0/0/0 9/100/1 9/200/2 9/200/2 9/200/2 9/300/3 9/300/3", Layer::Jvm, Kind::NotEnoughData);
}

#[test]
fn malloc_that_grows_by_pythons_large_objects_is_not_a_native_leak() {
    let gauges = [names::MALLOC_LIVE, names::PYTHON_TRACED, names::PYTHON_TRACED_SMALL];
    let growing = "0/0/0 1100/1000/0 2110/2000/0 3120/3000/0 4130/4000/0 5140/5000/0 6150/6000/0";
    check(&gauges, growing, Layer::Native, Kind::Steady);
    check(&gauges, growing, Layer::Python, Kind::Leaking);
    let both = "0/0/0 2000/1000/0 4000/2000/0 6000/3000/0 8000/4000/0 10000/5000/0 12000/6000/0";
    check(&gauges, both, Layer::Native, Kind::Leaking);
}

#[test]
fn a_tick_without_pythons_profile_makes_no_jump_in_the_native_layer() {
    let gauges = [names::MALLOC_LIVE, names::PYTHON_TRACED, names::PYTHON_TRACED_SMALL];
    let words = "0/0/0 9000/8000/0 9000/8000/- 9000/8000/0 9000/8000/- 9000/8000/0 9000/8000/0 9000/8000/0";
    check(&gauges, words, Layer::Native, Kind::Steady);
}

#[test]
fn the_limit_is_reached_when_the_resident_size_says_so() {
    let mut engine = VerdictEngine::default();
    let mut last = Vec::new();
    for minute in 0..8_u64 {
        let resident = Gauge::bytes(names::RESIDENT, minute << 20);
        last = engine
            .push(&snapshot_of(minute, vec![resident, Gauge::bytes(names::MALLOC_LIVE, 0)]), Some(67 << 20));
    }
    let (seconds, _, _) = last[0].seconds_to_limit.unwrap();
    assert!((seconds - 3600.0).abs() < 1.0, "{seconds}");
}

#[test]
fn the_leaking_site_is_named_with_its_share_and_a_cache_beside_it_is_not() {
    let (leak, cache) = (Arc::new(Site::class("leak")), Arc::new(Site::class("cache")));
    let mut engine = VerdictEngine::default();
    let mut last = Vec::new();
    for minute in 0..10_u64 {
        let stat = |site: &Arc<Site>, kib: u64| SiteStat {
            site: Arc::clone(site),
            live: Amount { bytes: kib << 10, blocks: 1 },
        };
        let mut snapshot =
            snapshot_of(minute, vec![Gauge::bytes(names::PYTHON_TRACED, (minute * 100 + 5000) << 10)]);
        snapshot.readings[0].layer = Layer::Python;
        snapshot.readings[0].profile =
            Some(Arc::new(Profile::new(vec![stat(&leak, minute * 90), stat(&cache, 5000)])));
        last = engine.push(&snapshot, None);
    }
    assert_eq!(last.len(), 2, "{last:?}");
    assert_eq!(last[1].subject, Subject::Site(Layer::Python, leak));
    assert!((last[1].share.unwrap() - 0.9).abs() < 0.01, "{last:?}");
}

#[test]
fn a_new_baseline_begins_anew() {
    let mut engine = VerdictEngine::default();
    for minute in 0..9 {
        engine.push(&snapshot_of(minute, vec![Gauge::bytes(names::PYTHON_TRACED, minute << 20)]), None);
    }
    let mut reset = snapshot_of(9, vec![Gauge::bytes(names::PYTHON_TRACED, 9 << 20)]);
    reset.baseline = 9;
    assert_eq!(engine.push(&reset, None)[0].kind, Kind::NotEnoughData);
}

#[test]
fn a_long_session_is_thinned_and_keeps_its_rate() {
    let mut series = Series::default();
    for second in 0..100_000 {
        series.push((f64::from(second), 5.0 * f64::from(second)));
    }
    let points = series.points();
    assert!(points.len() <= MAX_POINTS + 1, "{}", points.len());
    assert_eq!((points[0].0, points.last().unwrap().0), (0.0, 99_999.0));
    assert!((slope(&points).unwrap() - 5.0).abs() < 1e-9);
}

#[test]
fn noise_without_a_slope_raises_few_alarms() {
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let alarms = (0..400)
        .filter(|_| {
            let words: Vec<String> = (0..24).map(|_| format!("{:.0}", 50_000.0 + 1000.0 * noise())).collect();
            verdict(&[names::PYTHON_TRACED], &words.join(" "), Layer::Python).kind == Kind::Leaking
        })
        .count();
    assert!(alarms <= 16, "{alarms} of 400");
}
