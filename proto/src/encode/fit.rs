//! Makes a snapshot fit into one entry. Hosts with a few probes never come near; a custom probe with ten thousand gauges
//! does. What is left out is said in a note.

use prost::Message as _;

use crate::limits::{MAX_ENTRY_BYTES, MAX_READINGS};
use crate::v1;

/// For the entry's number and the field that holds the snapshot, and for what is added later: notes, some per reading, and
/// the names of the profiles' sources.
const SLACK: usize = 192 << 10;

/// Takes things out of `snapshot`, what matters least first, until it fits into an entry.
pub(super) fn fit(snapshot: &mut v1::Snapshot) {
    let mut cut = Cut::default();
    if snapshot.readings.len() > MAX_READINGS {
        cut.readings += snapshot.readings.len() - MAX_READINGS;
        snapshot.readings.truncate(MAX_READINGS);
    }
    while snapshot.encoded_len() > MAX_ENTRY_BYTES - SLACK && cut.once(snapshot) {}
    if cut != Cut::default()
        && let Some(reading) = snapshot.readings.first_mut()
    {
        reading.notes.push(cut.note());
    }
}

/// How much was left out.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cut {
    verdicts: usize,
    notes: usize,
    roots: usize,
    holders: usize,
    cycles: usize,
    gauges: usize,
    readings: usize,
    sinks: usize,
}

impl Cut {
    /// Halves the first kind of thing that there is more than enough of; whether there was any. Each call leaves less, so
    /// it ends; what is left then is a few strings within their bound.
    fn once(&mut self, snapshot: &mut v1::Snapshot) -> bool {
        if halve(&mut snapshot.verdicts, 16, &mut self.verdicts) {
            return true;
        }
        let readings = &mut snapshot.readings;
        readings.iter_mut().any(|reading| halve(&mut reading.notes, 4, &mut self.notes))
            || readings
                .iter_mut()
                .filter_map(|reading| reading.runtime.as_mut())
                .any(|runtime| halve(&mut runtime.source_roots, 4, &mut self.roots))
            || readings
                .iter_mut()
                .max_by_key(|reading| reading.holders.len())
                .is_some_and(|reading| halve(&mut reading.holders, 16, &mut self.holders))
            || readings.iter_mut().any(|reading| halve(&mut reading.cycles, 4, &mut self.cycles))
            || readings
                .iter_mut()
                .max_by_key(|reading| reading.gauges.len())
                .is_some_and(|reading| halve(&mut reading.gauges, 16, &mut self.gauges))
            || snapshot.own.as_mut().is_some_and(|own| halve(&mut own.sinks, 4, &mut self.sinks))
            || halve(readings, 1, &mut self.readings)
            || halve(&mut snapshot.verdicts, 0, &mut self.verdicts)
    }

    fn note(&self) -> String {
        format!(
            "the snapshot was too large for one entry; left out: {} readings, {} gauges, {} notes, {} source roots, \
             {} holders, {} cycles, {} verdicts, {} sinks",
            self.readings,
            self.gauges,
            self.notes,
            self.roots,
            self.holders,
            self.cycles,
            self.verdicts,
            self.sinks
        )
    }
}

/// Halves `list`, but not below `least`; whether that took anything.
fn halve<T>(list: &mut Vec<T>, least: usize, count: &mut usize) -> bool {
    let kept = (list.len() / 2).max(least);
    if kept >= list.len() {
        return false;
    }
    *count += list.len() - kept;
    list.truncate(kept);
    true
}
