mod sites;

use std::sync::Arc;

use super::*;
use crate::model::{Amount, Frame, Gauge, Profile, ProfileSource, Site, SiteStat, testing::snapshot_of};

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
    let found = verdict(gauges, words, layer);
    // `Quiet` stands for all that is judged and does not leak, `SteadyLeak` for all that leaks; `judge`'s own tests have
    // the kinds.
    let is_right = match expected {
        Kind::Quiet => !found.kind.leaks() && found.kind != Kind::NotEnoughData,
        Kind::SteadyLeak => found.kind.leaks(),
        expected => found.kind == expected,
    };
    assert!(is_right, "{found:?} is not {expected:?}: {words}");
}

fn check_python(words: &str, expected: Kind) {
    check(&[names::PYTHON_TRACED], words, Layer::Python, expected);
}

#[test]
fn steady_growth_is_a_leak_from_the_fifth_reading() {
    check_python("0 100 200 300", Kind::NotEnoughData);
    check_python("0 100 200 300 400", Kind::SteadyLeak);
    // After a start that is not like the rest, one reading more.
    check_python("0 900 1000 1100 1200", Kind::NotEnoughData);
    check_python("0 900 1000 1100 1200 1300", Kind::SteadyLeak);
    let rate = verdict(&[names::PYTHON_TRACED], "0 60 120 180 240 300", Layer::Python).rate.unwrap();
    assert!((rate.bytes_per_second - KIB).abs() < 1.0, "{rate:?}");
}

#[test]
fn the_start_up_counts_for_nothing() {
    check_python("0 5000 5000 5000 5000 5000 5000", Kind::Quiet);
}

#[test]
fn a_warm_up_that_levels_off_is_not_a_leak() {
    check_python("0 100 600 900 990 1000 1001 1002 1002 1003 1003", Kind::Quiet);
}

#[test]
fn a_sawtooth_is_not_a_leak() {
    check_python("0 1000 4000 1200 4100 1100 4000 1000 4100 1200", Kind::Quiet);
}

#[test]
fn growth_below_the_floor_is_breathing() {
    check_python("0 1 2 3 4 5 6 7 8 9 10", Kind::Quiet);
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
        Kind::Quiet,
    );
    check(
        &gauges,
        "0/0/0 9000/1000/1 9000/2000/2 9000/3000/3 9000/4000/4 9000/5000/5 9000/6000/6",
        Layer::Jvm,
        Kind::SteadyLeak,
    );
    // The same floor read again without a collection in between is no new evidence.
    check(&gauges, "0/0/0 9/100/1 9/200/2 9/200/2 9/200/2 9/300/3 9/300/3", Layer::Jvm, Kind::NotEnoughData);
}

#[test]
fn malloc_that_grows_by_pythons_large_objects_is_not_a_native_leak() {
    let gauges = [names::MALLOC_LIVE, names::PYTHON_TRACED, names::PYTHON_TRACED_SMALL];
    let growing = "0/0/0 1100/1000/0 2110/2000/0 3120/3000/0 4130/4000/0 5140/5000/0 6150/6000/0";
    check(&gauges, growing, Layer::Native, Kind::Quiet);
    check(&gauges, growing, Layer::Python, Kind::SteadyLeak);
    let both = "0/0/0 2000/1000/0 4000/2000/0 6000/3000/0 8000/4000/0 10000/5000/0 12000/6000/0";
    check(&gauges, both, Layer::Native, Kind::SteadyLeak);
}

#[test]
fn what_tracemalloc_does_not_tell_of_its_own_tables_is_not_a_native_leak() {
    // CPython 3.9 to 3.13, each float that is kept: 24 bytes traced, 53 bytes of tables told of, 101 bytes of malloc.
    let gauges = [names::MALLOC_LIVE, names::PYTHON_TRACED, names::PYTHON_TRACED_SMALL, names::PYTHON_TRACER];
    let words: Vec<String> = (0..12)
        .map(|tick| format!("{}/{}/{}/{}", 9000 + 1010 * tick, 240 * tick, 240 * tick, 530 * tick))
        .collect();
    check(&gauges, &words.join(" "), Layer::Native, Kind::Quiet);
    check(&gauges, &words.join(" "), Layer::Python, Kind::SteadyLeak);
}

#[test]
fn where_pythons_growth_lives_may_be_unknown_and_is_still_pythons() {
    let gauges = [names::RESIDENT, names::MALLOC_LIVE, names::PYTHON_TRACED];
    let arenas: Vec<String> =
        (0..9).map(|tick| format!("{}/500/{}", 9000 + 110 * tick, 100 * tick)).collect();
    check(&gauges, &arenas.join(" "), Layer::Process, Kind::Quiet);
    let malloc: Vec<String> =
        (0..9).map(|tick| format!("{}/{}/{}", 9000 + 110 * tick, 500 + 110 * tick, 100 * tick)).collect();
    check(&gauges, &malloc.join(" "), Layer::Native, Kind::Quiet);
    check(&gauges, &malloc.join(" "), Layer::Python, Kind::SteadyLeak);
}

#[test]
fn arenas_that_python_holds_free_are_nobodys_leak() {
    let gauges =
        [names::ANONYMOUS, names::PYTHON_ARENAS, names::PYTHON_ARENAS_USED, names::PYTHON_ARENAS_UNUSED];
    // A spike is freed, and its arenas stay.
    let spike = "0/0/0/0 9000/8000/900/100 99000/98000/95000/90 99000/98000/900/96000 99010/98000/900/96000 \
                 99010/98000/900/96000 99000/98000/900/96000 99000/98000/900/96000 99000/98000/900/96000";
    check(&gauges, spike, Layer::Process, Kind::Quiet);
    check(&gauges, spike, Layer::Python, Kind::Quiet);
}

#[test]
fn without_a_tracer_python_is_judged_by_its_arenas_and_a_leak_beside_them_is_seen() {
    let gauges =
        [names::ANONYMOUS, names::PYTHON_ARENAS, names::PYTHON_ARENAS_USED, names::PYTHON_ARENAS_UNUSED];
    // Arenas of 1 MiB that are touched little by little: the process does not grow by what is left of the newest.
    let python: Vec<String> = (1..13_u32)
        .map(|tick| {
            let (used, arenas) = (4096 + 150 * tick, (4096 + 150 * tick).div_ceil(1024) * 1024);
            format!("{}/{arenas}/{used}/{}", 9000 + used, arenas - used)
        })
        .collect();
    check(&gauges, &python.join(" "), Layer::Python, Kind::SteadyLeak);
    check(&gauges, &python.join(" "), Layer::Process, Kind::Quiet);
    // A leak of the process's own, half as large as Python's, was hidden by the allowance for what arenas hold free.
    let both: Vec<String> =
        (1..13_u32).map(|tick| format!("{}/{}/{}/0", 9000 + 1500 * tick, 1000 * tick, 990 * tick)).collect();
    check(&gauges, &both.join(" "), Layer::Process, Kind::SteadyLeak);
}

#[test]
fn snapshots_without_the_arenas_add_nothing_and_change_no_series() {
    let gauges = [names::ANONYMOUS, names::PYTHON_SAMPLED, names::PYTHON_ARENAS, names::PYTHON_ARENAS_USED];
    let words: Vec<String> = (0..16_u32)
        .map(|tick| match tick % 3 {
            1 => format!("{}/{}/-/-", 9000 + 1000 * tick, 700 * tick),
            _ => format!("{}/{}/{}/{}", 9000 + 1000 * tick, 700 * tick, 1000 * tick, 900 * tick),
        })
        .collect();
    let found = verdict(&gauges, &words.join(" "), Layer::Python);
    assert_eq!((found.kind, found.points), (Kind::SteadyLeak, 10));
    check(&gauges, &words.join(" "), Layer::Process, Kind::Quiet);
    // Where they cannot be counted at all, what was sampled is judged.
    check(&[names::PYTHON_SAMPLED], "0 100 200 300 400 500", Layer::Python, Kind::SteadyLeak);
}

#[test]
fn lists_that_grow_with_their_objects_are_no_native_leak_where_nobody_traces() {
    let gauges = [names::MALLOC_LIVE, names::PYTHON_ARENAS_USED];
    let words: Vec<String> =
        (0..12_u32).map(|tick| format!("{}/{}", 9000 + 130 * tick, 1000 * tick)).collect();
    check(&gauges, &words.join(" "), Layer::Native, Kind::Quiet);
    let words: Vec<String> =
        (0..12_u32).map(|tick| format!("{}/{}", 9000 + 600 * tick, 1000 * tick)).collect();
    check(&gauges, &words.join(" "), Layer::Native, Kind::SteadyLeak);
}

#[test]
fn malloc_that_grows_by_sampled_large_objects_is_not_a_native_leak() {
    let gauges = [names::MALLOC_LIVE, names::PYTHON_LARGE];
    check(
        &gauges,
        "0/0 1100/1000 2110/2000 3120/3000 4130/4000 5140/5000 6150/6000",
        Layer::Native,
        Kind::Quiet,
    );
}

#[test]
fn direct_buffers_are_the_jvms() {
    let gauges = [
        names::MALLOC_LIVE,
        names::JVM_HEAP_USED,
        names::JVM_HEAP_AFTER_GC,
        names::JVM_DIRECT,
        names::JVM_GC_COUNT,
    ];
    let words: Vec<String> =
        (0..9).map(|tick| format!("{}/500/50/{}/{tick}", 9000 + 1000 * tick, 1000 * tick)).collect();
    check(&gauges, &words.join(" "), Layer::Jvm, Kind::SteadyLeak);
    check(&gauges, &words.join(" "), Layer::Native, Kind::Quiet);
}

#[test]
fn what_is_committed_of_metaspace_is_the_jvms() {
    let gauges = [
        names::ANONYMOUS,
        names::JVM_HEAP_USED,
        names::JVM_HEAP_AFTER_GC,
        names::JVM_METASPACE_COMMITTED,
        names::JVM_METASPACE_USED,
        names::JVM_NON_HEAP_USED,
        names::JVM_GC_COUNT,
    ];
    // Each class loader uses a part of what it has.
    let word = |tick: u32| {
        let (committed, used) = (1000 * tick, 200 * tick);
        format!("{}/500/50/{committed}/{used}/{used}/{tick}", 9000 + committed)
    };
    let words: Vec<String> = (0..9).map(word).collect();
    check(&gauges, &words.join(" "), Layer::Jvm, Kind::SteadyLeak);
    check(&gauges, &words.join(" "), Layer::Process, Kind::Quiet);
}

#[test]
fn a_direct_buffers_site_is_the_call_path_of_malloc_that_leads_there() {
    let path =
        |function: &str| Arc::new(Site::call_path(vec![Arc::new(Frame::new(function, "x", 1))], false));
    let (buffers, other) = (path("java.nio.DirectByteBuffer.<init>"), path("open"));
    let mut engine = VerdictEngine::default();
    let mut last = Vec::new();
    for minute in 0..10_u64 {
        let gauges = vec![
            Gauge::bytes(names::JVM_HEAP_USED, 500 << 10),
            Gauge::bytes(names::JVM_HEAP_AFTER_GC, 500 << 10),
            Gauge::bytes(names::JVM_DIRECT, minute << 20),
            Gauge::total(names::JVM_GC_COUNT, minute),
            Gauge::bytes(names::MALLOC_LIVE, minute << 20),
        ];
        let mut snapshot = snapshot_of(minute, gauges);
        snapshot.readings[0].layer = Layer::Native;
        let stat = |site: &Arc<Site>, bytes| SiteStat::exact(Arc::clone(site), Amount { bytes, blocks: 1 });
        let stats = vec![stat(&buffers, minute << 20), stat(&other, minute << 15)];
        snapshot.readings[0].profiles = vec![Arc::new(Profile::new(ProfileSource::exact("test"), stats))];
        last = engine.push(&snapshot, None);
    }
    let leaking: Vec<Subject> =
        last.into_iter().filter(|found| found.kind.leaks()).map(|found| found.subject).collect();
    assert_eq!(leaking, [Subject::Layer(Layer::Jvm), Subject::Site(Layer::Jvm, buffers)]);
}

#[test]
fn a_heap_without_a_figure_after_collections_is_judged_where_collections_were() {
    let gauges = [names::JVM_HEAP_USED, names::JVM_GC_COUNT];
    check(&gauges, "0/5 100/5 200/5 300/5 400/5 500/5 600/5 700/5 800/5", Layer::Jvm, Kind::NotEnoughData);
    check(
        &gauges,
        "0/5 1000/6 2000/7 3000/8 4000/9 5000/10 6000/11 7000/12 8000/13",
        Layer::Jvm,
        Kind::SteadyLeak,
    );
    check(&gauges, "0/5 900/6 200/7 700/8 300/9 800/10 500/11 200/12 600/13", Layer::Jvm, Kind::Quiet);
}

#[test]
fn a_python_that_is_late_twice_makes_no_jump_and_costs_two_points() {
    let gauges = [names::RESIDENT, names::PYTHON_TRACED_SMALL];
    let words = "0/0 9100/8000 9200/8000 9300/- 9400/- 9500/8000 9600/8000 9700/8000";
    let found = verdict(&gauges, words, Layer::Process);
    assert_eq!((found.kind, found.points), (Kind::SteadyLeak, 5));
    assert!((found.rate.unwrap().bytes_per_second - 100.0 * KIB / 60.0).abs() < 1.0, "{found:?}");
}

#[test]
fn a_runtime_that_is_found_later_begins_the_series_of_the_rest_anew() {
    let gauges = [names::RESIDENT, names::PYTHON_TRACED_SMALL];
    let words =
        "0/- 9000/- 9000/- 9000/- 9000/- 9000/- 20000/0 30000/10000 30000/10000 30000/10000 30000/10000";
    assert_eq!(verdict(&gauges, words, Layer::Process).points, 4);
    // And a gauge that is gone for good does not silence the layer for ever.
    let gone = format!("{words} {}", "20000/- ".repeat(40));
    assert!(verdict(&gauges, &gone, Layer::Process).points >= 5);
}

#[test]
fn a_heap_that_was_never_touched_hides_no_leak_beside_it() {
    let gauges = [names::ANONYMOUS, names::JVM_HEAP_USED, names::JVM_HEAP_COMMITTED];
    let words: Vec<String> = (0..9).map(|tick| format!("{}/500/90000", 1000 + 100 * tick)).collect();
    check(&gauges, &words.join(" "), Layer::Process, Kind::SteadyLeak);
    // Garbage comes and goes inside of memory that stays resident.
    check(
        &gauges,
        "0/0/0 1000/100/900 1400/500/900 1400/100/900 1400/400/900 1400/200/900 1400/300/900 1400/250/900",
        Layer::Process,
        Kind::Quiet,
    );
}

#[test]
fn a_heap_that_is_mapped_at_several_places_is_counted_as_often() {
    let gauges = [
        names::ANONYMOUS,
        names::SHARED,
        names::JVM_HEAP_USED,
        names::JVM_HEAP_COMMITTED,
        names::MAP_JAVA_HEAP_SHARED,
        names::MAP_AGE,
    ];
    // Between two looks at the map, nobody tells how much of the growth is the heap's.
    let words = |beside: u32| -> String {
        let tick = |tick: u32| {
            let heap = |tick| 8000 + 1000 * tick;
            let (shared, known) = (heap(tick) + beside * tick, heap(tick / 2 * 2));
            format!("2000/{shared}/{}/12000/{known}/{}", 3000 + tick * 37 % 11 * 700, tick % 2)
        };
        (0..16).map(tick).collect::<Vec<_>>().join(" ")
    };
    check(&gauges, &words(0), Layer::Process, Kind::Quiet);
    check(&gauges, &words(700), Layer::Process, Kind::SteadyLeak);
}

#[test]
fn a_leak_that_is_swapped_out_is_still_one() {
    let gauges = [names::ANONYMOUS, names::SWAPPED];
    check(
        &gauges,
        "0/0 900/0 900/100 900/200 900/300 900/400 900/500 900/600",
        Layer::Process,
        Kind::SteadyLeak,
    );
}

#[test]
fn a_tick_without_pythons_profile_makes_no_jump_in_the_native_layer() {
    let gauges = [names::MALLOC_LIVE, names::PYTHON_TRACED, names::PYTHON_TRACED_SMALL];
    let words = "0/0/0 9000/8000/0 9000/8000/- 9000/8000/0 9000/8000/- 9000/8000/0 9000/8000/0 9000/8000/0";
    check(&gauges, words, Layer::Native, Kind::Quiet);
}

/// Python grows by 1 MiB a minute and the process by 2; after 7 minutes it is asked when a process that may have `limit`
/// MiB, on a machine that has so many MiB left, is out of memory.
fn check_time_left(limit: Option<u64>, machine_left: Option<u64>, seconds: Option<f64>) {
    let mut engine = VerdictEngine::default();
    let mut last = Vec::new();
    for minute in 0..8_u64 {
        let mut gauges = vec![
            Gauge::bytes(names::RESIDENT, minute << 21),
            Gauge::bytes(names::PYTHON_TRACED, minute << 20),
        ];
        gauges.extend(machine_left.map(|left| Gauge::bytes(names::MACHINE_LEFT, left << 20)));
        last = engine.push(&snapshot_of(minute, gauges), limit.map(|limit| limit << 20));
    }
    let python = last.iter().find(|verdict| verdict.subject == Subject::Layer(Layer::Python)).unwrap();
    let found = python.seconds_to_limit.map(|(seconds, ..)| seconds.round());
    assert_eq!(found, seconds, "{limit:?} {machine_left:?}");
}

#[test]
fn the_nearest_limit_is_reached_at_the_rate_of_the_resident_size() {
    check_time_left(Some(134), None, Some(3600.0));
    check_time_left(Some(134), Some(60), Some(1800.0));
    check_time_left(Some(134), Some(900), Some(3600.0));
    check_time_left(None, Some(0), Some(0.0));
    check_time_left(None, None, None);
}

#[test]
fn a_java_heap_ends_at_its_maximum_and_direct_buffers_do_not_fill_it() {
    let gauges = [
        names::JVM_HEAP_USED,
        names::JVM_HEAP_AFTER_GC,
        names::JVM_HEAP_MAX,
        names::JVM_DIRECT,
        names::JVM_GC_COUNT,
    ];
    let heap: Vec<String> = (0..8_u32).map(|n| format!("9/{}/10600/0/{n}", 1000 * n.max(1))).collect();
    let found = verdict(&gauges, &heap.join(" "), Layer::Jvm);
    assert!((found.seconds_to_limit.unwrap().0 - 216.0).abs() < 1.0, "{found:?}");
    let direct: Vec<String> =
        (0..8_u32).map(|n| format!("9/1/10600/{}/{n}", 1000 * n.saturating_sub(1))).collect();
    let found = verdict(&gauges, &direct.join(" "), Layer::Jvm);
    assert_eq!((found.kind, found.seconds_to_limit), (Kind::SteadyLeak, None));
}

#[test]
fn the_leaking_site_is_named_with_its_share_and_a_cache_beside_it_is_not() {
    let (leak, cache) = (Arc::new(Site::class("leak")), Arc::new(Site::class("cache")));
    let mut engine = VerdictEngine::default();
    let mut last = Vec::new();
    for minute in 0..10_u64 {
        let stat = |site: &Arc<Site>, kib: u64| {
            SiteStat::exact(Arc::clone(site), Amount { bytes: kib << 10, blocks: 1 })
        };
        let mut snapshot =
            snapshot_of(minute, vec![Gauge::bytes(names::PYTHON_TRACED, (minute * 100 + 5000) << 10)]);
        snapshot.readings[0].layer = Layer::Python;
        let source = ProfileSource::exact(ProfileSource::TRACEMALLOC);
        let sites = vec![stat(&leak, minute * 90), stat(&cache, 5000)];
        snapshot.readings[0].profiles = vec![Arc::new(Profile::new(source, sites))];
        last = engine.push(&snapshot, None);
    }
    assert_eq!(last.len(), 2, "{last:?}");
    assert_eq!(last[1].subject, Subject::Site(Layer::Python, leak));
    assert!((last[1].share.unwrap() - 0.9).abs() < 0.01, "{last:?}");
    assert!((last[0].evidence.explained.unwrap() - 0.9).abs() < 0.01, "{last:?}");
}

#[test]
fn a_java_heap_whose_old_generation_was_not_collected_may_be_garbage() {
    let gauges =
        [names::JVM_HEAP_USED, names::JVM_HEAP_AFTER_GC, names::JVM_GC_COUNT, names::JVM_OLD_GC_COUNT];
    let words = |old: &dyn Fn(u64) -> u64| -> String {
        let word = |at: u64| format!("{0}/{0}/{1}/{2} ", at * 1000, at, old(at));
        (1..14).map(word).collect()
    };
    for (old, expected) in [(0, true), (1, false)] {
        let found = verdict(&gauges, &words(&|at| if at > 6 { old } else { 0 }), Layer::Jvm);
        assert!(found.kind.leaks(), "{found:?}");
        assert_eq!(found.evidence.uncollected, expected, "{found:?}");
    }
}

#[test]
fn without_a_runtime_what_no_allocator_explains_is_natives() {
    let words = |live: u64, more: &str| -> String {
        (0..12).map(|minute| format!("{}/{}{more} ", 9000 + minute * 100, 900 + minute * live)).collect()
    };
    let rate =
        |gauges: &[&str], words: &str, layer| verdict(gauges, words, layer).rate.unwrap().bytes_per_second;
    let gauges = [names::ANONYMOUS, names::MALLOC_LIVE];
    for (live, expected) in [(0, 100.0), (40, 100.0)] {
        check(&gauges, &words(live, ""), Layer::Native, Kind::SteadyLeak);
        check(&gauges, &words(live, ""), Layer::Process, Kind::Quiet);
        let found = rate(&gauges, &words(live, ""), Layer::Native) * 60.0 / KIB;
        assert!((found - expected).abs() < 1.0, "{live}: {found}");
    }
    // A JVM's own memory may be anything.
    let gauges = [names::ANONYMOUS, names::MALLOC_LIVE, names::JVM_HEAP_USED];
    check(&gauges, &words(0, "/500"), Layer::Native, Kind::Quiet);
    check(&gauges, &words(0, "/500"), Layer::Process, Kind::SteadyLeak);
}

#[test]
fn a_new_baseline_begins_anew() {
    let mut engine = VerdictEngine::default();
    for minute in 0..9 {
        engine.push(&snapshot_of(minute, vec![Gauge::bytes(names::PYTHON_TRACED, minute << 20)]), None);
    }
    let mut reset = snapshot_of(9, vec![Gauge::bytes(names::PYTHON_TRACED, 9 << 20)]);
    reset.baseline = 9;
    let after = &engine.push(&reset, None)[0];
    assert_eq!((after.kind, after.points), (Kind::NotEnoughData, 1));
}

#[test]
fn a_java_heap_that_warms_up_by_some_hundred_kib_is_breathing() {
    let gauges = [names::JVM_HEAP_USED, names::JVM_HEAP_AFTER_GC, names::JVM_GC_COUNT];
    let words = "0/0/0 900/100/1 900/150/2 900/200/3 900/250/4 900/300/5 900/350/6 900/400/7";
    check(&gauges, words, Layer::Jvm, Kind::Quiet);
}

#[test]
fn ticks_without_pythons_profile_cost_the_native_layer_no_points() {
    let gauges = [names::MALLOC_LIVE, names::PYTHON_TRACED, names::PYTHON_TRACED_SMALL];
    let words = "0/0/0 9000/8000/4000 9500/8000/- 10000/8000/- 10500/8000/4000 11000/8000/- 11500/8000/- 12000/8000/-";
    let found = verdict(&gauges, words, Layer::Native);
    assert_eq!((found.kind, found.points), (Kind::SteadyLeak, 7));
}

#[test]
fn free_memory_inside_malloc_that_grows_is_fragmentation() {
    let gauges = [names::MALLOC_LIVE, names::MALLOC_FREE, names::RESIDENT];
    let words: Vec<String> =
        (0..12_u32).map(|tick| format!("{}/{}/{}", 9000, 2000 * tick, 20_000 + 2000 * tick)).collect();
    assert_eq!(verdict(&gauges, &words.join(" "), Layer::Native).kind, Kind::Fragmentation);
}

#[test]
fn garbage_that_comes_and_goes_above_what_collections_leave_is_a_sawtooth() {
    let gauges = [names::JVM_HEAP_USED, names::JVM_HEAP_AFTER_GC, names::JVM_GC_COUNT];
    let words: Vec<String> =
        (0..24_u32).map(|tick| format!("{}/5000/{}", 5000 + tick % 4 * 20_000, 1 + tick / 4)).collect();
    assert_eq!(verdict(&gauges, &words.join(" "), Layer::Jvm).kind, Kind::Sawtooth);
    // A young generation is filled and emptied all the time.
    let eden = [&gauges[..], &["jvm.heap_after_gc.eden_space_bytes"]].concat();
    let words: Vec<String> = words.iter().map(|word| format!("{word}/0")).collect();
    assert_eq!(verdict(&eden, &words.join(" "), Layer::Jvm).kind, Kind::Quiet);
    // What collections leave comes and goes, too: garbage in an old one, which one reading in three meets.
    let old = |tick: u32| format!("9000/{}/{}/0", 2000 + (tick * 11 + 3) % 7 * 700, 1 + tick);
    let words: Vec<String> = (0..24).map(old).collect();
    assert_eq!(verdict(&eden, &words.join(" "), Layer::Jvm).kind, Kind::Sawtooth);
}

#[test]
fn what_a_java_heap_never_touched_is_not_growth_when_it_is() {
    // Filled and collected once, half of it resident; then its pages come one by one, below what it once used.
    let gauges = [names::ANONYMOUS, names::JVM_HEAP_USED, names::JVM_HEAP_COMMITTED];
    let words: Vec<String> = (0..14)
        .map(|tick| format!("{}/{}/90000", 4500 * tick, if tick < 7 { 9000 * tick } else { 100 }))
        .collect();
    check(&gauges, &words.join(" "), Layer::Process, Kind::Quiet);
}

#[test]
fn what_malloc_holds_free_and_untouched_is_not_growth_when_it_is_touched() {
    let gauges = [names::ANONYMOUS, names::MALLOC_LIVE, names::MALLOC_FREE];
    let words: Vec<String> = (0..14).map(|tick| format!("{}/500/2000", 600 + 100 * tick)).collect();
    check(&gauges, &words.join(" "), Layer::Process, Kind::Quiet);
}

#[test]
fn a_tick_right_after_the_first_reading_belongs_to_the_start() {
    let mut engine = VerdictEngine::default();
    let mut last = Vec::new();
    let at = |number: u64| if number == 1 { 1 } else { 60 * number.saturating_sub(1).max(number / 2) };
    for (number, kib) in [0, 100, 9000, 9100, 9200, 9300, 9400, 9500].into_iter().enumerate() {
        let number = number as u64;
        let mut snapshot = snapshot_of(number, vec![Gauge::bytes(names::PYTHON_TRACED, kib << 10)]);
        snapshot.tick.at.boot_nanos = at(number) * 1_000_000_000;
        last = engine.push(&snapshot, None);
    }
    assert!(last[0].kind.leaks(), "{:?}", last[0]);
    assert_eq!(last[0].points, 6, "{:?}", last[0]);
}

#[test]
fn a_leak_that_was_told_stays_told() {
    // Growth of half the noise: at some ticks the readings speak for it a little less than at the one before.
    let leak =
        crate::synthetic::Recipe { per_tick: 0.36e6, noise: 0.72e6, ..crate::synthetic::Recipe::default() };
    for seed in 0..8 {
        let mut engine = VerdictEngine::default();
        let series = leak.series(60, &mut crate::synthetic::Random::new(seed));
        let told: Vec<bool> = series
            .into_iter()
            .map(|(tick, bytes)| {
                engine.push(&crate::synthetic::snapshot(tick, 300.0, bytes), None)[0].kind.leaks()
            })
            .collect();
        let first = told.iter().position(|leaks| *leaks).expect("it is told in the end");
        assert!(told[first..].iter().all(|leaks| *leaks), "{seed}: {told:?}");
    }
}
