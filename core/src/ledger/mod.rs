//! The ledger: the resident size split into parts that add up to it.
//! Pure: takes the gauges of one snapshot and nothing else.
//!
//! What counts twice elsewhere counts once here. Only Python's requests of up to 512 bytes live in pymalloc's arenas,
//! which come from `mmap` and not from malloc. Where the arenas are not counted, what tracemalloc traced of such requests
//! stands for them, as `python objects`.
//! Larger ones, tracemalloc's own tables and direct buffers come from malloc: they are parts of its live bytes, and
//! `other malloc` is what is left of those. A committed Java heap holds the used one.
//!
//! With the process's memory map (`mapped`), what is resident for each is the kernel's count: a part is what its owner
//! says, up to that, and what of an allocator's or a heap's resident memory is not in use is free in it. Without one
//! (an older recording, a kernel that shows none) parts take from what is resident in the order in which they stand in the
//! ledger, from the most certain to the least (`claimed`); whoever comes late is cut when claims exceed what the kernel
//! counts. What was cut, or is of a map that is older than the tick, is marked as derived.
//!
//! What is swapped out is not resident: live bytes that were swapped out end as a cut of the same parts.

mod claimed;
mod mapped;
mod rest;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use self::mapped::{Map, SharedParts};
use self::rest::Rest;
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
        let gauges = Gauges(snapshot);
        let resident = gauges.get(names::RESIDENT)?;
        let mut rest = Rest { left: resident, parts: Vec::new() };
        let mut map = Map::of(&gauges);

        let anonymous = gauges.get(names::ANONYMOUS);
        let mut ours = SharedParts::default();
        match (gauges.get(names::FILE_BACKED), gauges.get(names::SHARED), anonymous) {
            (None, None, Some(anonymous)) => {
                rest.take_derived("files and shared memory", Some((resident - anonymous).max(0.0)));
            }
            (mut files, mut shared, _) => {
                let mut graphics = 0.0;
                if let (Some(map), Some(shared)) = (&map, &mut shared) {
                    ours = map.cut_shared(shared);
                    graphics += map.cut(names::MAP_GRAPHICS, shared);
                }
                match (&map, &mut files) {
                    (Some(map), Some(files)) => {
                        graphics += map.cut(names::MAP_GRAPHICS_DEVICE, files);
                        map.files(*files, &mut rest);
                    }
                    _ => rest.take("files (code, data)", files),
                }
                rest.take("graphics", Some(graphics).filter(|graphics| *graphics > 0.0));
                rest.take("shared memory", shared);
            }
        }
        // Nobody can claim more than the kernel counts as anonymous; the kernel's figures of one instant differ by a
        // few pages, and that difference is nobody's.
        let beyond = anonymous.map_or(0.0, |anonymous| (rest.left - ours.sum() - anonymous).max(0.0));
        rest.left -= beyond;

        match &mut map {
            Some(map) => map.fill(&ours, &mut rest),
            None => claimed::fill(&gauges, &mut rest),
        }

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

/// A snapshot's gauges as whole bytes.
struct Gauges<'a>(&'a Snapshot);

impl Gauges<'_> {
    fn get(&self, name: &str) -> Option<f64> {
        self.0.gauge(name).map(whole_bytes)
    }

    /// What leakline holds.
    fn own_bytes(&self) -> Option<f64> {
        self.0.own.held_bytes.map(|bytes| whole_bytes(bytes as f64))
    }
}

/// What others are known to have taken from malloc.
fn in_malloc(gauges: &Gauges<'_>) -> [(&'static str, Option<f64>); 3] {
    let gauge = |name| gauges.get(name);
    [
        (
            "python large objects",
            python_large(gauge(names::PYTHON_TRACED), gauge(names::PYTHON_TRACED_SMALL))
                .or(gauge(names::PYTHON_LARGE)),
        ),
        ("python tracer", gauge(names::PYTHON_TRACER)),
        ("jvm direct buffers", gauge(names::JVM_DIRECT)),
    ]
}

/// Numbers of recordings may be anything. Whole bytes up to 2^53 add up exactly.
fn whole_bytes(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(0.0, 9_007_199_254_740_992.0).floor() }
}

/// Requests of more than 512 bytes. Known only when small ones were told apart.
fn python_large(traced: Option<f64>, small: Option<f64>) -> Option<f64> {
    traced.zip(small).map(|(traced, small)| (traced - small).max(0.0))
}

#[cfg(test)]
mod tests;
