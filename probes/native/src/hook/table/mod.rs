//! What the hook knows, as plain words in one piece of memory of a fixed size, so that another process can read it, also
//! after this one was killed: live samples, call paths with their frames, mappings, and the objects that frames lie in.
//!
//! - The host writes under a lock in its own memory (`write`, `regions`, `objects`). A reader takes no lock (`read`): what
//!   belongs together has a sequence number that is odd during a change, and a sample has a check word.
//! - A reader may be given anything: every index is checked, every chain is bounded.
//! - Samples and paths never move. A path without live samples gives its place to a new one when there is no more room.
//!
//! Never here: an allocation, a pointer in shared memory, a system call in the hook.

mod index;
pub(super) mod objects;
pub(super) mod read;
mod regions;
#[cfg(test)]
mod tests;
pub(super) mod write;

use std::ptr::NonNull;
use std::sync::atomic::{
    AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, fence,
};

use leakline_probing::sampler::estimate::{Sums, Weight};
use leakline_probing::shared::{self, Sharing};

/// Live mappings that are kept: a list is searched and moved under the lock, 384 KiB at most.
pub(super) const MOST_REGIONS: usize = 16_384;
/// Objects that are kept; the largest JVM and Python hosts load some 300.
const MOST_OBJECTS: usize = 1024;
/// Bytes for the objects' paths, 128 for each.
const TEXT: usize = MOST_OBJECTS * 128;
/// Frames of a chunk; its last word leads to the next chunk.
const CHUNK_FRAMES: usize = 7;
/// Chunks for each path that may be kept: paths are 20 to 30 frames deep.
const CHUNKS_PER_PATH: usize = 4;
/// The paths at the first places stand for those that there is no room for: of malloc's, and of mappings.
pub(super) const SHARED_PATHS: usize = 2;

/// How much may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) samples: usize,
    pub(super) paths: usize,
}

impl Room {
    /// Within what places can count.
    pub(super) fn bounded(self) -> Self {
        Self { samples: self.samples.clamp(64, 1 << 24), paths: self.paths.clamp(8, 1 << 22) }
    }

    fn sample_places(self) -> usize {
        (self.samples * 2).next_power_of_two()
    }

    fn path_places(self) -> usize {
        (self.paths * 2).next_power_of_two()
    }

    fn chunks(self) -> usize {
        self.paths * CHUNKS_PER_PATH
    }
}

/// Words that every reader may need.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Header {
    /// Odd while every sum is weighed anew.
    pub(super) rebuilds: AtomicU64,
    /// Counts the starts.
    pub(super) epoch: AtomicU64,
    /// Mean bytes between two samples, now and at the start.
    pub(super) mean: AtomicU64,
    pub(super) first_mean: AtomicU64,
    /// Readings so far: the only word that a reader writes. A sample keeps what it was when it was taken.
    pub(super) readings: AtomicU32,
    /// How many places were ever used, of those that are handed out in order.
    pub(super) samples_used: AtomicU32,
    pub(super) paths_used: AtomicU32,
    pub(super) objects_used: AtomicU32,
    text_used: AtomicU32,
    /// Odd during a change of the mappings.
    pub(super) regions_change: AtomicU64,
    pub(super) regions_length: AtomicU32,
    /// Live samples.
    pub(super) live: AtomicU32,
    /// See [`State`].
    state: AtomicU32,
    pub(super) counts: Counters,
}

/// What the hook does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing; also while it was not begun.
    Rests,
    Samples,
    /// Nothing, because something went wrong.
    Failed,
}

impl Header {
    pub(super) fn state(&self) -> State {
        match self.state.load(Acquire) {
            1 => State::Samples,
            2 => State::Failed,
            _ => State::Rests,
        }
    }
}

/// What was lost, and why.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Frees that nobody saw: another allocation came to lie at the same address.
    pub(super) missed_frees: AtomicU64,
    /// Samples and mappings whose path there was no room for.
    pub(super) merged: AtomicU64,
    /// Paths that were forgotten because nothing of them was live.
    pub(super) forgotten: AtomicU64,
    /// Mappings beyond their number.
    pub(super) lost_regions: AtomicU64,
    /// Samples that could not be kept.
    pub(super) lost_samples: AtomicU64,
    /// How often the mean was doubled.
    pub(super) thinned: AtomicU64,
    /// Samples that signal handlers would have taken while the tables were in use on the same thread.
    pub(super) interrupted: AtomicU64,
    /// Objects that there was no room for.
    pub(super) lost_objects: AtomicU64,
}

/// A live sample; address 0: none.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Sample {
    address: AtomicU64,
    /// The path's place (upper half) and the size. Of a free place: the next free one.
    word: AtomicU64,
    /// At which reading it was taken (upper half), and a check of the three.
    birth: AtomicU64,
}

/// A call path and its sums.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Odd during a change.
    change: AtomicU64,
    /// Of the frames; 0: none is kept here.
    hash: AtomicU64,
    sums: [AtomicU64; 6],
    /// The first chunk of the frames plus one. Of a free place: the next free one plus one.
    chunk: AtomicU32,
    /// Return addresses (8 bits), then numbers of a runtime's frames (8 bits), then that runtime's place (8 bits), flags.
    shape: AtomicU32,
    /// How often objects were seen to be unloaded before.
    objects_epoch: AtomicU32,
    /// Counts the paths that were kept here.
    turn: AtomicU32,
}

/// Some frames of a path, and the next chunk plus one.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Chunk([AtomicU64; CHUNK_FRAMES + 1]);

/// A mapping: where it begins and ends, its path's place (upper half) and when it was made.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Region([AtomicU64; 3]);

/// An object that a frame lay in: everything is written before it is counted, but for `until`.
#[repr(C)]
#[derive(Debug, Default)]
pub(super) struct Object {
    start: AtomicU64,
    end: AtomicU64,
    bias: AtomicU64,
    /// Of unloadings: after how many it was seen first and last.
    from: AtomicU32,
    until: AtomicU32,
    /// Where its path begins in the text, and how long that is (upper half).
    path: AtomicU64,
    build_id_length: AtomicU64,
    build_id: [AtomicU64; 4],
}

/// The tables. This itself is in private memory, which a forked reader has a copy of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table {
    pub(super) room: Room,
    pub(super) header: &'static Header,
    samples: &'static [Sample],
    sample_places: &'static [AtomicU32],
    slots: &'static [Slot],
    path_places: &'static [AtomicU32],
    chunks: &'static [Chunk],
    regions: &'static [Region],
    objects: &'static [Object],
    text: &'static [AtomicU64],
    base: NonNull<u8>,
    bytes: usize,
    pub(super) sharing: Sharing,
}

// SAFETY: everything that the pointer leads to are atomic words in memory that is never unmapped.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

/// Types that are nothing but atomic words, so that zeroes and whatever else is in memory are values.
///
/// # Safety
/// Nothing else may be.
unsafe trait Words {}
// SAFETY: an atomic word.
unsafe impl Words for AtomicU32 {}
// SAFETY: an atomic word.
unsafe impl Words for AtomicU64 {}
// SAFETY: atomic words only.
unsafe impl Words for Header {}
// SAFETY: atomic words only.
unsafe impl Words for Sample {}
// SAFETY: atomic words only.
unsafe impl Words for Slot {}
// SAFETY: atomic words only.
unsafe impl Words for Chunk {}
// SAFETY: atomic words only.
unsafe impl Words for Region {}
// SAFETY: atomic words only.
unsafe impl Words for Object {}

/// Cuts a piece of memory into tables; without memory it only counts.
struct Cut {
    base: Option<NonNull<u8>>,
    at: usize,
}

impl Cut {
    fn take<T: Words>(&mut self, count: usize) -> &'static [T] {
        let at = self.at;
        // Each begins on a cache line of its own.
        self.at = at.saturating_add(count.saturating_mul(size_of::<T>())).next_multiple_of(64);
        let Some(base) = self.base else { return &[] };
        // SAFETY: inside of the memory, which was mapped as long as the same cuts need.
        let first = unsafe { base.add(at) }.cast().as_ptr();
        // SAFETY: as above; it is zeroed and never unmapped, and the words are only ever reached as atomics.
        unsafe { std::slice::from_raw_parts(first, count) }
    }
}

impl Table {
    /// Maps the tables; `None` where there is no memory for them.
    pub(super) fn map(room: Room, sharing: Sharing) -> Option<Self> {
        let room = room.bounded();
        let bytes = Self::cut(room, None, 0, sharing).1;
        let base = shared::map(bytes, sharing)?;
        if sharing == Sharing::WithWatcher {
            shared::anew::is_renewed(base.as_ptr() as usize, bytes);
        }
        Self::cut(room, Some(base), bytes, sharing).0
    }

    fn cut(room: Room, base: Option<NonNull<u8>>, bytes: usize, sharing: Sharing) -> (Option<Self>, usize) {
        let mut cut = Cut { base, at: 0 };
        let header = cut.take::<Header>(1).first();
        let samples = cut.take(room.samples);
        let sample_places = cut.take(room.sample_places());
        let slots = cut.take(room.paths);
        let path_places = cut.take(room.path_places());
        let chunks = cut.take(room.chunks());
        let regions = cut.take(MOST_REGIONS);
        let objects = cut.take(MOST_OBJECTS);
        let text = cut.take(TEXT / 8);
        let table = header.zip(base).map(|(header, base)| Self {
            room,
            header,
            samples,
            sample_places,
            slots,
            path_places,
            chunks,
            regions,
            objects,
            text,
            base,
            bytes,
            sharing,
        });
        (table, cut.at)
    }

    /// Gives the memory back to the system: what is read from now on are zeroes. Outside of the hook.
    pub(super) fn clear(&self) {
        let how = match self.sharing {
            Sharing::Private => libc::MADV_DONTNEED,
            Sharing::WithWatcher => libc::MADV_REMOVE,
        };
        // SAFETY: a whole mapping that only this table uses, as atomic words.
        let done = unsafe { libc::madvise(self.base.as_ptr().cast(), self.bytes, how) } == 0;
        if !done {
            let words = self.base.cast::<AtomicU64>();
            for word in 0..self.bytes / 8 {
                // SAFETY: inside of the mapping.
                let word = unsafe { words.add(word) };
                // SAFETY: aligned, and reached as an atomic only.
                unsafe { word.as_ref() }.store(0, Relaxed);
            }
        }
    }

    /// Bytes of address space.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where it is: the first address, and the one after the last.
    pub(super) fn place(&self) -> (u64, u64) {
        let start = self.base.as_ptr() as u64;
        (start, start + self.bytes as u64)
    }
}

/// Begins a change that a reader must not see half of.
pub(super) fn begin_change(change: &AtomicU64) {
    change.store(change.load(Relaxed) | 1, Relaxed);
    fence(Release);
}

/// Ends it.
pub(super) fn end_change(change: &AtomicU64) {
    change.store(change.load(Relaxed).wrapping_add(1), Release);
}

/// Reads what belongs together, unless it is changed meanwhile: some tries, because a change takes nanoseconds.
pub(super) fn stable<T>(change: &AtomicU64, mut read: impl FnMut() -> T) -> Option<T> {
    const TRIES: usize = 64;
    for _ in 0..TRIES {
        let before = change.load(Acquire);
        if before.is_multiple_of(2) {
            let found = read();
            fence(Acquire);
            if change.load(Relaxed) == before {
                return Some(found);
            }
        }
        std::hint::spin_loop();
    }
    None
}

impl Sample {
    fn set(&self, address: u64, word: u64, birth: u32) {
        self.address.store(address, Relaxed);
        self.word.store(word, Relaxed);
        self.birth.store(u64::from(birth) << 32 | u64::from(check(address, word, birth)), Relaxed);
    }

    /// Address, word and birth, if they belong together.
    fn get(&self) -> Option<(u64, u64, u32)> {
        let (address, word, birth) =
            (self.address.load(Relaxed), self.word.load(Relaxed), self.birth.load(Relaxed));
        let (birth, found) = ((birth >> 32) as u32, birth as u32);
        (found == check(address, word, birth)).then_some((address, word, birth))
    }
}

/// Of the three words of a sample. One in four billion halves of two samples passes for a whole one.
fn check(address: u64, word: u64, birth: u32) -> u32 {
    let mixed = (address ^ word.rotate_left(17) ^ u64::from(birth) << 7).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 32) as u32
}

/// Sizes from here on are kept in pages.
const LARGE: u32 = 1 << 31;

/// A sample's path and size in one word.
fn pack(path: u32, size: usize) -> u64 {
    let size = match u32::try_from(size) {
        Ok(size) if size < LARGE => size,
        _ => LARGE | u32::try_from(size >> 12).unwrap_or(u32::MAX).min(LARGE - 1),
    };
    u64::from(path) << 32 | u64::from(size)
}

fn path_of(word: u64) -> u32 {
    (word >> 32) as u32
}

fn size_of_word(word: u64) -> u64 {
    match word as u32 {
        size if size < LARGE => u64::from(size),
        pages => u64::from(pages & (LARGE - 1)) << 12,
    }
}

/// Where samples are looked for first. Below the granule of malloc there is nothing to tell addresses apart by.
fn hash_of_address(address: u64) -> u64 {
    (address >> 4).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20
}

impl Slot {
    fn sums(&self) -> Sums {
        let word = |at: usize| self.sums.get(at).map_or(0, |word: &AtomicU64| word.load(Relaxed));
        Sums {
            samples: word(0),
            live: Weight { bytes: word(1), blocks: word(2), variance: word(3) },
            allocated_bytes: word(4),
            allocated_blocks: word(5),
        }
    }

    fn set_sums(&self, sums: &Sums) {
        let Weight { bytes, blocks, variance } = sums.live;
        let words = [sums.samples, bytes, blocks, variance, sums.allocated_bytes, sums.allocated_blocks];
        self.sums.iter().zip(words).for_each(|(place, word)| place.store(word, Relaxed));
    }

    /// Runs `work`, which changes the sums and whatever else belongs to them, as one change for readers.
    fn change(&self, work: impl FnOnce(&mut Sums)) {
        begin_change(&self.change);
        let mut sums = self.sums();
        work(&mut sums);
        self.set_sums(&sums);
        end_change(&self.change);
    }
}

/// What there is of a path beside its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Shape {
    native: u8,
    numbers: u8,
    runtime: u8,
    is_truncated: bool,
    is_mapping: bool,
}

impl Shape {
    fn pack(self) -> u32 {
        u32::from_le_bytes([
            self.native,
            self.numbers,
            self.runtime,
            u8::from(self.is_truncated) | u8::from(self.is_mapping) << 1,
        ])
    }

    fn unpack(word: u32) -> Self {
        let [native, numbers, runtime, flags] = word.to_le_bytes();
        Self { native, numbers, runtime, is_truncated: flags & 1 != 0, is_mapping: flags & 2 != 0 }
    }
}
