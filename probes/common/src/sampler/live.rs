//! The sampled allocations that are live: address, call path, size.
//!
//! An open hash table in 64 parts that grow one by one, so that no single allocation of the host waits until a million
//! entries were moved. Where every allocation is kept, small ones are in a table of their own.

use super::dense::Dense;

const PARTS: usize = 64;
const FIRST: usize = 16;
/// Sizes from here on are kept in pages.
const LARGE: u32 = 1 << 31;
const PAGE_BITS: u32 = 12;

/// The highest bit of the word with the path's index tells the class.
const CLASS: u32 = 1 << 31;
/// The two bits below it count readings.
const ONE_READING: u32 = 1 << 29;
const READINGS: u32 = 3 * ONE_READING;
/// What is left for the path.
const STACK: u32 = ONE_READING - 1;
/// A block that was live at so many readings has survived; more are not counted.
pub const SURVIVAL_READINGS: u32 = READINGS / ONE_READING;

/// Which allocator serves an allocation, where the host's runtime has one of its own in front of malloc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The runtime's own.
    Small,
    /// Malloc.
    Large,
}

/// A live allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Live {
    stack: u32,
    size: u32,
}

impl Live {
    /// An allocation of `size` bytes with the call path `stack`, by index. Sizes from 2 GiB on are rounded down to pages.
    pub fn new(stack: u32, size: usize, class: Class) -> Self {
        let stack = stack & STACK | if class == Class::Large { CLASS } else { 0 };
        let size = match u32::try_from(size) {
            Ok(size) if size < LARGE => size,
            _ => LARGE | u32::try_from(size >> PAGE_BITS).unwrap_or(u32::MAX).min(LARGE - 1),
        };
        Self { stack, size }
    }

    /// Its call path, by index.
    #[inline]
    pub fn stack(self) -> u32 {
        self.stack & STACK
    }

    /// Who served it.
    #[inline]
    pub fn class(self) -> Class {
        if self.stack & CLASS == 0 { Class::Small } else { Class::Large }
    }

    /// The same with another path.
    pub fn moved_to(self, stack: u32) -> Self {
        Self { stack: self.stack & !STACK | stack & STACK, ..self }
    }

    /// One reading later. True when it has survived.
    pub fn grow_older(&mut self) -> bool {
        if self.stack & READINGS != READINGS {
            self.stack += ONE_READING;
        }
        self.readings() == SURVIVAL_READINGS
    }

    /// At how many readings it was live, as far as they are counted.
    pub fn readings(self) -> u32 {
        (self.stack & READINGS) / ONE_READING
    }

    /// Bytes.
    #[inline]
    pub fn size(self) -> u64 {
        match self.size {
            size if size < LARGE => u64::from(size),
            pages => u64::from(pages & (LARGE - 1)) << PAGE_BITS,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// 0: free.
    address: usize,
    live: Live,
}

const FREE: Entry = Entry { address: 0, live: Live { stack: 0, size: 0 } };

/// The table.
#[derive(Debug)]
pub struct LiveTable {
    parts: [Part; PARTS],
    dense: Option<Dense>,
    length: usize,
}

#[derive(Debug)]
struct Part {
    /// A power of two, or empty.
    entries: Vec<Entry>,
    length: usize,
}

impl LiveTable {
    /// Nothing, in no memory.
    pub const fn new() -> Self {
        Self { parts: [const { Part { entries: Vec::new(), length: 0 } }; PARTS], dense: None, length: 0 }
    }

    /// The same for when every allocation is kept.
    pub fn for_all() -> Self {
        Self { dense: Some(Dense::default()), ..Self::new() }
    }

    /// How many are live.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds one. `may_be_there`: the address may be in the table, because a free was missed; then what was there comes
    /// back.
    #[inline]
    pub fn insert(&mut self, address: usize, live: Live, may_be_there: bool) -> Option<Live> {
        let old = if may_be_there { self.remove(address) } else { None };
        self.add(address, live);
        old
    }

    #[inline]
    fn add(&mut self, address: usize, live: Live) {
        self.length += 1;
        let kept = self.dense.as_mut().is_some_and(|dense| dense.insert(address, live));
        if !kept {
            let (part, hash) = self.part(address);
            part.insert(Entry { address, live }, hash);
        }
    }

    /// Takes one out.
    #[inline]
    pub fn remove(&mut self, address: usize) -> Option<Live> {
        if let Some(live) = self.dense.as_mut().and_then(|dense| dense.remove(address)) {
            self.length -= 1;
            return Some(live);
        }
        let (part, hash) = self.part(address);
        let live = part.remove(address, hash)?;
        self.length -= 1;
        Some(live)
    }

    /// All of them, in no order. What is changed in them is kept.
    pub fn each(&mut self, visit: &mut dyn FnMut(&mut Live)) {
        if let Some(dense) = &mut self.dense {
            dense.each(visit);
        }
        for entry in self.parts.iter_mut().flat_map(|part| &mut part.entries) {
            if entry.address != 0 {
                visit(&mut entry.live);
            }
        }
    }

    /// Keeps those that `keep` says, of a table that is not for all.
    pub fn retain(&mut self, keep: &mut dyn FnMut(Live) -> bool) {
        for part in &mut self.parts {
            let entries = std::mem::take(&mut part.entries);
            part.length = 0;
            for entry in entries.into_iter().filter(|entry| entry.address != 0) {
                if keep(entry.live) {
                    part.insert(entry, hash(entry.address));
                } else {
                    self.length -= 1;
                }
            }
        }
    }

    #[inline]
    fn part(&mut self, address: usize) -> (&mut Part, u64) {
        let hash = hash(address);
        // The cut keeps the index below PARTS.
        (&mut self.parts[(hash >> 58) as usize & (PARTS - 1)], hash)
    }
}

impl Default for LiveTable {
    fn default() -> Self {
        Self::new()
    }
}

/// The upper bits choose the part, the ones below that the place.
#[inline]
fn hash(address: usize) -> u64 {
    ((address as u64) >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl Part {
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (hash >> 20) as usize & (self.entries.len() - 1)
    }

    #[inline]
    fn insert(&mut self, entry: Entry, hash: u64) {
        if self.length * 4 >= self.entries.len() * 3 {
            self.grow();
        }
        let mask = self.entries.len() - 1;
        let mut at = self.home(hash);
        loop {
            let found = &mut self.entries[at & mask];
            if found.address == 0 {
                *found = entry;
                self.length += 1;
                return;
            }
            at += 1;
        }
    }

    #[inline]
    fn remove(&mut self, address: usize, hash: u64) -> Option<Live> {
        if self.entries.is_empty() {
            return None;
        }
        let mask = self.entries.len() - 1;
        let mut at = self.home(hash);
        let live = loop {
            let found = self.entries[at & mask];
            if found.address == 0 {
                return None;
            }
            if found.address == address {
                break found.live;
            }
            at += 1;
        };
        self.close(at & mask);
        self.length -= 1;
        Some(live)
    }

    /// Frees the place `hole`, and moves what comes after it back, so that no search ends too early.
    #[inline]
    fn close(&mut self, mut hole: usize) {
        let mask = self.entries.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let entry = self.entries[at];
            if entry.address == 0 {
                break;
            }
            // How far each is from where the entry would like to be.
            let home = self.home(self::hash(entry.address));
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.entries[hole] = entry;
                hole = at;
            }
        }
        self.entries[hole] = FREE;
    }

    #[cold]
    fn grow(&mut self) {
        let length = (self.entries.len() * 2).max(FIRST);
        let old = std::mem::replace(&mut self.entries, vec![FREE; length]);
        self.length = 0;
        for entry in old.into_iter().filter(|entry| entry.address != 0) {
            self.insert(entry, hash(entry.address));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// As std's map over `steps` random insertions and removals of `addresses` different addresses.
    fn check(mut table: LiveTable, steps: u64, addresses: u64) {
        let mut expected = HashMap::new();
        let mut x = 88_172_645_463_325_252_u64;
        for step in 0..steps {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let address = ((x % addresses) as usize + 1) * 16;
            if x >> 40 & 1 == 0 {
                let live = Live::new(step as u32, x as usize >> 50 & 0x3ff, Class::Small);
                let old = table.insert(address, live, expected.contains_key(&address));
                assert_eq!(old, expected.insert(address, live));
            } else {
                assert_eq!(table.remove(address), expected.remove(&address));
            }
            assert_eq!(table.len(), expected.len());
        }
        let (mut found, mut all) = (Vec::new(), Vec::new());
        table.each(&mut |live| found.push((live.stack(), live.size())));
        all.extend(expected.values().map(|live| (live.stack(), live.size())));
        found.sort_unstable();
        all.sort_unstable();
        assert_eq!(found, all);
        if table.dense.is_none() {
            table.retain(&mut |live| live.size() % 2 == 0);
            expected.retain(|_, live| live.size() % 2 == 0);
        }
        assert_eq!(table.len(), expected.len());
        assert!(expected.iter().all(|(address, live)| table.remove(*address) == Some(*live)));
        assert!(table.is_empty());
    }

    #[test]
    fn it_does_what_a_map_does() {
        for table in [LiveTable::new, LiveTable::for_all] {
            check(table(), 10_000, 20);
            check(table(), 100_000, 3_000);
            check(table(), 300_000, 200_000);
        }
    }

    #[test]
    fn sizes_of_more_than_two_gigabytes_are_kept_to_the_page() {
        let cases: [(usize, usize); 5] =
            [(0, 0), (1, 1), ((1 << 31) - 1, (1 << 31) - 1), (1 << 31, 1 << 31), ((5 << 30) + 5, 5 << 30)];
        for (size, kept) in cases {
            assert_eq!(Live::new(7, size, Class::Small).size(), kept as u64, "{size}");
        }
    }

    #[test]
    fn a_path_and_a_class_share_a_word() {
        for class in [Class::Small, Class::Large] {
            let live = Live::new(7, 5, class);
            assert_eq!((live.stack(), live.class(), live.size()), (7, class, 5));
            let mut moved = live.moved_to(9);
            assert_eq!((moved.stack(), moved.class(), moved.size()), (9, class, 5));
            let survived: Vec<bool> = (0..5).map(|_| moved.grow_older()).collect();
            assert_eq!(survived, [false, false, true, true, true]);
            assert_eq!((moved.stack(), moved.class(), moved.size()), (9, class, 5));
            assert!(moved.moved_to(7).grow_older());
        }
    }
}
