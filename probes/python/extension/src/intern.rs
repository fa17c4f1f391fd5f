//! Files, functions, frames and call paths, each once per epoch, by index.
//! Knows no Python object: what it is given are texts and numbers, so nothing in it outlives an interpreter.

use std::sync::Arc;

use leakline_python::wire::{Additions, Known, PathAddition};
use rustc_hash::FxHashMap;

/// The tables.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    epoch: u64,
    texts: Table<str>,
    frames: Vec<(u32, u32, u32)>,
    frame_indices: FxHashMap<(u32, u32, u32), u32>,
    paths: Table<[u32]>,
    filters: Vec<String>,
    left_out: Vec<bool>,
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
    fn index(&mut self, value: &T) -> u32 {
        if let Some(index) = self.indices.get(value) {
            return *index;
        }
        let index = self.values.len() as u32;
        let value: Arc<T> = Arc::from(value);
        self.values.push(Arc::clone(&value));
        self.indices.insert(value, index);
        index
    }
}

impl Interner {
    /// Begins anew when there are more than `max_paths`, or the filters changed.
    pub(crate) fn prepare(&mut self, filters: &[String], max_paths: usize) {
        if self.epoch == 0 || self.paths.values.len() > max_paths {
            *self = Self { epoch: self.epoch.wrapping_add(1).max(1), ..Self::default() };
        }
        if self.filters != filters {
            self.filters = filters.to_vec();
            self.left_out = self.texts.values.iter().map(|file| is_left_out(file, filters)).collect();
        }
    }

    /// Which epoch it is: indices of different ones have nothing in common.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The index of the name of a file or function.
    pub(crate) fn text(&mut self, name: &str) -> u32 {
        let index = self.texts.index(name);
        if index as usize == self.left_out.len() {
            self.left_out.push(is_left_out(name, &self.filters));
        }
        index
    }

    /// Whether call paths that end in this file are left out.
    pub(crate) fn leaves_out(&self, file: u32) -> bool {
        self.left_out.get(file as usize).copied().unwrap_or(false)
    }

    /// The index of a line in a function of a file.
    pub(crate) fn frame(&mut self, function: u32, file: u32, line: u32) -> u32 {
        *self.frame_indices.entry((function, file, line)).or_insert_with(|| {
            self.frames.push((function, file, line));
            (self.frames.len() - 1) as u32
        })
    }

    /// The index of a call path: whether it is truncated (1 or 0), then its frames, innermost first.
    pub(crate) fn path(&mut self, truncated_and_frames: &[u32]) -> u32 {
        self.paths.index(truncated_and_frames)
    }

    /// What was added since the tables were as in `known`; everything, if they never were.
    pub(crate) fn additions(&self, known: Known) -> Additions {
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
    filters.iter().any(|pattern| leakline_python::filter::matches(pattern, file))
}
