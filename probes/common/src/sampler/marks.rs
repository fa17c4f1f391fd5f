//! Which addresses are sampled: one bit for every 16 bytes of address space, so that a free of a pointer that was not
//! sampled costs few loads and is never mistaken.
//!
//! Before those bits stands a filter of 8 KiB, one bit for all addresses of a hash: it stays in the processor's first
//! cache, where the bits of a large heap do not, and nearly always says that an address is none.
//!
//! The address space is cut into regions of 64 MiB. A table has a pointer for each, and a region gets its bits (512 KiB,
//! of which the kernel backs only pages that were written to) when its first mark is set. Nothing is ever unmapped, so a
//! reader needs no lock. Setting and clearing need one: the caller's.

use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering::Relaxed, Ordering::Release};

/// Allocators align to 16 bytes; two pointers of one granule are told apart by who keeps the samples.
const GRANULE_BITS: u32 = 4;
const REGION_BITS: u32 = 26;
/// User space of every 64-bit system that CPython and a JVM run on; above that are tags, which are left out.
const ADDRESS_BITS: u32 = if usize::BITS < 48 { usize::BITS } else { 48 };
const REGIONS: usize = 1 << (ADDRESS_BITS - REGION_BITS);
const REGION_BYTES: usize = 1 << (REGION_BITS - GRANULE_BITS - 3);
const PAGE: usize = 4096;
const PAGES: usize = REGION_BYTES / PAGE;

/// Bits of the filter.
const FILTER_BITS: u32 = 16;
const FILTER: usize = 1 << FILTER_BITS;

/// A region's bits; on a page of their own, which of the bits' pages were written to, and the region before.
#[repr(C)]
struct Region {
    bits: [AtomicU8; REGION_BYTES],
    written: [AtomicU64; PAGES / 64],
    before: AtomicPtr<Region>,
}

/// The marks.
#[derive(Debug)]
pub struct Marks {
    regions: AtomicPtr<AtomicPtr<Region>>,
    /// The region that was added last; the others hang on it.
    last: AtomicPtr<Region>,
    written_pages: AtomicU64,
    filter: [AtomicU8; FILTER / 8],
    /// How many marks stand behind each bit of the filter; once it is at its most, it stays.
    counts: [AtomicU8; FILTER],
}

impl Marks {
    /// No marks, and no memory yet.
    pub const fn new() -> Self {
        Self {
            regions: AtomicPtr::new(null_mut()),
            last: AtomicPtr::new(null_mut()),
            written_pages: AtomicU64::new(0),
            filter: [const { AtomicU8::new(0) }; FILTER / 8],
            counts: [const { AtomicU8::new(0) }; FILTER],
        }
    }

    /// Reserves the table. False: the system has no address space for it. To be called before any mark is set; again, it
    /// does nothing. Not from two threads at once.
    pub fn reserve(&self) -> bool {
        if !self.regions.load(Relaxed).is_null() {
            return true;
        }
        match map(REGIONS * size_of::<AtomicPtr<Region>>()) {
            Some(table) => {
                self.regions.store(table.cast().as_ptr(), Release);
                true
            }
            None => false,
        }
    }

    /// Whether `address` is marked.
    #[inline(always)]
    pub fn has(&self, address: usize) -> bool {
        let hash = hash(address);
        // SAFETY: a hash is below FILTER.
        let filter = unsafe { self.filter.get_unchecked(hash / 8) };
        filter.load(Relaxed) >> (hash % 8) & 1 != 0 && self.has_exactly(address)
    }

    #[inline]
    fn has_exactly(&self, address: usize) -> bool {
        let Some(region) = self.region(address) else { return false };
        let (byte, bit) = place(address);
        // SAFETY: `byte` is below the region's length, which is a power of two that `place` cuts it to.
        let bits = unsafe { region.bits.get_unchecked(byte) };
        bits.load(Relaxed) & bit != 0
    }

    /// Marks `address`; false where there is no memory for it. The caller has the lock.
    pub fn set(&self, address: usize) -> bool {
        let Some(region) = self.region(address).or_else(|| self.add_region(address)) else { return false };
        let (byte, bit) = place(address);
        let (Some(bits), Some(written)) = (region.bits.get(byte), region.written.get(byte / PAGE / 64))
        else {
            return false;
        };
        if bits.load(Relaxed) & bit != 0 {
            return true;
        }
        bits.store(bits.load(Relaxed) | bit, Relaxed);
        self.count(address, |count| count.saturating_add(1));
        let page = 1_u64 << (byte / PAGE % 64);
        if written.load(Relaxed) & page == 0 {
            written.store(written.load(Relaxed) | page, Relaxed);
            self.written_pages.fetch_add(1, Relaxed);
        }
        true
    }

    /// Takes the mark off. The caller has the lock.
    pub fn clear(&self, address: usize) {
        let Some(region) = self.region(address) else { return };
        let (byte, bit) = place(address);
        if let Some(bits) = region.bits.get(byte)
            && bits.load(Relaxed) & bit != 0
        {
            bits.store(bits.load(Relaxed) & !bit, Relaxed);
            self.count(address, |count| if count == u8::MAX { count } else { count.saturating_sub(1) });
        }
    }

    fn count(&self, address: usize, change: impl Fn(u8) -> u8) {
        let hash = hash(address);
        let (Some(counts), Some(filter)) = (self.counts.get(hash), self.filter.get(hash / 8)) else { return };
        let count = change(counts.load(Relaxed));
        counts.store(count, Relaxed);
        let (others, bit) = (filter.load(Relaxed) & !(1 << (hash % 8)), u8::from(count > 0) << (hash % 8));
        filter.store(others | bit, Relaxed);
    }

    /// Takes all marks off, and gives their memory back to the system. The caller has the lock.
    pub fn clear_all(&self) {
        let mut next = self.last.load(Relaxed);
        // SAFETY: null, or a region that is never unmapped.
        while let Some(region) = unsafe { next.as_ref() } {
            region.written.iter().for_each(|written| written.store(0, Relaxed));
            // SAFETY: it is a whole part of a mapping that only `Marks` uses; readers see zeros from now on.
            unsafe { libc::madvise(next.cast(), REGION_BYTES, libc::MADV_DONTNEED) };
            next = region.before.load(Relaxed);
        }
        self.written_pages.store(0, Relaxed);
        self.filter.iter().chain(&self.counts).for_each(|byte| byte.store(0, Relaxed));
    }

    /// Bytes of memory behind the marks.
    pub fn held_bytes(&self) -> u64 {
        self.written_pages.load(Relaxed) * PAGE as u64
    }

    #[inline(always)]
    fn region(&self, address: usize) -> Option<&Region> {
        let region = self.entry(address)?.load(Relaxed);
        // SAFETY: null, or a region that is never unmapped.
        unsafe { region.as_ref() }
    }

    /// The table's entry for the region of `address`.
    #[inline(always)]
    fn entry(&self, address: usize) -> Option<&AtomicPtr<Region>> {
        let table = NonNull::new(self.regions.load(Relaxed))?;
        // SAFETY: the index is below REGIONS, which is a power of two that it is cut to.
        let entry = unsafe { table.add((address >> REGION_BITS) & (REGIONS - 1)) };
        // SAFETY: the table is never unmapped, and zeroed where nothing was stored.
        Some(unsafe { entry.as_ref() })
    }

    #[cold]
    fn add_region(&self, address: usize) -> Option<&Region> {
        let entry = self.entry(address)?;
        let region: NonNull<Region> = map(size_of::<Region>())?.cast();
        // SAFETY: the mapping is as long, and zeros are a valid region.
        let before = unsafe { &region.as_ref().before };
        before.store(self.last.swap(region.as_ptr(), Relaxed), Relaxed);
        entry.store(region.as_ptr(), Release);
        self.region(address)
    }
}

impl Default for Marks {
    fn default() -> Self {
        Self::new()
    }
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
