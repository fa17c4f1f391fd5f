//! Maps of Android processes, from their text to the ledger.
//! `android.smaps` is composed, not recorded: its names and the kind of its numbers are those that AOSP's sources and
//! documentation show for an app with ART, scudo and a private CPython on an arm64 device; its sizes are made up.

use leakline_core::{
    Cause, Gauge, Layer, Ledger, OwnCost, PartSource, ReadCost, Reading, ReadingStatus, Snapshot, Tick,
    Timestamp,
};
use proptest::prelude::*;

use super::scan::Count;
use super::text::{Counted, Entries, Lines};
use super::*;

const ANDROID: &str = include_str!("android.smaps");

/// The process's figures by the kernel, and the map's gauges.
struct Process {
    resident: u64,
    anonymous: u64,
    files: u64,
    shared: u64,
    totals: Totals,
}

impl Process {
    /// By the text of an `smaps`, as the probe reads it where the kernel cannot be asked for pages.
    fn of(smaps: &str) -> Self {
        let (mut mappings, mut counted) = (Vec::new(), Vec::new());
        let (mut lines, mut entries, mut names) = (Lines::default(), Entries::default(), Vec::new());
        lines.feed(smaps.as_bytes(), |text| {
            counted.extend(entries.line(text));
            if let Some(line) = text::line(text) {
                names.push(line.name.to_vec());
                let mapping = Mapping::of(&line);
                if !mappings.last_mut().is_some_and(|last: &mut Mapping| last.take_in(&mapping)) {
                    mappings.push(mapping);
                }
            }
        });
        counted.extend(entries.finish());
        assert_eq!(names.len(), counted.len());
        let mut count = Count::new(class::segments(&mappings, &Claims::default()), false);
        let mut process = Self { resident: 0, anonymous: 0, files: 0, shared: 0, totals: Totals::default() };
        for (name, (start, end, sums)) in names.iter().zip(&counted) {
            count.spread(*start, *end, *sums);
            process.kernel(name, *sums);
        }
        process.totals = count.totals;
        process
    }

    /// As the kernel counts: a page is anonymous, shared memory's, or a file's; a device's plain pages are a file's.
    fn kernel(&mut self, name: &[u8], sums: Counted) {
        let is_shared = [&b"/memfd:"[..], b"/dev/ashmem", b"/dev/zero", b"[anon_shmem:"]
            .iter()
            .any(|start| name.starts_with(start));
        let backed = sums.resident - sums.anonymous;
        self.resident += sums.resident;
        self.anonymous += sums.anonymous;
        *(if is_shared { &mut self.shared } else { &mut self.files }) += backed;
    }

    fn map(&self) -> Vec<Gauge> {
        let malloc = Malloc::default();
        let picture = Picture {
            size: Size::default(),
            boot_nanos: 0,
            ticks: 0,
            mappings: 1,
            malloc,
            totals: self.totals,
        };
        picture.gauges(0)
    }

    fn ledger(&self, others: &[(&'static str, u64)]) -> Ledger {
        let kernels = [
            (names::RESIDENT, self.resident),
            (names::ANONYMOUS, self.anonymous),
            (names::FILE_BACKED, self.files),
            (names::SHARED, self.shared),
        ];
        let gauges = kernels.iter().chain(others).map(|(name, bytes)| Gauge::bytes(*name, *bytes));
        let gauges: Vec<Gauge> = gauges.chain(self.map()).collect();
        Ledger::of(&snapshot(gauges)).unwrap()
    }
}

fn snapshot(gauges: Vec<Gauge>) -> Snapshot {
    let at = Timestamp { unix_nanos: 0, boot_nanos: 0 };
    let reading = Reading {
        probe: "process".into(),
        layer: Layer::Process,
        status: ReadingStatus::Ok,
        taken: Some(at),
        gauges,
        profiles: Vec::new(),
        holders: Vec::new(),
        cycles: Vec::new(),
        runtime: None,
        notes: Vec::new(),
        cost: ReadCost::default(),
    };
    Snapshot {
        number: 0,
        tick: Tick { cause: Cause::Baseline, at, deadline_boot_nanos: 1 },
        interval: Duration::from_secs(60),
        baseline: 0,
        missed_ticks: 0,
        clock_jump_nanos: 0,
        skew_nanos: None,
        readings: vec![reading],
        own: OwnCost::default(),
    }
}

/// `part=KiB` words in the ledger's order, `~` before what was derived.
fn check(process: &Process, others: &[(&'static str, u64)], expected: &str) {
    let ledger = process.ledger(others);
    let parts: Vec<String> = ledger
        .parts
        .iter()
        .map(|part| {
            let mark = if part.source == PartSource::Derived { "~" } else { "" };
            format!("{mark}{}={}", part.name.replace(' ', "_"), part.bytes / 1024.0)
        })
        .collect();
    assert_eq!(parts.join(" "), expected);
    assert_eq!(ledger.parts.iter().map(|part| part.bytes).sum::<f64>(), process.resident as f64);
}

#[test]
fn an_apps_memory_is_split_by_androids_names() {
    let process = Process::of(ANDROID);
    check(
        &process,
        &[],
        "~files_(code,_data)=2692 java_code_files=4596 app_packages=3392 fonts=224 graphics=4096 \
         shared_memory=8 library_data=700 thread_stacks=124 other_mappings=8 jvm_heap=36352 \
         jvm_code_cache=3840 jvm_other=4244 malloc=26632 ~unexplained=1792",
    );
    // With what the runtimes say of themselves: ART's heap, scudo's blocks, and Python's arenas, which have no names.
    let kib = |kib: u64| kib << 10;
    let others = [
        (names::JVM_HEAP_USED, kib(28_000)),
        (names::JVM_HEAP_COMMITTED, kib(33_000)),
        (names::MALLOC_LIVE, kib(22_000)),
        (names::MALLOC_FREE, kib(3_000)),
        (names::PYTHON_ARENAS, kib(2_048)),
        (names::PYTHON_ARENAS_USED, kib(1_500)),
    ];
    check(
        &process,
        &others,
        "~files_(code,_data)=2692 java_code_files=4596 app_packages=3392 fonts=224 graphics=4096 \
         shared_memory=8 library_data=700 thread_stacks=124 other_mappings=8 jvm_heap_used=28000 \
         jvm_code_cache=3840 jvm_other=4244 python_arenas_used=1500 malloc_in_use=22000 \
         ~malloc_metadata=1632 malloc_free=3000 ~python_arenas_free=292 jvm_heap_free=8352 ~unexplained=0",
    );
}

#[test]
fn with_art_what_has_no_name_is_not_taken_for_a_reservation_of_its() {
    assert!(named::is_jvm(b"/usr/lib/jvm/java-17/lib/server/libjvm.so"));
    assert!(!named::is_jvm(b"/apex/com.android.art/lib64/libart.so"));
}

/// Names of both systems, and what nobody knows.
const NAMES: [&str; 31] = [
    "",
    "[heap]",
    "[stack]",
    "[anon:dalvik-main space (region space)]",
    "[anon:dalvik-LinearAlloc]",
    "[anon:dalvik-jit-code-cache]",
    "[anon_shmem:dalvik-main space]",
    "[anon_shmem:x]",
    "/dev/ashmem/dalvik-card table (deleted)",
    "/dev/ashmem/CursorWindow: /data/x",
    "/memfd:jit-cache (deleted)",
    "/memfd:java_heap (deleted)",
    "[anon:scudo:primary]",
    "[anon:libc_malloc]",
    "[anon:stack_and_tls:7]",
    "[anon:.bss]",
    "[anon: glibc: malloc arena]",
    "[anon:cpython:pymalloc]",
    "[anon:what nobody knows]",
    "/system/lib64/libc.so",
    "/data/app/base.odex",
    "/data/app/base.vdex",
    "/data/app/base.apk",
    "/system/framework/core-oj.jar",
    "/system/fonts/Roboto.ttf",
    "/usr/bin/python3.11",
    "/dev/kgsl-3d0",
    "/dev/mali0",
    "/dmabuf:",
    "/dev/zero (deleted)",
    "anon_inode:[eventfd]",
];

fn any_mapping() -> impl Strategy<Value = (usize, u64, u64, u64, u64)> {
    (0..NAMES.len(), 1_u64..5000, 0_u64..=100, 0_u64..=100, 0_u64..64)
}

proptest! {
    #[test]
    fn any_mix_of_mappings_adds_up_to_what_the_kernel_counts(
        mappings in proptest::collection::vec(any_mapping(), 0..60),
        claims in proptest::collection::vec(proptest::option::of(0_u64..1 << 26), 8),
    ) {
        let (mut smaps, mut at) = (String::new(), 0x1000_u64);
        for (name, pages, resident, anonymous, gap) in mappings {
            let (name, end) = (NAMES[name], at + (pages << 12));
            let resident = pages * 4 * resident / 100;
            let is_shared = name.starts_with("[anon_shmem") || name.contains("zero");
            let anonymous = match name {
                _ if is_shared => 0,
                "" | "[heap]" | "[stack]" => resident,
                _ if name.starts_with("[anon:") => resident,
                _ => resident * anonymous / 100,
            };
            let access = if is_shared { "rw-s" } else { "rw-p" };
            smaps += &format!(
                "{at:x}-{end:x} {access} 00000000 00:00 0 {name}\nRss: {resident} kB\nAnonymous: {anonymous} kB\n\
                 Swap: {gap} kB\n"
            );
            at = end + ((gap / 32) << 12);
        }
        let process = Process::of(&smaps);
        let map = process.map();
        let kinds = [
            names::MAP_LIBRARIES, names::MAP_STACKS, names::MAP_MALLOC, names::MAP_MALLOC_MAPPED, names::MAP_JAVA_HEAP,
            names::MAP_JAVA_CODE, names::MAP_JAVA_OTHER, names::MAP_PYTHON, names::MAP_LEAKLINE, names::MAP_OTHER,
            names::MAP_UNNAMED,
        ];
        let parts = map.iter().filter(|gauge| kinds.contains(&gauge.name.as_ref())).map(|gauge| gauge.value);
        prop_assert_eq!(parts.sum::<f64>(), process.anonymous as f64);

        let all = [
            names::JVM_HEAP_USED, names::JVM_HEAP_COMMITTED, names::MALLOC_LIVE, names::MALLOC_FREE,
            names::PYTHON_ARENAS, names::PYTHON_ARENAS_USED, names::JVM_METASPACE_COMMITTED, names::JVM_NON_HEAP_USED,
        ];
        let claims: Vec<_> = all.into_iter().zip(claims).filter_map(|(name, bytes)| Some((name, bytes?))).collect();
        let ledger = process.ledger(&claims);
        prop_assert_eq!(ledger.parts.iter().map(|part| part.bytes).sum::<f64>(), process.resident as f64);
        prop_assert!(ledger.parts.iter().all(|part| part.bytes >= 0.0));
    }
}
