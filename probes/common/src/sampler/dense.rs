//! Small allocations that are live, in the order of their addresses: for when all of them are kept. An allocator that
//! serves blocks of one size from one page has neighbours allocated and freed together, so their entries should lie
//! together, too; in a hash table each would be a cache miss of its own, and four times as large.
//!
//! A page has one leaf, with a slot for each block of the size that was seen in it first. A block that finds its slot
//! taken (an allocator that mixes sizes) is refused, and the caller keeps it elsewhere. A leaf stays when it is empty: it
//! is going to be filled again.

use rustc_hash::FxHashMap;

use super::live::{Class, Live};

const PAGE_BITS: u32 = 12;
const REGION_BITS: u32 = 26;
const PAGES: usize = 1 << (REGION_BITS - PAGE_BITS);
const GRANULE_BITS: u32 = 4;
/// Largest size that is kept here.
const MAX_SIZE: u64 = 512;
const NO_LEAF: u32 = u32::MAX;
/// Granules of a page, less one.
const GRANULES: u32 = (1 << (PAGE_BITS - GRANULE_BITS)) - 1;

/// The table.
#[derive(Debug, Default)]
pub(super) struct Dense {
    regions: FxHashMap<usize, u32>,
    /// For each region the leaf of each page, by index.
    pages: Vec<Box<[u32]>>,
    leaves: Vec<Leaf>,
    /// The region that was looked at last and its index.
    last: Option<(usize, u32)>,
}

#[derive(Debug)]
struct Leaf {
    /// Granules from one block to the next.
    step: u32,
    /// 2^16 divided by it, rounded up: exact for numbers of granules in a page.
    inverse: u32,
    length: u32,
    slots: Box<[Slot]>,
}

/// A block: its call path, and in one word its place in the page (from bit 16 on) and its size, plus one; 0: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Slot {
    stack: u32,
    word: u32,
}

impl Dense {
    /// Keeps `live` at `address`, which is not kept yet. False: another block has its slot, or it is not for here.
    #[inline]
    pub(super) fn insert(&mut self, address: usize, live: Live) -> bool {
        if live.size() > MAX_SIZE || live.class() != Class::Small || address & 0xF != 0 {
            return false;
        }
        let granule = granule(address);
        let index = match self.leaf(address) {
            Some(index) => index,
            None => self.add_leaf(address, live.size()),
        };
        let Some(leaf) = self.leaves.get_mut(index as usize) else { return false };
        let step = step(live.size());
        if leaf.length == 0 && leaf.step != step {
            *leaf = Leaf::new(step);
        }
        let Some(slot) = leaf.slots.get_mut(leaf.place(granule)) else { return false };
        if slot.word != 0 {
            return false;
        }
        *slot = Slot { stack: live.stack(), word: granule << 16 | (live.size() as u32 + 1) };
        leaf.length += 1;
        true
    }

    /// Takes the block at `address` out.
    #[inline]
    pub(super) fn remove(&mut self, address: usize) -> Option<Live> {
        let granule = granule(address);
        let index = self.leaf(address)?;
        let leaf = self.leaves.get_mut(index as usize)?;
        let place = leaf.place(granule);
        let slot = leaf.slots.get_mut(place)?;
        if slot.word == 0 || slot.word >> 16 != granule || address & 0xF != 0 {
            return None;
        }
        leaf.length -= 1;
        Some(std::mem::take(slot).live())
    }

    /// All of them, in no order. What is changed in them is kept.
    pub(super) fn each(&mut self, visit: &mut dyn FnMut(&mut Live)) {
        let slots =
            self.leaves.iter_mut().filter(|leaf| leaf.length > 0).flat_map(|leaf| leaf.slots.iter_mut());
        for slot in slots.filter(|slot| slot.word != 0) {
            let mut live = slot.live();
            visit(&mut live);
            slot.stack = live.stack();
        }
    }

    /// The leaf of the page of `address`.
    #[inline]
    fn leaf(&mut self, address: usize) -> Option<u32> {
        let region = address >> REGION_BITS;
        let index = match self.last {
            Some((last, index)) if last == region => index,
            _ => {
                let index = *self.regions.get(&region)?;
                self.last = Some((region, index));
                index
            }
        };
        let leaf = *self.pages.get(index as usize)?.get(address >> PAGE_BITS & (PAGES - 1))?;
        (leaf != NO_LEAF).then_some(leaf)
    }

    #[cold]
    fn add_leaf(&mut self, address: usize, size: u64) -> u32 {
        let pages = &mut self.pages;
        let region = *self.regions.entry(address >> REGION_BITS).or_insert_with(|| {
            pages.push(vec![NO_LEAF; PAGES].into_boxed_slice());
            (pages.len() - 1) as u32
        });
        let index = self.leaves.len() as u32;
        self.leaves.push(Leaf::new(step(size)));
        let page = self
            .pages
            .get_mut(region as usize)
            .and_then(|pages| pages.get_mut(address >> PAGE_BITS & (PAGES - 1)));
        page.into_iter().for_each(|page| *page = index);
        index
    }
}

impl Leaf {
    fn new(step: u32) -> Self {
        let slots = vec![Slot::default(); (GRANULES / step + 1) as usize].into_boxed_slice();
        Self { step, inverse: (1_u32 << 16).div_ceil(step), length: 0, slots }
    }

    #[inline]
    fn place(&self, granule: u32) -> usize {
        ((granule * self.inverse) >> 16) as usize
    }
}

impl Slot {
    #[inline]
    fn live(self) -> Live {
        Live::new(self.stack, (self.word & 0xFFFF) as usize - 1, Class::Small)
    }
}

/// Granules that a block of `size` bytes takes.
#[inline]
fn step(size: u64) -> u32 {
    (size as u32).div_ceil(1 << GRANULE_BITS).max(1)
}

/// Where in its page an address is.
#[inline]
fn granule(address: usize) -> u32 {
    (address >> GRANULE_BITS) as u32 & GRANULES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_by_the_inverse_is_division() {
        for step in 1..=32 {
            let leaf = Leaf::new(step);
            for granule in 0..=GRANULES {
                assert_eq!(leaf.place(granule), (granule / step) as usize, "{granule} / {step}");
                assert!(leaf.place(granule) < leaf.slots.len());
            }
        }
    }

    #[test]
    fn a_page_that_was_emptied_takes_blocks_of_another_size() {
        let mut dense = Dense::default();
        let small = |size| Live::new(7, size, Class::Small);
        assert!(dense.insert(0x1000, small(512)));
        assert!(!dense.insert(0x1010, small(16)));
        assert_eq!(dense.remove(0x1010), None);
        assert_eq!(dense.remove(0x1000), Some(small(512)));
        assert!(dense.insert(0x1010, small(16)) && dense.insert(0x1020, small(0)));
        assert_eq!((dense.remove(0x1010), dense.remove(0x1020)), (Some(small(16)), Some(small(0))));
    }

    #[test]
    fn large_blocks_are_not_for_it() {
        let mut dense = Dense::default();
        assert!(!dense.insert(0x1000, Live::new(7, 513, Class::Small)));
        assert!(!dense.insert(0x1000, Live::new(7, 16, Class::Large)));
    }
}
