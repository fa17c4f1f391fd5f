//! The reader's side of the tables, in this process or in one that was forked from it: copies what belongs together, and
//! takes no lock. The host may go on writing, be stopped in the middle of a change, or be gone.
//!
//! Never waits for more than some milliseconds, never believes an index or a length.

use std::sync::atomic::{Ordering::Acquire, Ordering::Relaxed, fence};
use std::time::Duration;

use leakline_probing::sampler::estimate::{Sums, Weight, weight};
use leakline_probing::sampler::live::SURVIVAL_READINGS;

use super::{Shape, Table, path_of, size_of_word, stable};

/// Doubling the mean takes some milliseconds; that a reading meets it twice in a row does not happen.
const TRIES: usize = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(2);
/// No process holds so many bytes: 2^56. What does was not written by the hook.
const MOST_BYTES: u64 = 1 << 56;

/// A path as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::hook) struct ReadPath {
    /// Which path of those that were kept at this place; 0: none.
    pub(in crate::hook) turn: u32,
    pub(in crate::hook) is_mapping: bool,
    pub(in crate::hook) sums: Sums,
    /// What was live at several readings.
    pub(in crate::hook) survived: Weight,
    change: u64,
    counted: Sums,
}

/// The frames of a path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::hook) struct Frames {
    /// Return addresses, innermost first.
    pub(in crate::hook) native: Vec<usize>,
    /// Numbers of a runtime's frames, and that runtime's place.
    pub(in crate::hook) numbers: Vec<u64>,
    pub(in crate::hook) runtime: u32,
    /// Whether outer frames are missing.
    pub(in crate::hook) is_truncated: bool,
    /// How often objects were unloaded before.
    pub(in crate::hook) objects_epoch: u32,
}

/// A mapping with its call path, for those who want to know whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hook) struct Mapped {
    pub(in crate::hook) start: u64,
    pub(in crate::hook) end: u64,
    pub(in crate::hook) path: u32,
}

/// What stands in the tables.
#[derive(Debug, Default)]
pub(in crate::hook) struct Copied {
    pub(in crate::hook) epoch: u64,
    pub(in crate::hook) mean: u64,
    /// By place.
    pub(in crate::hook) paths: Vec<ReadPath>,
    pub(in crate::hook) mapped: Vec<Mapped>,
    pub(in crate::hook) samples: u64,
    /// Paths that were being changed, all the time.
    pub(in crate::hook) unread_paths: u64,
    /// And the mappings.
    pub(in crate::hook) are_mappings_unread: bool,
    /// What is wrong, in words.
    pub(in crate::hook) fault: Option<String>,
}

impl Table {
    /// Copies everything at the reader's reading `number`, from 1, and has the host know that number. `None`: the host is
    /// in the middle of a change that does not end.
    pub(in crate::hook) fn copy(&self, number: u32) -> Option<Copied> {
        let copied = self.copy_as_of(number);
        // After the copy: what is allocated meanwhile was not live at this reading.
        self.header.readings.store(number, Relaxed);
        copied
    }

    fn copy_as_of(&self, number: u32) -> Option<Copied> {
        for attempt in 0..TRIES {
            if attempt > 0 {
                std::thread::sleep(BETWEEN_TRIES);
            }
            let before = self.header.rebuilds.load(Acquire);
            if !before.is_multiple_of(2) {
                continue;
            }
            let copied = self.copy_once(number);
            fence(Acquire);
            if self.header.rebuilds.load(Relaxed) == before {
                return Some(copied);
            }
        }
        None
    }

    fn copy_once(&self, number: u32) -> Copied {
        let header = self.header;
        let used = (header.paths_used.load(Acquire) as usize).min(self.slots.len());
        let mut copied = Copied {
            epoch: header.epoch.load(Relaxed),
            mean: header.mean.load(Relaxed),
            paths: Vec::with_capacity(used),
            ..Copied::default()
        };
        for slot in self.slots.iter().take(used) {
            let path = stable(&slot.change, || {
                let is_kept = slot.hash.load(Relaxed) != 0 || copied.paths.len() < super::SHARED_PATHS;
                let shape = Shape::unpack(slot.shape.load(Relaxed));
                is_kept.then(|| ReadPath {
                    turn: slot.turn.load(Relaxed),
                    is_mapping: shape.is_mapping,
                    sums: slot.sums(),
                    change: slot.change.load(Relaxed),
                    ..ReadPath::default()
                })
            });
            let is_sane = |path: &ReadPath| {
                path.sums.live.bytes < MOST_BYTES && path.sums.allocated_bytes < u64::MAX / 2
            };
            copied.unread_paths += u64::from(path.is_none());
            copied.paths.push(path.flatten().filter(is_sane).unwrap_or_default());
        }
        self.count_samples(number, &mut copied);
        self.copy_regions(number, &mut copied);
        copied.fault = self.check(&copied);
        for path in &mut copied.paths {
            // Of a path that was changed meanwhile, the samples are younger than the sums.
            path.survived.bytes = path.survived.bytes.min(path.sums.live.bytes);
            path.survived.blocks = path.survived.blocks.min(path.sums.live.blocks);
        }
        copied
    }

    /// Adds up the samples by path, and those that have survived.
    fn count_samples(&self, number: u32, copied: &mut Copied) {
        const LOOKS: usize = 8;
        let used = self.header.samples_used.load(Acquire) as usize;
        for sample in self.samples.iter().take(used) {
            let Some((address, word, birth)) = (0..LOOKS).find_map(|_| sample.get()) else { continue };
            let Some(path) = copied.paths.get_mut(path_of(word) as usize).filter(|_| address != 0) else {
                continue;
            };
            copied.samples += 1;
            path.count(weight(size_of_word(word), copied.mean), number, birth);
        }
    }

    fn copy_regions(&self, number: u32, copied: &mut Copied) {
        let regions = stable(&self.header.regions_change, || {
            (0..self.regions_length()).map(|at| self.region(at)).collect::<Vec<_>>()
        });
        copied.are_mappings_unread = regions.is_none();
        for kept in regions.unwrap_or_default().into_iter().filter(|kept| kept.start < kept.end) {
            let path = path_of(kept.word);
            copied.mapped.push(Mapped { start: kept.start, end: kept.end, path });
            if let Some(path) = copied.paths.get_mut(path as usize) {
                path.count(weight(kept.end - kept.start, 0), number, kept.word as u32);
            }
        }
    }

    /// Whether the sums are what the samples add up to, for every path that was not changed meanwhile.
    fn check(&self, copied: &Copied) -> Option<String> {
        fence(Acquire);
        let is_wrong = |(path, slot): &(&ReadPath, &super::Slot)| {
            let is_unchanged = path.turn != 0 && slot.change.load(Relaxed) == path.change;
            is_unchanged
                && !(path.is_mapping && copied.are_mappings_unread)
                && (path.sums.samples, path.sums.live) != (path.counted.samples, path.counted.live)
        };
        let wrong = copied.paths.iter().zip(self.slots).filter(is_wrong).count();
        (wrong > 0).then(|| format!("{wrong} call paths hold something else than their samples"))
    }

    /// The frames of the path that is the `turn`th at `place`; `None`: it is another by now.
    pub(in crate::hook) fn frames(&self, place: usize, turn: u32) -> Option<Frames> {
        let slot = self.slots.get(place)?;
        let found = stable(&slot.change, || {
            let shape = Shape::unpack(slot.shape.load(Relaxed));
            let (native, numbers) = (usize::from(shape.native), usize::from(shape.numbers));
            let mut words = Vec::with_capacity(native + numbers);
            let mut chunk = slot.chunk.load(Relaxed);
            while words.len() < native + numbers
                && let Some(found) = chunk.checked_sub(1).and_then(|at| self.chunks.get(at as usize))
            {
                let left = (native + numbers - words.len()).min(super::CHUNK_FRAMES);
                words.extend(found.0.iter().take(left).map(|word| word.load(Relaxed)));
                chunk = found.next();
            }
            let numbers = words.split_off(native.min(words.len()));
            let native = words.into_iter().map(|word| word as usize).collect();
            let frames = Frames {
                native,
                numbers,
                runtime: u32::from(shape.runtime),
                is_truncated: shape.is_truncated,
                objects_epoch: slot.objects_epoch.load(Relaxed),
            };
            (slot.turn.load(Relaxed), frames)
        });
        found.filter(|(found, _)| *found == turn).map(|(_, frames)| frames)
    }
}

impl ReadPath {
    fn count(&mut self, weight: Weight, number: u32, birth: u32) {
        self.counted.add_back(weight);
        // One that was born after reading 0 is live at reading 1 for the first time.
        if number.saturating_sub(birth) >= SURVIVAL_READINGS {
            self.survived.add(weight);
        }
    }
}
