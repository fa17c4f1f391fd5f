//! The host's side of the tables: keeps samples and paths, under the hook's lock. Every step takes a bounded time, but
//! for the one that doubles the mean.

use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use leakline_probing::sampler::estimate::{Sums, Weight, probability, weight};
use leakline_probing::sampler::marks::Filter;
use leakline_probing::sampler::random::Random;
use leakline_probing::shared::Sharing;

use super::index::Index;
use super::{
    CHUNK_FRAMES, Room, SHARED_PATHS, Sample, Shape, Slot, State, Table, begin_change, end_change,
    hash_of_address, pack, path_of, size_of_word, stable,
};

/// The tables that are in use, for those who look without the lock; never freed.
static TABLE: AtomicPtr<Table> = AtomicPtr::new(std::ptr::null_mut());
/// Odd while the index of the samples is changed.
static INDEX_CHANGE: AtomicU64 = AtomicU64::new(0);
/// Says of nearly every address that no sample is there.
static FILTER: Filter = Filter::new();

/// Paths that are forgotten at once when there is no more room.
const FORGOTTEN_AT_ONCE: u32 = 32;
/// The largest mean that thinning leads to.
const MOST_MEAN: u64 = 1 << 40;

/// The tables that are in use.
pub(in crate::hook) fn table() -> Option<&'static Table> {
    // SAFETY: null, or one that was leaked.
    unsafe { TABLE.load(Acquire).as_ref() }
}

/// Says in the tables what the hook does.
pub(in crate::hook) fn set_state(state: State) {
    if let Some(table) = table() {
        table.header.state.store(state as u32, Release);
    }
}

/// Whether a sample is at `address`. Without the lock, and never wrong where the answer is no; while the index is being
/// changed it may be yes.
#[inline(always)]
pub(in crate::hook) fn may_be_sample(address: usize) -> bool {
    FILTER.may_have(address) && may_be_kept(address)
}

#[inline(never)]
fn may_be_kept(address: usize) -> bool {
    table().is_some_and(|table| {
        stable(&INDEX_CHANGE, || table.find_sample(address as u64).is_some()).unwrap_or(true)
    })
}

/// A call path that was walked.
#[derive(Debug, Clone, Copy)]
pub(in crate::hook) struct Walked<'a> {
    pub(in crate::hook) hash: u64,
    /// Return addresses, innermost first.
    pub(in crate::hook) native: &'a [usize],
    /// Numbers of a runtime's frames, and that runtime's place.
    pub(in crate::hook) numbers: &'a [u64],
    pub(in crate::hook) runtime: u32,
    /// Whether outer frames are missing.
    pub(in crate::hook) is_truncated: bool,
    /// Whether it made a mapping.
    pub(in crate::hook) is_mapping: bool,
    pub(in crate::hook) objects_epoch: u64,
}

/// A sample that was taken out.
#[derive(Debug, Clone, Copy)]
pub(in crate::hook) struct Freed {
    word: u64,
    birth: u32,
    turn: u32,
    epoch: u64,
}

/// What only the host needs to know of its tables.
#[derive(Debug)]
pub(in crate::hook) struct Tables {
    pub(super) table: Option<Table>,
    max_live: usize,
    mean: u64,
    epoch: u64,
    random: Random,
    /// Places plus one that were used before and are free.
    free_sample: u32,
    free_slot: u32,
    free_chunk: u32,
    free_chunks: usize,
    chunks_used: usize,
    /// Paths that hold nothing.
    idle: u32,
    /// Where forgetting goes on.
    hand: u32,
}

impl Tables {
    pub(in crate::hook) const fn new() -> Self {
        Self {
            table: None,
            max_live: 0,
            mean: 0,
            epoch: 0,
            random: Random::new(0x2545_F491_4F6C_DD1D),
            free_sample: 0,
            free_slot: 0,
            free_chunk: 0,
            free_chunks: 0,
            chunks_used: 0,
            idle: 0,
            hand: 0,
        }
    }

    /// Maps tables for others than those that are there; false where there is no memory.
    pub(in crate::hook) fn map(&mut self, room: Room, sharing: Sharing, anew: bool) -> bool {
        if self.table.is_some_and(|table| table.room == room.bounded() && table.sharing == sharing) && !anew {
            return true;
        }
        let Some(table) = Table::map(room, sharing) else { return false };
        // Some bytes for each start with other bounds; somebody may be looking at the one before.
        TABLE.store(Box::into_raw(Box::new(table)), Release);
        self.table = Some(table);
        true
    }

    /// Begins anew with nothing.
    pub(in crate::hook) fn start(&mut self, mean: u64) {
        self.stop();
        self.epoch += 1;
        self.mean = mean;
        let Some(table) = self.table else { return };
        self.max_live = table.room.samples;
        let header = table.header;
        header.mean.store(mean, Relaxed);
        header.first_mean.store(mean, Relaxed);
        for (place, slot) in table.slots.iter().take(SHARED_PATHS).enumerate() {
            let shape = Shape { is_truncated: true, is_mapping: place == 1, ..Shape::default() };
            slot.shape.store(shape.pack(), Relaxed);
            slot.turn.store(1, Relaxed);
        }
        header.paths_used.store(SHARED_PATHS as u32, Relaxed);
        header.epoch.store(self.epoch, Release);
    }

    /// Forgets everything. A watcher may go on to read what was known.
    pub(in crate::hook) fn stop(&mut self) {
        FILTER.clear();
        if let Some(table) = self.table.filter(|table| table.header.epoch.load(Relaxed) > 0) {
            table.clear();
        }
        *self = Self { table: self.table, epoch: self.epoch, random: self.random, ..Self::new() };
    }

    /// Mean bytes between two samples.
    pub(in crate::hook) fn mean(&self) -> u64 {
        self.mean
    }

    /// Whether the path of `hash` is known, or would not be kept.
    pub(in crate::hook) fn needs_no_path(&self, hash: u64) -> bool {
        let Some(table) = &self.table else { return true };
        let has_place = self.free_slot != 0 || (table.paths_used() < table.slots.len());
        let has_chunks = self.free_chunks > 0 || self.chunks_used < table.chunks.len();
        table.find_path(hash).is_some() || (self.idle == 0 && !(has_place && has_chunks))
    }

    /// Keeps a sample.
    pub(in crate::hook) fn allocated(&mut self, address: usize, size: usize, walked: Walked<'_>) {
        let Some(table) = self.table else { return };
        let header = table.header;
        if let Some(old) = table.find_sample(address as u64) {
            header.counts.missed_frees.fetch_add(1, Relaxed);
            self.take_out(&table, old);
        }
        if table.live() >= self.max_live && !self.thin(&table) || table.live() >= table.samples.len() {
            header.counts.lost_samples.fetch_add(1, Relaxed);
            return;
        }
        let path = self.path(&table, walked);
        let birth = header.readings.load(Relaxed);
        self.put_in(&table, address, pack(path, size), birth, Sums::add);
    }

    /// Takes a sample out that is about to be freed. `None`: it is none.
    pub(in crate::hook) fn freed(&mut self, address: usize) -> Option<Freed> {
        let table = self.table?;
        let place = table.find_sample(address as u64)?;
        let sample = table.samples.get(place as usize)?;
        let (word, birth) = (sample.word.load(Relaxed), (sample.birth.load(Relaxed) >> 32) as u32);
        let turn = table.slots.get(path_of(word) as usize).map_or(0, |slot| slot.turn.load(Relaxed));
        self.take_out(&table, place);
        Some(Freed { word, birth, turn, epoch: self.epoch })
    }

    /// Puts a sample back that was not freed after all.
    pub(in crate::hook) fn put_back(&mut self, address: usize, freed: Freed) {
        let Some(table) = self.table.filter(|_| freed.epoch == self.epoch) else { return };
        if table.find_sample(address as u64).is_some() || table.live() >= table.samples.len() {
            return;
        }
        let is_same = table
            .slots
            .get(path_of(freed.word) as usize)
            .is_some_and(|slot| slot.turn.load(Relaxed) == freed.turn);
        let word = if is_same { freed.word } else { freed.word & u64::from(u32::MAX) };
        self.put_in(&table, address, word, freed.birth, Sums::add_back);
    }

    fn put_in(
        &mut self,
        table: &Table,
        address: usize,
        word: u64,
        birth: u32,
        how: impl FnOnce(&mut Sums, Weight),
    ) {
        let place = match self.free_sample.checked_sub(1) {
            Some(place) => place,
            None => table.header.samples_used.load(Relaxed),
        };
        let (Some(sample), Some(slot)) =
            (table.samples.get(place as usize), table.slots.get(path_of(word) as usize))
        else {
            return;
        };
        if self.free_sample == 0 {
            table.header.samples_used.store(place + 1, Relaxed);
        } else {
            self.free_sample = sample.word.load(Relaxed) as u32;
        }
        let mean = self.mean;
        self.change(slot, path_of(word), |sums| {
            how(sums, weight(size_of_word(word), mean));
            sample.set(address as u64, word, birth);
        });
        begin_change(&INDEX_CHANGE);
        Index(table.sample_places).add(hash_of_address(address as u64), place);
        end_change(&INDEX_CHANGE);
        FILTER.add(address);
        table.header.live.store(table.header.live.load(Relaxed).wrapping_add(1), Relaxed);
    }

    fn take_out(&mut self, table: &Table, place: u32) {
        let Some(sample) = table.samples.get(place as usize) else { return };
        let (address, word) = (sample.address.load(Relaxed), sample.word.load(Relaxed));
        let Some(slot) = table.slots.get(path_of(word) as usize) else { return };
        begin_change(&INDEX_CHANGE);
        let hash_of = |place: u32| {
            let other = table.samples.get(place as usize);
            other.map_or(0, |other| hash_of_address(other.address.load(Relaxed)))
        };
        Index(table.sample_places).remove(hash_of_address(address), place, hash_of);
        end_change(&INDEX_CHANGE);
        FILTER.remove(address as usize);
        let (mean, next) = (self.mean, self.free_sample);
        self.change(slot, path_of(word), |sums| {
            sums.remove(weight(size_of_word(word), mean));
            sample.set(0, u64::from(next), 0);
        });
        self.free_sample = place + 1;
        table.header.live.store(table.header.live.load(Relaxed).wrapping_sub(1), Relaxed);
    }

    /// Changes a path's sums, and counts the paths that hold nothing.
    pub(super) fn change(&mut self, slot: &Slot, place: u32, work: impl FnOnce(&mut Sums)) {
        let was_idle = slot.is_idle();
        slot.change(work);
        if place as usize >= SHARED_PATHS {
            match (was_idle, slot.is_idle()) {
                (true, false) => self.idle = self.idle.saturating_sub(1),
                (false, true) => self.idle += 1,
                _ => {}
            }
        }
    }

    /// The place of a path; that which is shared by those that there is no room for, if it must be.
    pub(super) fn path(&mut self, table: &Table, walked: Walked<'_>) -> u32 {
        if let Some(place) = table.find_path(walked.hash) {
            return place;
        }
        self.add_path(table, walked).unwrap_or_else(|| {
            table.header.counts.merged.fetch_add(1, Relaxed);
            u32::from(walked.is_mapping)
        })
    }

    fn add_path(&mut self, table: &Table, walked: Walked<'_>) -> Option<u32> {
        let frames = walked.native.len() + walked.numbers.len();
        let chunks = frames.div_ceil(CHUNK_FRAMES);
        while !self.has_room(table, chunks) {
            self.forget(table)?;
        }
        let place = match self.free_slot.checked_sub(1) {
            Some(place) => place,
            None => table.header.paths_used.load(Relaxed),
        };
        let slot = table.slots.get(place as usize)?;
        if self.free_slot == 0 {
            table.header.paths_used.store(place + 1, Relaxed);
        } else {
            self.free_slot = slot.chunk.load(Relaxed);
        }
        begin_change(&slot.change);
        slot.chunk.store(self.keep_frames(table, walked), Relaxed);
        let shape = Shape {
            native: walked.native.len() as u8,
            numbers: walked.numbers.len() as u8,
            runtime: walked.runtime as u8,
            is_truncated: walked.is_truncated,
            is_mapping: walked.is_mapping,
        };
        slot.shape.store(shape.pack(), Relaxed);
        slot.objects_epoch.store(walked.objects_epoch as u32, Relaxed);
        slot.turn.store(slot.turn.load(Relaxed).wrapping_add(1), Relaxed);
        slot.set_sums(&Sums::default());
        slot.hash.store(walked.hash, Relaxed);
        end_change(&slot.change);
        Index(table.path_places).add(walked.hash, place);
        self.idle += 1;
        table.note_objects(walked.native, walked.objects_epoch as u32);
        Some(place)
    }

    fn has_room(&self, table: &Table, chunks: usize) -> bool {
        (self.free_slot != 0 || table.paths_used() < table.slots.len())
            && self.free_chunks + (table.chunks.len() - self.chunks_used) >= chunks
    }

    /// The first chunk of the frames plus one. There is room.
    fn keep_frames(&mut self, table: &Table, walked: Walked<'_>) -> u32 {
        let mut frames =
            walked.native.iter().map(|address| *address as u64).chain(walked.numbers.iter().copied());
        let count = walked.native.len() + walked.numbers.len();
        let (mut first, mut last) = (0, None);
        for _ in 0..count.div_ceil(CHUNK_FRAMES) {
            let at = match self.free_chunk.checked_sub(1) {
                Some(at) => at,
                None => self.chunks_used as u32,
            };
            let Some(chunk) = table.chunks.get(at as usize) else { break };
            if self.free_chunk == 0 {
                self.chunks_used += 1;
            } else {
                self.free_chunk = chunk.next();
                self.free_chunks = self.free_chunks.saturating_sub(1);
            }
            chunk
                .0
                .iter()
                .take(CHUNK_FRAMES)
                .zip(&mut frames)
                .for_each(|(word, frame)| word.store(frame, Relaxed));
            chunk.lead_to(0);
            match last.replace(chunk) {
                Some(before) => before.lead_to(at + 1),
                None => first = at + 1,
            }
        }
        first
    }

    /// Forgets some of the paths that hold nothing. `None`: there is none.
    fn forget(&mut self, table: &Table) -> Option<()> {
        let used = table.paths_used() as u32;
        let mut forgotten = 0;
        for _ in 0..used {
            if self.idle == 0 || forgotten >= FORGOTTEN_AT_ONCE {
                break;
            }
            self.hand = if self.hand + 1 >= used { SHARED_PATHS as u32 } else { self.hand + 1 };
            let Some(slot) = table.slots.get(self.hand as usize) else { break };
            let hash = slot.hash.load(Relaxed);
            if hash == 0 || !slot.is_idle() || (self.hand as usize) < SHARED_PATHS {
                continue;
            }
            let hash_of =
                |place: u32| table.slots.get(place as usize).map_or(0, |other| other.hash.load(Relaxed));
            Index(table.path_places).remove(hash, self.hand, hash_of);
            begin_change(&slot.change);
            slot.hash.store(0, Relaxed);
            self.free_chunks_from(table, slot.chunk.load(Relaxed));
            slot.chunk.store(self.free_slot, Relaxed);
            end_change(&slot.change);
            self.free_slot = self.hand + 1;
            self.idle -= 1;
            forgotten += 1;
        }
        table.header.counts.forgotten.fetch_add(u64::from(forgotten), Relaxed);
        (forgotten > 0).then_some(())
    }

    fn free_chunks_from(&mut self, table: &Table, mut chunk: u32) {
        while let Some(found) = chunk.checked_sub(1).and_then(|at| table.chunks.get(at as usize)) {
            let next = found.next();
            found.lead_to(self.free_chunk);
            self.free_chunk = chunk;
            self.free_chunks += 1;
            chunk = next;
        }
    }

    /// Doubles the mean, and keeps each sample with the probability that it would have been one with that mean. False:
    /// the mean cannot grow any more.
    #[cold]
    fn thin(&mut self, table: &Table) -> bool {
        let (old, new) = (self.mean, self.mean.saturating_mul(2));
        if new > MOST_MEAN {
            return false;
        }
        let header = table.header;
        begin_change(&header.rebuilds);
        for place in 0..header.samples_used.load(Relaxed) {
            let Some(sample) = table.samples.get(place as usize) else { break };
            let size = size_of_word(sample.word.load(Relaxed));
            let is_live = sample.address.load(Relaxed) != 0;
            if is_live && self.random.uniform() > probability(size, new) / probability(size, old) {
                self.take_out(table, place);
            }
        }
        self.mean = new;
        header.mean.store(new, Relaxed);
        self.weigh_anew(table);
        header.counts.thinned.fetch_add(1, Relaxed);
        end_change(&header.rebuilds);
        true
    }

    /// The sums of all live samples, at the mean that is in force now. What was allocated so far stays as it is.
    fn weigh_anew(&mut self, table: &Table) {
        for slot in table.slots.iter().take(table.paths_used()) {
            if !Shape::unpack(slot.shape.load(Relaxed)).is_mapping {
                slot.change(|sums| *sums = Sums { samples: 0, live: Weight::default(), ..*sums });
            }
        }
        let used = table.header.samples_used.load(Relaxed) as usize;
        for sample in table.samples.iter().take(used).filter(|sample| sample.address.load(Relaxed) != 0) {
            let word = sample.word.load(Relaxed);
            if let Some(slot) = table.slots.get(path_of(word) as usize) {
                slot.change(|sums| sums.add_back(weight(size_of_word(word), self.mean)));
            }
        }
        let mut idle = 0;
        for slot in table.slots.iter().take(table.paths_used()).skip(SHARED_PATHS) {
            idle += u32::from(slot.hash.load(Relaxed) != 0 && slot.is_idle());
        }
        self.idle = idle;
    }
}

impl Slot {
    fn is_idle(&self) -> bool {
        self.sums.first().is_none_or(|samples| samples.load(Relaxed) == 0)
    }
}

impl super::Chunk {
    pub(super) fn next(&self) -> u32 {
        self.0.get(CHUNK_FRAMES).map_or(0, |next| next.load(Relaxed) as u32)
    }

    fn lead_to(&self, next: u32) {
        if let Some(place) = self.0.get(CHUNK_FRAMES) {
            place.store(u64::from(next), Relaxed);
        }
    }
}

impl Table {
    fn live(&self) -> usize {
        self.header.live.load(Relaxed) as usize
    }

    fn paths_used(&self) -> usize {
        self.header.paths_used.load(Relaxed) as usize
    }

    #[inline]
    fn find_sample(&self, address: u64) -> Option<u32> {
        let is_it = |place: u32| {
            self.samples
                .get(place as usize)
                .is_some_and(|sample: &Sample| sample.address.load(Relaxed) == address)
        };
        Index(self.sample_places).find(hash_of_address(address), is_it)
    }

    fn find_path(&self, hash: u64) -> Option<u32> {
        let is_it =
            |place: u32| self.slots.get(place as usize).is_some_and(|slot| slot.hash.load(Relaxed) == hash);
        Index(self.path_places).find(hash, is_it)
    }
}
