//! Which addresses are sampled: one bit for every 16 bytes of address space, so that a free of a pointer that was not
//! sampled costs few loads and is never mistaken.
//!
//! Before those bits stands a filter of 8 KiB, one bit for all addresses of a hash: it stays in the processor's first
//! cache, where the bits of a large heap do not, and nearly always says that an address is none.
//!
//! The address space is cut into parts of 16 GiB and those into regions of 1 MiB. A region gets its bits (8 KiB) when its
//! first mark is set. A host with a heap of 50 MiB needs about 1 MiB of address space for all of it, of which the kernel
//! backs what was written to. Nothing is ever unmapped, so a reader needs no lock. Setting and clearing need one: the
//! caller's.

use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::Release};

/// Allocators align to 16 bytes; two pointers of one granule are told apart by who keeps the samples.
const GRANULE_BITS: u32 = 4;
const REGION_BITS: u32 = 20;
const PART_BITS: u32 = if usize::BITS < 34 { 30 } else { 34 };
/// User space of every 64-bit system that CPython and a JVM run on; above that are tags, which are left out.
const ADDRESS_BITS: u32 = if usize::BITS < 48 { usize::BITS } else { 48 };
const PARTS: usize = 1 << (ADDRESS_BITS - PART_BITS);
const REGIONS: usize = 1 << (PART_BITS - REGION_BITS);
const REGION_BYTES: usize = 1 << (REGION_BITS - GRANULE_BITS - 3);
const PAGE: usize = 4096;
/// Regions that are mapped at once.
const SLAB: usize = 16;

/// Bits of the filter.
const FILTER_BITS: u32 = 16;
const FILTER: usize = 1 << FILTER_BITS;

/// A region's bits.
type Bits = [AtomicU8; REGION_BYTES];
const _: () = assert!(REGION_BYTES / PAGE <= 8, "a byte says which pages were written to");

/// The regions of a part of the address space.
#[repr(C)]
struct Part {
    regions: [AtomicPtr<Bits>; REGIONS],
    /// Of each, which of the pages of its bits were written to.
    written: [AtomicU8; REGIONS],
    /// The part that was added before.
    before: AtomicPtr<Part>,
}

/// Says of nearly every address that it was not added, and never so of one that was. Changes need a lock, the caller's.
#[derive(Debug)]
pub struct Filter {
    bits: [AtomicU8; FILTER / 8],
    /// How many addresses stand behind each bit; once it is at its most, it stays.
    counts: [AtomicU8; FILTER],
}

impl Filter {
    /// Nothing was added.
    pub const fn new() -> Self {
        Self { bits: [const { AtomicU8::new(0) }; FILTER / 8], counts: [const { AtomicU8::new(0) }; FILTER] }
    }

    /// Whether `address` may have been added.
    #[inline(always)]
    pub fn may_have(&self, address: usize) -> bool {
        let hash = hash(address);
        // SAFETY: a hash is below FILTER.
        let bits = unsafe { self.bits.get_unchecked(hash / 8) };
        bits.load(Relaxed) >> (hash % 8) & 1 != 0
    }

    /// Adds an address that is not there.
    pub fn add(&self, address: usize) {
        self.count(address, |count| count.saturating_add(1));
    }

    /// Takes out an address that was added.
    pub fn remove(&self, address: usize) {
        self.count(address, |count| if count == u8::MAX { count } else { count.saturating_sub(1) });
    }

    /// Takes all out.
    pub fn clear(&self) {
        self.bits.iter().chain(&self.counts).for_each(|byte| byte.store(0, Relaxed));
    }

    fn count(&self, address: usize, change: impl Fn(u8) -> u8) {
        let hash = hash(address);
        let (Some(counts), Some(bits)) = (self.counts.get(hash), self.bits.get(hash / 8)) else { return };
        let count = change(counts.load(Relaxed));
        counts.store(count, Relaxed);
        let (others, bit) = (bits.load(Relaxed) & !(1 << (hash % 8)), u8::from(count > 0) << (hash % 8));
        bits.store(others | bit, Relaxed);
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self::new()
    }
}

/// The marks.
#[derive(Debug)]
pub struct Marks {
    parts: AtomicPtr<AtomicPtr<Part>>,
    /// The part that was added last; the others hang on it.
    last: AtomicPtr<Part>,
    /// Regions that were mapped and are nobody's yet: where the next one is, and how many are left.
    spare: AtomicPtr<Bits>,
    spares: AtomicUsize,
    written_pages: AtomicU64,
    filter: Filter,
}

impl Marks {
    /// No marks, and no memory yet.
    pub const fn new() -> Self {
        Self {
            parts: AtomicPtr::new(null_mut()),
            last: AtomicPtr::new(null_mut()),
            spare: AtomicPtr::new(null_mut()),
            spares: AtomicUsize::new(0),
            written_pages: AtomicU64::new(0),
            filter: Filter::new(),
        }
    }

    /// Reserves the table. False: the system has no address space for it. To be called before any mark is set; again, it
    /// does nothing. Not from two threads at once.
    pub fn reserve(&self) -> bool {
        if !self.parts.load(Relaxed).is_null() {
            return true;
        }
        match map(PARTS * size_of::<AtomicPtr<Part>>()) {
            Some(table) => {
                self.parts.store(table.cast().as_ptr(), Release);
                true
            }
            None => false,
        }
    }

    /// Whether `address` is marked.
    #[inline(always)]
    pub fn has(&self, address: usize) -> bool {
        self.filter.may_have(address) && self.has_exactly(address)
    }

    #[inline]
    fn has_exactly(&self, address: usize) -> bool {
        let Some(region) = self.part(address).and_then(|part| part.region(address)) else { return false };
        let (byte, bit) = place(address);
        // SAFETY: `byte` is below the region's length, which is a power of two that `place` cuts it to.
        let bits = unsafe { region.get_unchecked(byte) };
        bits.load(Relaxed) & bit != 0
    }

    /// Marks `address`; false where there is no memory for it. The caller has the lock.
    pub fn set(&self, address: usize) -> bool {
        let Some(part) = self.part(address).or_else(|| self.add_part(address)) else { return false };
        let Some(region) = part.region(address).or_else(|| self.add_region(part, address)) else {
            return false;
        };
        let (byte, bit) = place(address);
        let (Some(bits), Some(written)) = (region.get(byte), part.written.get(region_of(address))) else {
            return false;
        };
        if bits.load(Relaxed) & bit != 0 {
            return true;
        }
        bits.store(bits.load(Relaxed) | bit, Relaxed);
        self.filter.add(address);
        let page = 1_u8 << (byte / PAGE);
        if written.load(Relaxed) & page == 0 {
            written.store(written.load(Relaxed) | page, Relaxed);
            self.written_pages.fetch_add(1, Relaxed);
        }
        true
    }

    /// Takes the mark off. The caller has the lock.
    pub fn clear(&self, address: usize) {
        let Some(region) = self.part(address).and_then(|part| part.region(address)) else { return };
        let (byte, bit) = place(address);
        if let Some(bits) = region.get(byte)
            && bits.load(Relaxed) & bit != 0
        {
            bits.store(bits.load(Relaxed) & !bit, Relaxed);
            self.filter.remove(address);
        }
    }

    /// Takes all marks off, and gives their memory back to the system. The caller has the lock.
    pub fn clear_all(&self) {
        let mut next = self.last.load(Relaxed);
        // SAFETY: null, or a part that is never unmapped.
        while let Some(part) = unsafe { next.as_ref() } {
            let regions = part.regions.iter().map(|region| region.load(Relaxed));
            for (region, written) in regions.zip(&part.written).filter(|(region, _)| !region.is_null()) {
                if written.swap(0, Relaxed) != 0 {
                    // SAFETY: whole pages of a mapping that only `Marks` uses; readers see zeros from now on.
                    unsafe { libc::madvise(region.cast(), REGION_BYTES, libc::MADV_DONTNEED) };
                }
            }
            next = part.before.load(Relaxed);
        }
        self.written_pages.store(0, Relaxed);
        self.filter.clear();
    }

    /// Bytes of memory behind the marks.
    pub fn held_bytes(&self) -> u64 {
        self.written_pages.load(Relaxed) * PAGE as u64
    }

    #[inline(always)]
    fn part(&self, address: usize) -> Option<&Part> {
        let part = self.entry(address)?.load(Relaxed);
        // SAFETY: null, or a part that is never unmapped.
        unsafe { part.as_ref() }
    }

    /// The table's entry for the part of `address`.
    #[inline(always)]
    fn entry(&self, address: usize) -> Option<&AtomicPtr<Part>> {
        let table = NonNull::new(self.parts.load(Relaxed))?;
        // SAFETY: the index is below PARTS, which is a power of two that it is cut to.
        let entry = unsafe { table.add((address >> PART_BITS) & (PARTS - 1)) };
        // SAFETY: the table is never unmapped, and zeroed where nothing was stored.
        Some(unsafe { entry.as_ref() })
    }

    #[cold]
    fn add_part(&self, address: usize) -> Option<&Part> {
        let entry = self.entry(address)?;
        let part: NonNull<Part> = map(size_of::<Part>())?.cast();
        // SAFETY: the mapping is as long, and zeros are a valid part.
        let before = unsafe { &part.as_ref().before };
        before.store(self.last.swap(part.as_ptr(), Relaxed), Relaxed);
        entry.store(part.as_ptr(), Release);
        self.part(address)
    }

    #[cold]
    fn add_region<'a>(&self, part: &'a Part, address: usize) -> Option<&'a Bits> {
        if self.spares.load(Relaxed) == 0 {
            self.spare.store(map(SLAB * REGION_BYTES)?.cast().as_ptr(), Relaxed);
            self.spares.store(SLAB, Relaxed);
        }
        let region = self.spare.load(Relaxed);
        self.spare.store(region.wrapping_add(1), Relaxed);
        self.spares.fetch_sub(1, Relaxed);
        part.regions.get(region_of(address))?.store(region, Release);
        part.region(address)
    }
}

impl Default for Marks {
    fn default() -> Self {
        Self::new()
    }
}

impl Part {
    #[inline(always)]
    fn region(&self, address: usize) -> Option<&Bits> {
        // SAFETY: below REGIONS, which is a power of two that it is cut to.
        let region = unsafe { self.regions.get_unchecked(region_of(address)) };
        // SAFETY: null, or bits that are never unmapped.
        unsafe { region.load(Relaxed).as_ref() }
    }
}

#[inline(always)]
fn region_of(address: usize) -> usize {
    (address >> REGION_BITS) & (REGIONS - 1)
}

/// Below [`FILTER`].
#[inline(always)]
fn hash(address: usize) -> usize {
    let granule = (address >> GRANULE_BITS) as u64;
    (granule.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - FILTER_BITS)) as usize
}

#[inline(always)]
fn place(address: usize) -> (usize, u8) {
    let granule = address >> GRANULE_BITS;
    ((granule >> 3) & (REGION_BYTES - 1), 1 << (granule & 7))
}

/// Zeroed memory that costs nothing until it is written to.
fn map(length: usize) -> Option<NonNull<u8>> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let address = unsafe { libc::mmap(null_mut(), length, access, kind, -1, 0) };
    // Transparent huge pages would back half a megabyte for one bit.
    if address != libc::MAP_FAILED {
        // SAFETY: the mapping was just made; advice that is not taken changes nothing.
        unsafe { libc::madvise(address, length, libc::MADV_NOHUGEPAGE) };
        return NonNull::new(address.cast());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_seen_at_its_address_and_nowhere_else() {
        let marks = Marks::new();
        assert!(!marks.has(0x7f00_0000_1230));
        assert!(marks.reserve() && marks.reserve());
        for address in [0x10, 0x7f00_0000_1230, 0x7fff_ffff_fff0, 0x3ff_fff0, 0x400_0000] {
            assert!(!marks.has(address), "{address:x}");
            assert!(marks.set(address));
            assert!(marks.has(address), "{address:x}");
            assert!(!marks.has(address + 16) && !marks.has(address - 16), "{address:x}");
            marks.clear(address);
            assert!(!marks.has(address), "{address:x}");
        }
    }

    #[test]
    fn marks_of_the_same_hash_do_not_hide_each_other() {
        let marks = Marks::new();
        assert!(marks.reserve());
        let same: Vec<usize> =
            (1..).map(|granule| granule << 4).filter(|address| hash(*address) == 7).take(300).collect();
        for taken in [2, 300] {
            let some = same.get(..taken).unwrap();
            some.iter().for_each(|address| assert!(marks.set(*address) && marks.set(*address)));
            for (index, address) in some.iter().enumerate() {
                marks.clear(*address);
                marks.clear(*address);
                assert!(!marks.has(*address) && some.iter().skip(index + 1).all(|other| marks.has(*other)));
            }
        }
    }

    #[test]
    fn memory_is_counted_by_the_page_and_given_back() {
        let marks = Marks::new();
        assert!(marks.reserve());
        for index in 0..100 {
            assert!(marks.set(0x5000_0000 + index * 16));
        }
        assert_eq!(marks.held_bytes(), 4096);
        assert!(marks.set(0x5000_0000 + (512 << 10)));
        assert_eq!(marks.held_bytes(), 8192);
        marks.clear_all();
        assert_eq!(marks.held_bytes(), 0);
        assert!((0..100).all(|index| !marks.has(0x5000_0000 + index * 16)));
        assert!(marks.set(0x5000_0000) && marks.has(0x5000_0000));
    }
}
