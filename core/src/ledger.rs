//! The ledger: the resident size split into parts that add up to it.
//! Pure: takes the gauges of one snapshot and nothing else.
//!
//! What counts twice elsewhere counts once here: Python's requests above 512 bytes, tracemalloc's own tables and direct
//! buffers come from malloc and stand inside its live bytes; only requests of up to 512 bytes live in pymalloc's arenas.
//!
//! Still missing: the full map of the process (stacks, graphics, code by library) and pymalloc's free arenas; both stand
//! in `unexplained`. So does what tracemalloc has not seen because it was started later than the allocation was made.

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
pub(crate) const UNEXPLAINED: &str = "unexplained";

impl Ledger {
    /// Balances the gauges of `snapshot`; `None` where it has no resident size.
    pub fn of(snapshot: &Snapshot) -> Option<Self> {
        let gauge = |name| snapshot.gauge(name).filter(|value| *value >= 0.0);
        let resident = gauge(names::RESIDENT)?.max(0.0);
        let mut rest = Rest { left: resident, parts: Vec::new() };

        rest.take("files (code, data)", gauge(names::FILE_BACKED));
        rest.take("shared memory", gauge(names::SHARED));
        // From the most certain to be resident to the least: whoever comes late is cut when claims exceed the kernel's
        // figure. Live objects were written to. A committed Java heap and free chunks may never have been touched, or
        // were given back to the kernel.
        rest.take("python objects", gauge(names::PYTHON_TRACED_SMALL));
        rest.take("malloc in use", gauge(names::MALLOC_LIVE));
        rest.take("jvm non-heap", gauge(names::JVM_NON_HEAP_USED));
        rest.take("jvm heap used", gauge(names::JVM_HEAP_USED));
        rest.take("malloc free", gauge(names::MALLOC_FREE));
        let heap_free = gauge(names::JVM_HEAP_COMMITTED)
            .zip(gauge(names::JVM_HEAP_USED))
            .map(|(committed, used)| (committed - used).max(0.0));
        rest.take_derived("jvm heap free", heap_free);

        let unexplained = rest.left;
        rest.take_derived(UNEXPLAINED, Some(unexplained));
        Some(Self { resident, parts: rest.parts })
    }

    /// The bytes of the part called `name`; 0 where the host does not have it.
    pub fn part(&self, name: &str) -> f64 {
        self.parts.iter().find(|part| part.name == name).map_or(0.0, |part| part.bytes)
    }
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
            "malloc_in_use=80 jvm_heap_used=10 ~jvm_heap_free=10 ~unexplained=0",
        );
    }

    #[test]
    fn without_a_resident_size_there_is_no_ledger() {
        assert_eq!(Ledger::of(&snapshot_of(0, vec![Gauge::bytes(names::MALLOC_LIVE, 5)])), None);
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_resident_size_and_none_is_negative(
            values in proptest::collection::vec(0_u64..1 << 40, 9),
        ) {
            let all = [
                names::RESIDENT, names::FILE_BACKED, names::SHARED, names::PYTHON_TRACED_SMALL, names::MALLOC_LIVE,
                names::MALLOC_FREE, names::JVM_HEAP_USED, names::JVM_HEAP_COMMITTED, names::JVM_NON_HEAP_USED,
            ];
            let gauges = all.into_iter().zip(&values).map(|(name, value)| Gauge::bytes(name, *value)).collect();
            let ledger = Ledger::of(&snapshot_of(0, gauges)).unwrap();
            prop_assert_eq!(ledger.parts.iter().map(|part| part.bytes).sum::<f64>(), ledger.resident);
            prop_assert!(ledger.parts.iter().all(|part| part.bytes >= 0.0));
            prop_assert_eq!(ledger.parts.last().map(|part| part.name.as_ref()), Some(UNEXPLAINED));
        }
    }
}
