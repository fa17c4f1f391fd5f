//! Files, functions, frames and call paths, each once per epoch, by index.
//!
//! Bounded in bytes, the agent's copy included. An epoch ends when most of what it holds was added after it began, which
//! only what is live still outlives; a path that there is no room for shares one with all others of that kind.
//!
//! Knows no Python object: what it is given are texts and numbers, so nothing in it outlives an interpreter.

use std::sync::Arc;

use crate::wire::{Additions, Known, PathAddition};
use rustc_hash::FxHashMap;

/// Stands for paths that there was no room for.
const TOO_MANY: &str = "<more call paths than leakline keeps>";

/// What a text takes beside its length, here and in the agent, which has all of them once more: two counted
/// allocations, three places, an entry in a map.
const TEXT_BYTES: usize = 160;
/// What a frame takes, here (a place and an entry in a map) and in the agent (a counted allocation).
const FRAME_BYTES: usize = 192;
/// What a path takes beside its frames.
const PATH_BYTES: usize = 224;
/// What a frame adds to a path: a number here, a pointer in the agent.
const STEP_BYTES: usize = 12;

/// What the tables may hold.
#[derive(Debug, Clone, Copy, Default)]
pub struct Room {
    max_paths: usize,
    max_bytes: usize,
}

impl Room {
    /// As a request says.
    pub fn of(max_paths: u32, max_bytes: u64) -> Self {
        Self { max_paths: max_paths as usize, max_bytes: usize::try_from(max_bytes).unwrap_or(usize::MAX) }
    }
}

/// The tables.
#[derive(Debug, Default)]
pub struct Interner {
    epoch: u64,
    texts: Table<str>,
    frames: Vec<(u32, u32, u32)>,
    frame_indices: FxHashMap<(u32, u32, u32), u32>,
    paths: Table<[u32]>,
    filters: Vec<String>,
    left_out: Vec<bool>,
    room: Room,
    held: usize,
    /// What the first reading of the epoch has needed.
    first: Option<usize>,
    /// Paths of the latest reading that share one.
    merged: u64,
    had_merged: bool,
}

/// Values, each once, and where each is.
#[derive(Debug)]
struct Table<T: ?Sized> {
    values: Vec<Arc<T>>,
    indices: FxHashMap<Arc<T>, u32>,
}

impl<T: ?Sized> Default for Table<T> {
    fn default() -> Self {
        Self { values: Vec::new(), indices: FxHashMap::default() }
    }
}

impl<T: ?Sized + Eq + std::hash::Hash> Table<T>
where
    for<'a> Arc<T>: From<&'a T>,
{
    fn find(&self, value: &T) -> Option<u32> {
        self.indices.get(value).copied()
    }

    fn add(&mut self, value: &T) -> u32 {
        let index = self.values.len() as u32;
        let value: Arc<T> = Arc::from(value);
        self.values.push(Arc::clone(&value));
        self.indices.insert(value, index);
        index
    }
}

impl Interner {
    /// To be called before each reading. Begins anew when there are more paths than there may be, and when most of what
    /// is held was added since the epoch began and is likely to be of no use any more.
    pub fn prepare(&mut self, filters: &[String], room: Room) {
        let first = *self.first.get_or_insert(self.held);
        let is_worth_it = self.held > 2 * first || self.had_merged && self.held > first + first / 4;
        let is_full = self.held > room.max_bytes / 2 && is_worth_it;
        if self.epoch == 0 || self.paths.values.len() > room.max_paths || is_full {
            *self = Self { epoch: self.epoch.wrapping_add(1).max(1), ..Self::default() };
        }
        self.room = room;
        (self.merged, self.had_merged) = (0, false);
        if self.filters != filters {
            self.filters = filters.to_vec();
            self.left_out = self.texts.values.iter().map(|file| is_left_out(file, filters)).collect();
        }
    }

    /// Which epoch it is: indices of different ones have nothing in common.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Paths of this reading that share one, because there was no room for them.
    pub fn merged(&self) -> u64 {
        self.merged
    }

    /// The index of the name of a file or function; `None`: there is no room for a new one.
    pub fn text(&mut self, name: &str) -> Option<u32> {
        match self.texts.find(name) {
            Some(index) => Some(index),
            None => self.has_room().then(|| self.add_text(name)),
        }
    }

    fn add_text(&mut self, name: &str) -> u32 {
        self.held += TEXT_BYTES + 2 * name.len();
        self.left_out.push(is_left_out(name, &self.filters));
        self.texts.add(name)
    }

    /// Whether call paths that end in this file are left out.
    pub fn leaves_out(&self, file: u32) -> bool {
        self.left_out.get(file as usize).copied().unwrap_or(false)
    }

    /// The index of a line in a function of a file; `None`: there is no room for a new one.
    pub fn frame(&mut self, function: u32, file: u32, line: u32) -> Option<u32> {
        match self.frame_indices.get(&(function, file, line)) {
            Some(index) => Some(*index),
            None => self.has_room().then(|| self.add_frame((function, file, line))),
        }
    }

    fn add_frame(&mut self, frame: (u32, u32, u32)) -> u32 {
        self.held += FRAME_BYTES;
        let index = self.frames.len() as u32;
        self.frames.push(frame);
        self.frame_indices.insert(frame, index);
        index
    }

    /// The index of a call path: whether it is truncated (1 or 0), then its frames, innermost first. `None`: there is no
    /// room for a new one.
    pub fn path(&mut self, truncated_and_frames: &[u32]) -> Option<u32> {
        match self.paths.find(truncated_and_frames) {
            Some(index) => Some(index),
            None => self.has_room().then(|| self.add_path(truncated_and_frames)),
        }
    }

    fn add_path(&mut self, truncated_and_frames: &[u32]) -> u32 {
        self.held += PATH_BYTES + STEP_BYTES * truncated_and_frames.len();
        self.paths.add(truncated_and_frames)
    }

    /// The path for one that there is no room for, which is counted.
    pub fn shared(&mut self) -> u32 {
        self.merged += 1;
        self.had_merged = true;
        self.shared_path()
    }

    /// The path for all that there is no room for. There is always room for this one.
    pub fn shared_path(&mut self) -> u32 {
        let nothing = self.texts.find("").unwrap_or_else(|| self.add_text(""));
        let file = self.texts.find(TOO_MANY).unwrap_or_else(|| self.add_text(TOO_MANY));
        let frame = self.frame_indices.get(&(nothing, file, 0)).copied();
        let frame = frame.unwrap_or_else(|| self.add_frame((nothing, file, 0)));
        let path = [1, frame];
        self.paths.find(&path).unwrap_or_else(|| self.add_path(&path))
    }

    fn has_room(&self) -> bool {
        self.held < self.room.max_bytes
    }

    /// What was added since the tables were as in `known`; everything, if they never were.
    pub fn additions(&self, known: Known) -> Additions {
        let now = Known {
            epoch: self.epoch,
            texts: self.texts.values.len() as u32,
            frames: self.frames.len() as u32,
            sites: self.paths.values.len() as u32,
        };
        let fits = known.epoch == now.epoch
            && known.texts <= now.texts
            && known.frames <= now.frames
            && known.sites <= now.sites;
        let after = if fits { known } else { Known { epoch: now.epoch, ..Known::default() } };
        Additions {
            after,
            texts: self.texts.values.iter().skip(after.texts as usize).map(|text| text.to_string()).collect(),
            frames: self.frames.iter().skip(after.frames as usize).copied().collect(),
            sites: self.paths.values.iter().skip(after.sites as usize).map(|path| addition(path)).collect(),
        }
    }
}

fn addition(path: &[u32]) -> PathAddition {
    match path.split_first() {
        Some((truncated, frames)) => PathAddition { frames: frames.to_vec(), truncated: *truncated != 0 },
        None => PathAddition::default(),
    }
}

fn is_left_out(file: &str, filters: &[String]) -> bool {
    filters.iter().any(|pattern| crate::filter::matches(pattern, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { max_paths: 200_000, max_bytes: 1 << 20 };

    /// A reading of `paths`, each with a function and a file of its own.
    fn read(interner: &mut Interner, paths: std::ops::Range<u32>) -> Vec<u32> {
        interner.prepare(&[], ROOM);
        let site = |interner: &mut Interner, path: u32| {
            let function = interner.text(&format!("render_{path}"))?;
            let file = interner.text(&format!("<template {path}>"))?;
            let frame = interner.frame(function, file, 1)?;
            interner.path(&[0, frame])
        };
        paths.map(|path| site(interner, path).unwrap_or_else(|| interner.shared())).collect()
    }

    #[test]
    fn a_million_names_that_come_and_go_take_no_more_than_the_bound() {
        let mut interner = Interner::default();
        for reading in 0..10_000 {
            let sites = read(&mut interner, reading * 100..reading * 100 + 100);
            assert_eq!((sites.len(), interner.merged()), (100, 0));
            assert!(interner.held < ROOM.max_bytes, "{}", interner.held);
        }
        assert!(interner.epoch() > 100, "{}", interner.epoch());
        assert!(interner.texts.values.len() < 8_000 && interner.frames.len() < 4_000);
    }

    #[test]
    fn more_at_one_time_than_there_is_room_for_share_one_path_and_are_counted() {
        let mut interner = Interner::default();
        for _ in 0..5 {
            let sites = read(&mut interner, 0..100_000);
            let shared = interner.shared_path();
            let merged = sites.iter().filter(|site| **site == shared).count();
            assert!((90_000..99_000).contains(&merged), "{merged}");
            assert_eq!(interner.merged(), merged as u64);
            assert!(interner.held < ROOM.max_bytes + 4096, "{}", interner.held);
        }
        assert_eq!(interner.epoch(), 1, "beginning anew would help nobody");
        let (before, shared) = (interner.held, interner.shared_path());
        assert!(!read(&mut interner, 0..100).contains(&shared), "those that have room keep it");
        assert_eq!(interner.held, before);
    }

    #[test]
    fn what_lives_on_keeps_its_names_while_others_come_and_go() {
        let mut interner = Interner::default();
        for reading in 1..2_000_u32 {
            read(&mut interner, 0..100);
            let known = interner.texts.values.len();
            // The same reading goes on: no new epoch in between.
            let fresh = reading * 1_000..reading * 1_000 + 20;
            for path in fresh {
                interner.text(&format!("other {path}")).unwrap();
            }
            assert!(interner.texts.values.len() >= known && interner.held < ROOM.max_bytes);
        }
    }
}
