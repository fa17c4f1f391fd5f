//! The objects that kept frames lie in, as the loader knew them when the frame was met: another process cannot ask it, and
//! it may have unloaded them since. What is needed is read from the loader's list and the object's own headers.

use std::sync::atomic::{Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use super::{Object, Table};
use crate::unwind::objects::{self, Loaded};

/// An object that a path's frames may lie in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::hook) struct Recorded {
    pub(in crate::hook) start: u64,
    pub(in crate::hook) end: u64,
    pub(in crate::hook) bias: u64,
    pub(in crate::hook) from: u32,
    pub(in crate::hook) until: u32,
    /// As the loader has it; empty for the program.
    pub(in crate::hook) path: Vec<u8>,
    pub(in crate::hook) build_id: Vec<u8>,
}

impl Object {
    fn is(&self, loaded: &Loaded, build_id: &[u8]) -> bool {
        let same_place = self.start.load(Relaxed) == loaded.start as u64
            && self.end.load(Relaxed) == loaded.end as u64
            && self.bias.load(Relaxed) == loaded.bias as u64;
        same_place && self.build_id() == pad(build_id)
    }

    fn build_id(&self) -> (u64, [u64; 4]) {
        let mut words = [0; 4];
        words.iter_mut().zip(&self.build_id).for_each(|(word, from)| *word = from.load(Relaxed));
        (self.build_id_length.load(Relaxed), words)
    }
}

/// Its length and words, as they are kept; of a longer one the first 32 bytes.
fn pad(build_id: &[u8]) -> (u64, [u64; 4]) {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(build_id.chunks(8)) {
        let mut whole = [0; 8];
        whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        *word = u64::from_ne_bytes(whole);
    }
    (build_id.len().min(32) as u64, words)
}

impl Table {
    /// Records the objects that addresses of this thread's stack lie in, so that they are loaded. In the hook, under its
    /// lock; only where another process is going to read.
    pub(super) fn note_objects(&self, addresses: &[usize], epoch: u32) {
        if self.sharing != leakline_probing::shared::Sharing::WithWatcher {
            return;
        }
        let mut last = (0, 0);
        for address in addresses.iter().map(|address| address.wrapping_sub(1)) {
            if (last.0..last.1).contains(&address) || self.is_noted(address as u64, epoch) {
                continue;
            }
            let Some(loaded) = objects::loaded_at(address) else { continue };
            last = (loaded.start, loaded.end);
            self.note_object(&loaded, epoch);
        }
    }

    fn is_noted(&self, address: u64, epoch: u32) -> bool {
        self.noted().any(|object| {
            (object.start.load(Relaxed)..object.end.load(Relaxed)).contains(&address)
                && object.until.load(Relaxed) == epoch
        })
    }

    fn noted(&self) -> impl Iterator<Item = &Object> {
        self.objects.iter().take(self.header.objects_used.load(Acquire) as usize)
    }

    fn note_object(&self, loaded: &Loaded, epoch: u32) {
        let build_id = loaded.build_id();
        if let Some(same) = self.noted().find(|object| object.is(loaded, build_id)) {
            same.until.store(epoch, Relaxed);
            return;
        }
        let header = self.header;
        let used = header.objects_used.load(Relaxed);
        let path = loaded.name();
        let at = header.text_used.load(Relaxed) as usize;
        let words = path.len().div_ceil(8);
        let (Some(object), Some(text)) = (self.objects.get(used as usize), self.text.get(at..at + words))
        else {
            header.counts.lost_objects.fetch_add(1, Relaxed);
            return;
        };
        for (word, bytes) in text.iter().zip(path.chunks(8)) {
            let mut whole = [0; 8];
            whole.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            word.store(u64::from_ne_bytes(whole), Relaxed);
        }
        header.text_used.store((at + words) as u32, Relaxed);
        object.start.store(loaded.start as u64, Relaxed);
        object.end.store(loaded.end as u64, Relaxed);
        object.bias.store(loaded.bias as u64, Relaxed);
        object.from.store(epoch, Relaxed);
        object.until.store(epoch, Relaxed);
        object.path.store((path.len() as u64) << 32 | at as u64, Relaxed);
        let (length, id) = pad(build_id);
        object.build_id_length.store(length, Relaxed);
        object.build_id.iter().zip(id).for_each(|(place, word)| place.store(word, Relaxed));
        header.objects_used.store(used + 1, Release);
    }

    /// The objects that were recorded from the `first` on, in the order in which they were met.
    pub(in crate::hook) fn recorded(&self, first: usize) -> Vec<Recorded> {
        self.noted().skip(first).map(|object| self.recorded_one(object)).collect()
    }

    /// After how many unloadings an object was seen last.
    pub(in crate::hook) fn seen_until(&self, object: usize) -> u32 {
        self.objects.get(object).map_or(0, |object| object.until.load(Relaxed))
    }

    fn recorded_one(&self, object: &Object) -> Recorded {
        let path = object.path.load(Relaxed);
        let (length, at) = ((path >> 32) as usize, path as u32 as usize);
        let words = at.checked_add(length.div_ceil(8)).and_then(|end| self.text.get(at..end));
        let mut path: Vec<u8> =
            words.unwrap_or_default().iter().flat_map(|word| word.load(Relaxed).to_ne_bytes()).collect();
        path.truncate(length);
        let (length, id) = object.build_id();
        let mut build_id: Vec<u8> = id.into_iter().flat_map(u64::to_ne_bytes).collect();
        build_id.truncate(usize::try_from(length).unwrap_or(0));
        Recorded {
            start: object.start.load(Relaxed),
            end: object.end.load(Relaxed),
            bias: object.bias.load(Relaxed),
            from: object.from.load(Relaxed),
            until: object.until.load(Relaxed),
            path,
            build_id,
        }
    }
}
