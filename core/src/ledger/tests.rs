use proptest::prelude::*;

use super::*;
use crate::model::{Gauge, testing::snapshot_of};

/// `gauges` are `name=bytes` words; the answer is every part in order, a `~` before what was derived.
fn check(gauges: &str, expected: &str) {
    check_held(gauges, None, expected);
}

/// The same, of a snapshot whose leakline holds so many bytes.
fn check_held(gauges: &str, held_bytes: Option<u64>, expected: &str) {
    let gauges = gauges.split_whitespace().map(|word| {
        let (name, bytes) = word.split_once('=').unwrap();
        Gauge::bytes(name.to_owned(), bytes.parse().unwrap())
    });
    let mut snapshot = snapshot_of(0, gauges.collect());
    snapshot.own.held_bytes = held_bytes;
    let ledger = Ledger::of(&snapshot).unwrap();
    let parts: Vec<String> = ledger
        .parts
        .iter()
        .map(|part| {
            let mark = if part.source == PartSource::Derived { "~" } else { "" };
            format!("{mark}{}={}", part.name.replace(' ', "_"), part.bytes)
        })
        .collect();
    assert_eq!(parts.join(" "), expected);
}

#[test]
fn what_nobody_claims_is_unexplained() {
    check("process.resident_bytes=100", "~unexplained=100");
    check(
        "process.resident_bytes=100 process.file_backed_bytes=30 native.malloc_live_bytes=50",
        "files_(code,_data)=30 malloc_in_use=50 ~unexplained=20",
    );
}

#[test]
fn claims_beyond_the_kernels_figure_are_cut_and_said_to_be_derived() {
    check(
        "process.resident_bytes=100 native.malloc_live_bytes=80 jvm.heap_used_bytes=10 jvm.heap_committed_bytes=500",
        "jvm_heap_used=10 malloc_in_use=80 ~jvm_heap_free=10 ~unexplained=0",
    );
    // Untouched blocks of malloc do not push out a Java heap that was written to.
    check(
        "process.resident_bytes=100 native.malloc_live_bytes=800 jvm.heap_used_bytes=50 native.malloc_free_bytes=9",
        "jvm_heap_used=50 ~malloc_in_use=50 ~malloc_free=0 ~unexplained=0",
    );
}

#[test]
fn nobody_claims_more_than_is_anonymous() {
    check(
        "process.resident_bytes=100 process.anonymous_bytes=60 process.file_backed_bytes=30 native.malloc_live_bytes=90",
        "files_(code,_data)=30 ~malloc_in_use=60 ~unexplained=10",
    );
    check(
        "process.resident_bytes=100 process.anonymous_bytes=60 native.malloc_live_bytes=50",
        "~files_and_shared_memory=40 malloc_in_use=50 ~unexplained=10",
    );
}

#[test]
fn what_others_took_from_malloc_stands_inside_of_it() {
    check(
        "process.resident_bytes=100 native.malloc_live_bytes=70 python.traced_bytes=40 \
         python.traced_small_bytes=15 python.tracer_bytes=10 jvm.direct_buffer_bytes=5",
        "python_objects=15 python_large_objects=25 python_tracer=10 jvm_direct_buffers=5 ~other_malloc=30 \
         ~unexplained=15",
    );
    // Claims that malloc does not hold are cut to what it does.
    check(
        "process.resident_bytes=100 native.malloc_live_bytes=20 python.tracer_bytes=15 jvm.direct_buffer_bytes=15",
        "python_tracer=15 ~jvm_direct_buffers=5 ~other_malloc=0 ~unexplained=80",
    );
}

#[test]
fn pythons_free_arenas_are_told_from_its_objects() {
    check(
        "process.resident_bytes=100 python.arena_bytes=60 python.arena_used_bytes=20 python.traced_small_bytes=15 \
         native.malloc_live_bytes=30 python.large_bytes=10",
        "python_arenas_used=20 python_large_objects=10 ~other_malloc=20 python_arenas_free=40 ~unexplained=10",
    );
    // An arena that was not touched is not resident, and takes nothing from what was.
    check(
        "process.resident_bytes=50 python.arena_bytes=60 python.arena_used_bytes=20 native.malloc_live_bytes=20",
        "python_arenas_used=20 malloc_in_use=20 ~python_arenas_free=10 ~unexplained=0",
    );
    // tracemalloc's figure is exact, the sampled one an estimate.
    check(
        "process.resident_bytes=99 native.malloc_live_bytes=50 python.large_bytes=7 python.traced_bytes=9 \
         python.traced_small_bytes=5",
        "python_objects=5 python_large_objects=4 ~other_malloc=46 ~unexplained=44",
    );
}

#[test]
fn with_a_map_what_is_resident_of_each_is_the_kernels_count() {
    // Blocks that were never touched are not resident, and what is free in the Java heap is what was touched of it.
    check(
        "process.resident_bytes=200 process.anonymous_bytes=170 process.file_backed_bytes=30 process.shared_bytes=0 \
         process.map.anonymous_bytes=170 process.map.unnamed_bytes=30 process.map.library_data_bytes=5 \
         process.map.stack_bytes=5 process.map.malloc_bytes=50 process.map.malloc_mapped_bytes=10 \
         process.map.malloc_mapped_found_bytes=900 process.map.java_heap_bytes=40 process.map.java_code_bytes=10 \
         process.map.java_other_bytes=20 jvm.metaspace_committed_bytes=12 jvm.heap_used_bytes=30 \
         jvm.heap_committed_bytes=100 native.malloc_live_bytes=940 native.malloc_mapped_bytes=900 \
         native.malloc_free_bytes=9 python.arena_bytes=25 python.arena_used_bytes=20",
        "files_(code,_data)=30 shared_memory=0 library_data=5 thread_stacks=5 jvm_heap_used=30 jvm_code_cache=10 \
         jvm_metaspace=12 ~jvm_other=8 python_arenas_used=20 ~malloc_in_use=50 ~malloc_metadata=1 malloc_free=9 \
         python_arenas_free=5 jvm_heap_free=10 ~unexplained=5",
    );
}

#[test]
fn a_shared_java_heap_and_graphics_are_told_from_other_shared_memory() {
    check(
        "process.resident_bytes=200 process.anonymous_bytes=50 process.file_backed_bytes=30 process.shared_bytes=120 \
         process.map.anonymous_bytes=50 process.map.unnamed_bytes=50 process.map.java_heap_shared_bytes=100 \
         process.map.graphics_bytes=5 jvm.heap_used_bytes=40 jvm.heap_committed_bytes=60",
        "files_(code,_data)=30 graphics=5 shared_memory=15 jvm_heap_used=40 jvm_heap,_mapped_again=40 \
         jvm_heap_free=20 ~unexplained=50",
    );
}

#[test]
fn what_leakline_holds_is_one_part_and_a_watchers_heap_is_none_of_it() {
    let resident = "process.resident_bytes=200 process.anonymous_bytes=150 process.file_backed_bytes=10 \
                    process.shared_bytes=40 process.map.anonymous_bytes=150 process.map.unnamed_bytes=140";
    let check = |own: &str, expected: &str| {
        check_held(&format!("{resident} {own}"), Some(50), &format!("files_(code,_data)=10 {expected}"));
    };
    check("", "shared_memory=40 leakline=50 ~unexplained=100");
    check("process.map.leakline_bytes=10", "shared_memory=40 leakline=60 ~unexplained=90");
    check(
        "process.map.leakline_bytes=10 process.map.leakline_shared_bytes=30",
        "shared_memory=10 leakline=40 ~unexplained=140",
    );
    check(
        "process.map.leakline_bytes=0 process.map.leakline_shared_bytes=0",
        "shared_memory=40 ~unexplained=150",
    );
}

#[test]
fn files_are_told_by_kind_and_none_beyond_the_kernels_count() {
    check(
        "process.resident_bytes=200 process.anonymous_bytes=50 process.file_backed_bytes=100 process.shared_bytes=50 \
         process.map.anonymous_bytes=50 process.map.unnamed_bytes=50 process.map.java_files_bytes=20 \
         process.map.package_files_bytes=10 process.map.font_files_bytes=5 process.map.graphics_bytes=4 \
         process.map.graphics_device_bytes=30 process.map.java_code_shared_bytes=7 \
         process.map.java_other_shared_bytes=3",
        "~files_(code,_data)=35 java_code_files=20 app_packages=10 fonts=5 graphics=34 shared_memory=36 \
         jvm_code_cache=7 jvm_other=3 ~unexplained=50",
    );
    check(
        "process.resident_bytes=100 process.anonymous_bytes=90 process.file_backed_bytes=10 process.shared_bytes=0 \
         process.map.anonymous_bytes=90 process.map.unnamed_bytes=90 process.map.java_files_bytes=20 \
         process.map.font_files_bytes=5 process.map.graphics_device_bytes=3 process.map.java_code_shared_bytes=7",
        "~files_(code,_data)=0 java_code_files=7 graphics=3 shared_memory=0 ~unexplained=90",
    );
}

#[test]
fn what_grew_since_an_older_map_may_be_anybodys() {
    check(
        "process.resident_bytes=100 process.anonymous_bytes=100 process.map.anonymous_bytes=60 \
         process.map.age_nanos=7 process.map.unnamed_bytes=0 process.map.malloc_bytes=60 \
         native.malloc_live_bytes=90 native.malloc_free_bytes=5",
        "~files_and_shared_memory=0 malloc_in_use=90 ~malloc_free=5 ~unexplained=5",
    );
    // Of a new map it is not.
    check(
        "process.resident_bytes=100 process.anonymous_bytes=100 process.map.anonymous_bytes=100 \
         process.map.age_nanos=0 process.map.unnamed_bytes=40 process.map.malloc_bytes=60 \
         native.malloc_live_bytes=90 native.malloc_free_bytes=5",
        "~files_and_shared_memory=0 ~malloc_in_use=60 malloc_free=0 ~unexplained=40",
    );
}

#[test]
fn blocks_whose_headers_were_not_found_are_in_what_has_no_name() {
    check(
        "process.resident_bytes=100 process.anonymous_bytes=100 process.map.anonymous_bytes=100 \
         process.map.unnamed_bytes=60 process.map.malloc_bytes=30 process.map.malloc_mapped_bytes=10 \
         process.map.malloc_mapped_found_bytes=10 native.malloc_live_bytes=80 native.malloc_mapped_bytes=50",
        "~files_and_shared_memory=0 malloc_in_use=80 malloc_free=0 ~unexplained=20",
    );
}

#[test]
fn where_malloc_does_not_count_its_heaps_are_one_part() {
    check(
        "process.resident_bytes=100 process.anonymous_bytes=100 process.map.anonymous_bytes=100 \
         process.map.unnamed_bytes=10 process.map.malloc_bytes=60 process.map.malloc_mapped_bytes=30",
        "~files_and_shared_memory=0 malloc=90 ~unexplained=10",
    );
}

#[test]
fn without_a_resident_size_there_is_no_ledger() {
    assert_eq!(Ledger::of(&snapshot_of(0, vec![Gauge::bytes(names::MALLOC_LIVE, 5)])), None);
}

/// Sizes as they come, and what a damaged recording may hold.
fn any_value() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        6 => (0_u64..1 << 40).prop_map(|bytes| Some(bytes as f64)),
        1 => any::<f64>().prop_map(Some),
        2 => Just(None),
    ]
}

proptest! {
    #[test]
    fn parts_add_up_to_the_resident_size_and_none_is_negative(
        resident in prop_oneof![any::<f64>(), 0_f64..1e12],
        values in proptest::collection::vec(any_value(), 41),
    ) {
        let all = [
            names::ANONYMOUS, names::FILE_BACKED, names::SHARED, names::PYTHON_TRACED, names::PYTHON_TRACED_SMALL,
            names::PYTHON_TRACER, names::MALLOC_LIVE, names::MALLOC_FREE, names::JVM_HEAP_USED,
            names::JVM_HEAP_COMMITTED, names::JVM_NON_HEAP_USED, names::JVM_DIRECT, names::PYTHON_ARENAS,
            names::PYTHON_ARENAS_USED, names::PYTHON_LARGE, names::MAP_UNNAMED, names::MAP_ANONYMOUS,
            names::MAP_AGE, names::MAP_LIBRARIES, names::MAP_STACKS, names::MAP_MALLOC, names::MAP_MALLOC_MAPPED,
            names::MAP_MALLOC_FOUND, names::MAP_JAVA_HEAP, names::MAP_JAVA_HEAP_SHARED, names::MAP_JAVA_CODE,
            names::MAP_JAVA_OTHER, names::MAP_PYTHON, names::MAP_GRAPHICS, names::MAP_LEAKLINE, names::MAP_LEAKLINE_SHARED, names::MAP_OTHER,
            names::MALLOC_MAPPED, names::JVM_METASPACE_COMMITTED, names::PYTHON_ARENAS_UNUSED, names::SWAPPED,
            names::MAP_JAVA_CODE_SHARED, names::MAP_JAVA_OTHER_SHARED, names::MAP_GRAPHICS_DEVICE,
            names::MAP_FILES_JAVA, names::MAP_FILES_PACKAGES, names::MAP_FILES_FONTS,
        ];
        let gauge = |name: &'static str, value| Gauge { value, ..Gauge::bytes(name, 0) };
        let gauges = all.into_iter().zip(&values).filter_map(|(name, value)| Some(gauge(name, (*value)?)));
        let gauges = gauges.chain([gauge(names::RESIDENT, resident)]).collect();
        let ledger = Ledger::of(&snapshot_of(0, gauges)).unwrap();
        prop_assert_eq!(ledger.parts.iter().map(|part| part.bytes).sum::<f64>(), ledger.resident);
        prop_assert!(ledger.parts.iter().all(|part| part.bytes >= 0.0));
        prop_assert_eq!(ledger.parts.last().map(|part| part.name.as_ref()), Some(UNEXPLAINED));
    }
}
