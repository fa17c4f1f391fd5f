//! The ledger: the resident size split into parts that add up to it.
//! Pure: takes the gauges of one snapshot and nothing else.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::model::Snapshot;

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
    /// The parts.
    pub parts: Vec<LedgerPart>,
}

impl Ledger {
    /// Balances the gauges of `snapshot`; `None` where it has no resident size.
    pub fn of(snapshot: &Snapshot) -> Option<Self> {
        let _ = snapshot;
        todo!()
    }
}
