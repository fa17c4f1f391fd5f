//! What a report says, as data: the session, what was read of it, and what follows from that.
//! Never text or JSON; never a file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use leakline_core::{
    Cause, Cycle, Explanation, Fragmentation, GrowingResource, Growth, GrowthPerMark, Holder, Layer, Ledger,
    Loss, Mark, OwnCost, PartVerdict, ProfileSource, ReadCost, Session, Subject, Timestamp, Verdict,
};

use crate::symbols::WithoutSymbols;

/// Everything that is shown of a session.
#[derive(Debug)]
pub(crate) struct Report {
    /// The host and its run.
    pub(crate) session: Session,
    /// What was found in it, by layer: runtimes, an allocator, a kernel.
    pub(crate) runtimes: Vec<(Layer, String)>,
    /// Prefixes that are left out of source paths.
    pub(crate) roots: Vec<String>,
    /// When it ended in an orderly way; `None`: a kill, or it still runs.
    pub(crate) ended: Option<Timestamp>,
    /// Why nothing follows, though the session may have gone on.
    pub(crate) cut: Option<String>,
    /// Why figures of the last readings are incomplete, one line each.
    pub(crate) incomplete: Vec<String>,
    /// One per snapshot, in order; never empty.
    pub(crate) rows: Vec<Row>,
    /// After the last of `rows`, the worst first.
    pub(crate) verdicts: Vec<Verdict>,
    /// What each part of the ledger does, in the ledger's order.
    pub(crate) parts: Vec<PartVerdict>,
    /// What the resident size does.
    pub(crate) resident: PartVerdict,
    /// Which layer causes which.
    pub(crate) explanations: Vec<Explanation>,
    /// Which resources beside memory grow.
    pub(crate) growing: Vec<GrowingResource>,
    /// Set when free bytes inside malloc, and no leak, explain the growth.
    pub(crate) fragmentation: Option<Fragmentation>,
    /// Both in words, one line each.
    pub(crate) remarks: Vec<String>,
    /// What grew between two snapshots, per profile.
    pub(crate) growths: Vec<ProbeGrowth>,
    /// By probe: who holds objects of the growing types, when it was told last.
    pub(crate) holders: BTreeMap<String, Vec<Holder>>,
    /// Cycles across two heaps, when they were looked for last and any was found.
    pub(crate) cycles: Vec<Cycle>,
    /// Named events within the rows' time.
    pub(crate) marks: Vec<Mark>,
    /// Leaking layers whose growth goes with a mark: the mark's name, the layer.
    pub(crate) per_mark: Vec<(String, Layer, GrowthPerMark)>,
    /// What went wrong while reading the host, per probe.
    pub(crate) probes: BTreeMap<String, ProbeHealth>,
    /// Snapshots that were taken but are not here.
    pub(crate) lost: Loss,
    /// Entries that were made but are not here.
    pub(crate) missing_entries: u64,
    /// leakline's own cost at the last of `rows`.
    pub(crate) own: OwnCost,
    /// What of the recording could not be read, each in a line that says where.
    pub(crate) problems: Vec<String>,
    /// Problems after those that are told.
    pub(crate) more_problems: u64,
    /// Whether one of them is more than an end that is not whole.
    pub(crate) damaged: bool,
    /// Objects with native code that nobody could name, or not for sure.
    pub(crate) without_symbols: Vec<WithoutSymbols>,
}

/// One snapshot without its profiles.
#[derive(Debug)]
pub(crate) struct Row {
    /// Its number.
    pub(crate) number: u64,
    /// Its instant.
    pub(crate) at: Timestamp,
    /// Why it was taken.
    pub(crate) cause: Cause,
    /// The interval in force.
    pub(crate) interval: Duration,
    /// Ticks missed before it.
    pub(crate) missed_ticks: u64,
    /// Jump of the wall clock before it.
    pub(crate) clock_jump_nanos: i64,
    /// Between the layers' readings.
    pub(crate) skew_nanos: Option<u64>,
    /// The resident size and its parts.
    pub(crate) ledger: Option<Ledger>,
    /// All gauges.
    pub(crate) gauges: Vec<(Arc<str>, f64)>,
    /// What each probe's reading cost.
    pub(crate) costs: Vec<(Arc<str>, ReadCost)>,
}

impl Row {
    /// The value of a gauge.
    pub(crate) fn gauge(&self, name: &str) -> Option<f64> {
        self.gauges.iter().find(|(known, _)| **known == *name).map(|(_, value)| *value)
    }

    /// Seconds since boot: for differences of time, which a clock that is set must not change.
    pub(crate) fn seconds(&self) -> f64 {
        self.at.boot_nanos as f64 / 1e9
    }
}

/// What grew in one profile of a probe.
#[derive(Debug)]
pub(crate) struct ProbeGrowth {
    /// The probe.
    pub(crate) probe: String,
    /// Where both profiles come from.
    pub(crate) source: ProfileSource,
    /// Its layer.
    pub(crate) layer: Layer,
    /// Number of the snapshot that is counted from.
    pub(crate) from: u64,
    /// Number of the snapshot that is counted to.
    pub(crate) to: u64,
    /// The sites, most grown first.
    pub(crate) growth: Growth,
}

/// How often a probe did not answer.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct ProbeHealth {
    /// Snapshots in which it answered.
    pub(crate) ok: u64,
    /// Snapshots that went out without it.
    pub(crate) late: u64,
    /// Snapshots at which it failed.
    pub(crate) failed: u64,
    /// Snapshots at which there was nothing to read.
    pub(crate) absent: u64,
    /// The last failure, or why it is absent.
    pub(crate) last_words: String,
    /// Degraded modes and limits: as last said, and how often.
    pub(crate) notes: Vec<(String, u64)>,
}

/// Different notes that are kept of one probe.
const MAX_NOTES: usize = 8;

impl ProbeHealth {
    /// Counts a note. Those that differ in their numbers only are the same.
    pub(crate) fn note(&mut self, note: &str) {
        let words = |note: &str| note.split(|c: char| c.is_ascii_digit()).collect::<String>();
        let is_full = self.notes.len() >= MAX_NOTES;
        match self.notes.iter_mut().find(|(known, _)| words(known) == words(note)) {
            Some((known, count)) => {
                *count += 1;
                note.clone_into(known);
            }
            None if is_full => {}
            None => self.notes.push((note.to_owned(), 1)),
        }
    }
}

impl Report {
    /// Median and greatest skew, nanoseconds.
    pub(crate) fn skew(&self) -> Option<(u64, u64)> {
        let mut all: Vec<u64> = self.rows.iter().filter_map(|row| row.skew_nanos).collect();
        all.sort_unstable();
        Some((*all.get(all.len() / 2)?, *all.last()?))
    }

    /// Whether `layer` as a whole was found to leak.
    pub(crate) fn leaks(&self, layer: Layer) -> bool {
        self.verdicts.iter().any(|verdict| {
            verdict.kind.leaks() && matches!(verdict.subject, Subject::Layer(of) if of == layer)
        })
    }

    /// Ticks that passed without a snapshot.
    pub(crate) fn missed_ticks(&self) -> u64 {
        self.rows.iter().map(|row| row.missed_ticks).sum()
    }

    /// From the first snapshot to the last.
    pub(crate) fn span(&self) -> Duration {
        match (self.rows.first(), self.rows.last()) {
            (Some(first), Some(last)) => {
                Duration::from_nanos(last.at.boot_nanos.saturating_sub(first.at.boot_nanos))
            }
            _ => Duration::ZERO,
        }
    }

    /// The ledger's parts over all snapshots in the order in which a ledger names them, each with its bytes by row.
    pub(crate) fn ledger_parts(&self) -> Vec<(String, Vec<Option<f64>>)> {
        let mut parts: Vec<(String, Vec<Option<f64>>)> = Vec::new();
        for (index, row) in self.rows.iter().enumerate() {
            let mut previous = None;
            for part in row.ledger.iter().flat_map(|ledger| &ledger.parts) {
                let at = parts.iter().position(|(name, _)| *name == part.name).unwrap_or_else(|| {
                    // A part that shows up later stands behind the one that it follows in its own ledger.
                    let at = previous.map_or(0, |previous| previous + 1);
                    parts.insert(at, (part.name.to_string(), vec![None; self.rows.len()]));
                    at
                });
                if let Some(slot) = parts.get_mut(at).and_then(|(_, values)| values.get_mut(index)) {
                    *slot = Some(part.bytes);
                }
                previous = Some(at);
            }
        }
        parts
    }

    /// What a series grows by in a second: the median of the slopes between its points, so that a start-up or a single
    /// spike does not make it.
    pub(crate) fn slope(&self, values: &[Option<f64>]) -> Option<f64> {
        let points: Vec<(f64, f64)> = self
            .rows
            .iter()
            .zip(values)
            .filter_map(|(row, value)| Some((row.seconds(), (*value)?)))
            .collect();
        // Pairs grow with the square: 64 points make 2016.
        let step = points.len().div_ceil(64).max(1);
        let points: Vec<(f64, f64)> = points.into_iter().rev().step_by(step).collect();
        let mut slopes: Vec<f64> = Vec::new();
        for (index, later) in points.iter().enumerate() {
            let earlier = points.iter().skip(index + 1).filter(|earlier| later.0 > earlier.0);
            slopes.extend(earlier.map(|earlier| (later.1 - earlier.1) / (later.0 - earlier.0)));
        }
        slopes.sort_unstable_by(f64::total_cmp);
        slopes.get(slopes.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_that_differ_in_numbers_only_are_one() {
        let mut health = ProbeHealth::default();
        for note in ["held for 12 ms", "held for 9 ms", "no profile", "held for 130 ms"] {
            health.note(note);
        }
        let expected = [("held for 130 ms".to_owned(), 3), ("no profile".to_owned(), 1)];
        assert_eq!(health.notes, expected);
    }
}
