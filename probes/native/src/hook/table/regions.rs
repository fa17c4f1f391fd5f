//! The mappings, by address, none over another.

use std::sync::atomic::Ordering::Relaxed;

use leakline_probing::sampler::estimate::{Sums, weight};

use super::write::{Tables, Walked};
use super::{Region, Table, begin_change, end_change, pack, path_of};

/// A mapping as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) start: u64,
    pub(super) end: u64,
    /// The path's place (upper half), and at which reading it was made.
    pub(super) word: u64,
}

impl Region {
    pub(super) fn get(&self) -> Kept {
        let [start, end, word] = &self.0;
        Kept { start: start.load(Relaxed), end: end.load(Relaxed), word: word.load(Relaxed) }
    }

    fn set(&self, kept: Kept) {
        let [start, end, word] = &self.0;
        start.store(kept.start, Relaxed);
        end.store(kept.end, Relaxed);
        word.store(kept.word, Relaxed);
    }
}

impl Tables {
    /// Keeps a mapping, in place of whatever lies there.
    pub(in crate::hook) fn map_region(&mut self, start: usize, length: usize, walked: Walked<'_>) {
        let Some(table) = self.table else { return };
        self.unmap_region(start, length);
        let path = self.path(&table, walked);
        let (start, end) = (start as u64, start.saturating_add(length) as u64);
        let born = table.header.readings.load(Relaxed);
        let kept = Kept { start, end, word: pack(path, 0) | u64::from(born) };
        begin_change(&table.header.regions_change);
        let at = table.first_after(start);
        if table.insert(at, kept) {
            self.count(&table, kept, Sums::add);
        }
        end_change(&table.header.regions_change);
    }

    /// Takes off whatever lies in the range.
    pub(in crate::hook) fn unmap_region(&mut self, start: usize, length: usize) {
        let Some(table) = self.table else { return };
        let (start, end) = (start as u64, start.saturating_add(length) as u64);
        let first = table.first_after(start);
        let is_hit = |at: usize| at < table.regions_length() && table.region(at).start < end;
        if !is_hit(first) {
            return;
        }
        begin_change(&table.header.regions_change);
        let mut at = first;
        let (mut covered_from, mut covered) = (first, 0);
        while is_hit(at) {
            let kept = table.region(at);
            self.count(&table, kept, Sums::remove);
            let (before, after) = (kept.start < start, kept.end > end);
            if before {
                let part = Kept { end: start, ..kept };
                table.put(at, part);
                self.count(&table, part, Sums::add_back);
                covered_from = at + 1;
            }
            if after {
                let part = Kept { start: end, ..kept };
                let is_kept = if before {
                    table.insert(at + 1, part)
                } else {
                    table.put(at, part);
                    true
                };
                if is_kept {
                    self.count(&table, part, Sums::add_back);
                }
                break;
            }
            if !before {
                covered += 1;
            }
            at += 1;
        }
        table.delete(covered_from, covered);
        end_change(&table.header.regions_change);
    }

    /// Whether a mapping is kept that `address` lies in.
    pub(in crate::hook) fn has_region(&self, address: usize) -> bool {
        self.table.is_some_and(|table| {
            let at = table.first_after(address as u64);
            at < table.regions_length() && table.region(at).start <= address as u64
        })
    }

    fn count(
        &mut self,
        table: &Table,
        kept: Kept,
        how: impl FnOnce(&mut Sums, leakline_probing::sampler::estimate::Weight),
    ) {
        let path = path_of(kept.word);
        if let Some(slot) = table.slots.get(path as usize) {
            self.change(slot, path, |sums| how(sums, weight(kept.end.saturating_sub(kept.start), 0)));
        }
    }
}

impl Table {
    pub(super) fn regions_length(&self) -> usize {
        (self.header.regions_length.load(Relaxed) as usize).min(self.regions.len())
    }

    pub(super) fn region(&self, at: usize) -> Kept {
        self.regions.get(at).map_or(Kept { start: u64::MAX, end: u64::MAX, word: 0 }, Region::get)
    }

    fn put(&self, at: usize, kept: Kept) {
        if let Some(region) = self.regions.get(at) {
            region.set(kept);
        }
    }

    /// The first mapping that ends after `address`.
    fn first_after(&self, address: u64) -> usize {
        let (mut low, mut high) = (0, self.regions_length());
        while low < high {
            let middle = low.midpoint(high);
            if self.region(middle).end <= address { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// False: there is no room.
    fn insert(&self, at: usize, kept: Kept) -> bool {
        let length = self.regions_length();
        if length >= self.regions.len() {
            self.header.counts.lost_regions.fetch_add(1, Relaxed);
            return false;
        }
        (at..length).rev().for_each(|from| self.put(from + 1, self.region(from)));
        self.put(at, kept);
        self.header.regions_length.store(length as u32 + 1, Relaxed);
        true
    }

    fn delete(&self, at: usize, count: usize) {
        if count > 0 {
            let length = self.regions_length();
            (at + count..length).for_each(|from| self.put(from - count, self.region(from)));
            self.header.regions_length.store((length - count) as u32, Relaxed);
        }
    }
}
