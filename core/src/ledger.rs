//! The ledger: the resident size split into parts that add up to it.
//! Pure: takes the gauges of one snapshot and nothing else.
//!
//! What counts twice elsewhere counts once here. Only Python's requests of up to 512 bytes live in pymalloc's arenas,
//! which come from `mmap` and not from malloc. Where the arenas are not counted, what tracemalloc traced of such requests
//! stands for them, as `python objects`.
//! Larger ones, tracemalloc's own tables and direct buffers come from malloc: they are parts of its live bytes, and
//! `other malloc` is what is left of those. A committed Java heap holds the used one.
//!
//! Parts take from what is resident in the order in which they stand in the ledger, from the most certain to the least;
//! whoever comes late is cut when claims exceed what the kernel counts, and is marked as derived:
//! 1. file-backed and shared memory, by the kernel's own count;
//! 2. objects that were written to: what of Python's arenas is handed out, the used Java heap, the JVM's other memory;
//! 3. malloc's live blocks, which may be large and not yet touched;
//! 4. malloc's free chunks, which may have been given back to the kernel;
//! 5. what is free in Python's arenas: a pool that was never used has not been touched, but of those there are few, since
//!    Python maps an arena only when the others are full;
//! 6. the Java heap that is committed but not used, which may never have been touched, so that `jvm heap free` is an
//!    upper bound and takes from `unexplained` what may be somebody else's.
//!
//! What is swapped out is not resident: live bytes that were swapped out end as a cut of the same parts.
//!
//! Still missing: the map of the process (stacks, graphics, code by library, a heap of ZGC, which the kernel counts as
//! shared), and large Python objects from before tracing or sampling began. They stand in `unexplained` or, when in
//! malloc, in `other malloc`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::model::{Snapshot, names};

/// Where a part's number comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartSource {
    /// A runtime, an allocator or the kernel counted it.
    Measured,
    /// It was cut to what the kernel says is resident, or is a difference of measured numbers.
    Derived,
}

/// One part of the resident size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerPart {
    /// What it is, in a user's words.
    pub name: Cow<'static, str>,
    /// Bytes; never negative.
    pub bytes: f64,
    /// Measured or derived.
    pub source: PartSource,
}

/// The resident size split into parts that add up to it, `unexplained` last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Bytes.
    pub resident: f64,
    /// The parts. A part that the host does not have is left out; `unexplained` is always there.
    pub parts: Vec<LedgerPart>,
}

/// The name of the rest that nobody accounts for.
const UNEXPLAINED: &str = "unexplained";

impl Ledger {
    /// Balances the gauges of `snapshot`; `None` where it has no resident size.
    pub fn of(snapshot: &Snapshot) -> Option<Self> {
        let gauge = |name| snapshot.gauge(name).map(whole_bytes);
        let resident = gauge(names::RESIDENT)?;
        let mut rest = Rest { left: resident, parts: Vec::new() };

        let anonymous = gauge(names::ANONYMOUS);
        match (gauge(names::FILE_BACKED), gauge(names::SHARED), anonymous) {
            (None, None, Some(anonymous)) => {
                rest.take_derived("files and shared memory", Some((resident - anonymous).max(0.0)));
            }
            (files, shared, _) => {
                rest.take("files (code, data)", files);
                rest.take("shared memory", shared);
            }
        }
        // Nobody can claim more than the kernel counts as anonymous; the kernel's figures of one instant differ by a
        // few pages, and that difference is nobody's.
        let beyond = anonymous.map_or(0.0, |anonymous| (rest.left - anonymous).max(0.0));
        rest.left -= beyond;

        let (arenas, arenas_used) = (gauge(names::PYTHON_ARENAS), gauge(names::PYTHON_ARENAS_USED));
        match arenas_used {
            Some(used) => rest.take("python arenas used", Some(used)),
            None => rest.take("python objects", gauge(names::PYTHON_TRACED_SMALL)),
        }
        rest.take("jvm heap used", gauge(names::JVM_HEAP_USED));
        rest.take("jvm non-heap", gauge(names::JVM_NON_HEAP_USED));
        rest.malloc(
            gauge(names::MALLOC_LIVE),
            &[
                (
                    "python large objects",
                    python_large(gauge(names::PYTHON_TRACED), gauge(names::PYTHON_TRACED_SMALL))
                        .or(gauge(names::PYTHON_LARGE)),
                ),
                ("python tracer", gauge(names::PYTHON_TRACER)),
                ("jvm direct buffers", gauge(names::JVM_DIRECT)),
            ],
        );
        rest.take("malloc free", gauge(names::MALLOC_FREE));
        let arenas_free = arenas.zip(arenas_used).map(|(mapped, used)| (mapped - used).max(0.0));
        rest.take("python arenas free", arenas_free);
        let heap_free = gauge(names::JVM_HEAP_COMMITTED)
            .zip(gauge(names::JVM_HEAP_USED))
            .map(|(committed, used)| (committed - used).max(0.0));
        rest.take_derived("jvm heap free", heap_free);

        let unexplained = rest.left + beyond;
        rest.parts.push(LedgerPart {
            name: Cow::Borrowed(UNEXPLAINED),
            bytes: unexplained,
            source: PartSource::Derived,
        });
        Some(Self { resident, parts: rest.parts })
    }

    /// The bytes of the part called `name`; 0 where the host does not have it.
    pub fn part(&self, name: &str) -> f64 {
        self.parts.iter().find(|part| part.name == name).map_or(0.0, |part| part.bytes)
    }
}

/// Numbers of recordings may be anything. Whole bytes up to 2^53 add up exactly.
fn whole_bytes(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, 9_007_199_254_740_992.0).floor() }
}

/// Requests of more than 512 bytes. Known only when small ones were told apart.
fn python_large(traced: Option<f64>, small: Option<f64>) -> Option<f64> {
    traced.zip(small).map(|(traced, small)| (traced - small).max(0.0))
}

/// What of the resident size no part has taken yet.
struct Rest {
    left: f64,
    parts: Vec<LedgerPart>,
}

impl Rest {
    fn take(&mut self, name: &'static str, claim: Option<f64>) {
        self.part(name, claim, PartSource::Measured);
    }

    fn take_derived(&mut self, name: &'static str, claim: Option<f64>) {
        self.part(name, claim, PartSource::Derived);
    }

    /// Malloc's live bytes: those that others are known to have taken from it, and the rest. Without malloc's own figure
    /// there is nothing that these could be parts of, so they claim for themselves.
    fn malloc(&mut self, live: Option<f64>, shares: &[(&'static str, Option<f64>)]) {
        let mut live_left = live.unwrap_or(f64::INFINITY);
        for (name, claim) in shares {
            let Some(claim) = *claim else { continue };
            let within = claim.min(live_left);
            live_left -= within;
            let source = if within < claim { PartSource::Derived } else { PartSource::Measured };
            self.part(name, Some(within), source);
        }
        if live.is_some() {
            let is_whole = shares.iter().all(|(_, claim)| claim.is_none());
            let (name, source) = if is_whole {
                ("malloc in use", PartSource::Measured)
            } else {
                ("other malloc", PartSource::Derived)
            };
            self.part(name, Some(live_left), source);
        }
    }

    fn part(&mut self, name: &'static str, claim: Option<f64>, source: PartSource) {
        let Some(claim) = claim else { return };
        let bytes = claim.min(self.left);
        self.left -= bytes;
        let source = if bytes < claim { PartSource::Derived } else { source };
        self.parts.push(LedgerPart { name: Cow::Borrowed(name), bytes, source });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Gauge, testing::snapshot_of};

    /// `gauges` are `name=bytes` words; the answer is every part in order, a `~` before what was derived.
    fn check(gauges: &str, expected: &str) {
        let gauges = gauges.split_whitespace().map(|word| {
            let (name, bytes) = word.split_once('=').unwrap();
            Gauge::bytes(name.to_owned(), bytes.parse().unwrap())
        });
        let ledger = Ledger::of(&snapshot_of(0, gauges.collect())).unwrap();
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
            values in proptest::collection::vec(any_value(), 15),
        ) {
            let all = [
                names::ANONYMOUS, names::FILE_BACKED, names::SHARED, names::PYTHON_TRACED, names::PYTHON_TRACED_SMALL,
                names::PYTHON_TRACER, names::MALLOC_LIVE, names::MALLOC_FREE, names::JVM_HEAP_USED,
                names::JVM_HEAP_COMMITTED, names::JVM_NON_HEAP_USED, names::JVM_DIRECT, names::PYTHON_ARENAS,
                names::PYTHON_ARENAS_USED, names::PYTHON_LARGE,
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
}
