//! A hash table of a fixed size: which place something is kept at. Linear probing; what is taken out leaves no trace, as
//! what follows is moved up. Changed under the lock; whoever looks without it must check that nothing moved meanwhile.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Places plus one, by hash; 0: none. A power of two, and never full.
#[derive(Debug, Clone, Copy)]
pub(super) struct Index<'a>(pub(super) &'a [AtomicU32]);

impl Index<'_> {
    fn mask(self) -> usize {
        self.0.len().wrapping_sub(1)
    }

    fn at(self, at: usize) -> u32 {
        self.0.get(at & self.mask()).map_or(0, |place| place.load(Relaxed))
    }

    fn set(self, at: usize, value: u32) {
        if let Some(place) = self.0.get(at & self.mask()) {
            place.store(value, Relaxed);
        }
    }

    /// The place with this hash that `is_it` says is the one. Ends also while somebody changes the table.
    #[inline]
    pub(super) fn find(self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.position(hash, is_it).map(|(_, place)| place)
    }

    #[inline]
    fn position(self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        let home = hash as usize;
        for step in 0..self.0.len() {
            let at = home.wrapping_add(step);
            let place = self.at(at).checked_sub(1)?;
            if is_it(place) {
                return Some((at, place));
            }
        }
        None
    }

    /// Adds a place that is not there yet.
    pub(super) fn add(self, hash: u64, place: u32) {
        let home = hash as usize;
        let free = (0..self.0.len()).map(|step| home.wrapping_add(step)).find(|at| self.at(*at) == 0);
        if let Some(at) = free {
            self.set(at, place + 1);
        }
    }

    /// Takes a place out; `hash_of` tells the hash of any other that is there.
    pub(super) fn remove(self, hash: u64, place: u32, hash_of: impl Fn(u32) -> u64) {
        let Some((mut hole, _)) = self.position(hash, |found| found == place) else { return };
        let mask = self.mask();
        let mut at = hole;
        for _ in 0..self.0.len() {
            at = at.wrapping_add(1);
            let Some(next) = self.at(at).checked_sub(1) else { break };
            let home = hash_of(next) as usize;
            // It may move up if the hole lies between its home and where it is.
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.set(hole, next + 1);
                hole = at;
            }
        }
        self.set(hole, 0);
    }
}
