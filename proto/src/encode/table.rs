//! The strings, frames and sites that were told in this epoch, and the entries that tell new ones.
//! Never here: profiles, numbers of entries.

use std::sync::Arc;

use leakline_core::{Frame, Site, SiteHolder, SiteId};
use rustc_hash::FxHashMap;

use crate::convert::cut;
use crate::limits::{Budget, MAX_FRAMES, SPLIT_BYTES};
use crate::v1;

/// Function, file, line, and of native code the build id, if any, and the address.
type FrameKey = (u32, u32, u32, Option<(Option<u32>, u64)>);

/// What was told in this epoch, by content.
#[derive(Debug)]
pub(super) struct Table {
    budget: Budget,
    most_bytes: u64,
    was_full: bool,
    strings: FxHashMap<Arc<str>, u32>,
    frames: FxHashMap<FrameKey, u32>,
    frame_text: Vec<u32>,
    sites: FxHashMap<SiteId, u32>,
}

/// What is new since the last record, in pieces that fit into entries.
#[derive(Debug, Default)]
pub(super) struct News {
    full: Vec<v1::Intern>,
    current: v1::Intern,
    current_bytes: usize,
    /// Frames seen in this record, by address: sites share them, and comparing texts takes longer. The record keeps
    /// them alive, so that an address stands for one frame.
    by_address: FxHashMap<usize, u32>,
}

impl Table {
    /// An empty one, for at most `most_bytes`.
    pub(super) fn within(most_bytes: u64) -> Self {
        Self {
            budget: Budget::default(),
            most_bytes,
            was_full: false,
            strings: FxHashMap::default(),
            frames: FxHashMap::default(),
            frame_text: Vec::new(),
            sites: FxHashMap::default(),
        }
    }

    /// Whether something had no room.
    pub(super) fn was_full(&self) -> bool {
        self.was_full
    }

    /// Sites that were told.
    pub(super) fn sites(&self) -> usize {
        self.sites.len()
    }

    /// What the table takes, as its limit counts.
    pub(super) fn bytes(&self) -> u64 {
        self.budget.table_bytes
    }

    /// The index of `site`, told through `news` if it is new; `None` where the table is full.
    pub(super) fn site(&mut self, site: &Site, news: &mut News) -> Option<u32> {
        if let Some(index) = self.sites.get(&site.id()) {
            return Some(*index);
        }
        // Before its frames: a site that has no room must not take it from the next by its names.
        if self.budget.table_bytes >= self.most_bytes {
            self.was_full = true;
            return None;
        }
        let (holder, bytes) = match site.holder() {
            SiteHolder::Class(name) => {
                let name_index = self.string(name, news)?;
                self.budget.site(0, cut(name).len() as u64).ok()?;
                (v1::site::Holder::ClassName(name_index), 16)
            }
            SiteHolder::CallPath { frames, truncated } => {
                let kept = &frames[..frames.len().min(MAX_FRAMES)];
                let indices =
                    kept.iter().map(|frame| self.frame(frame, news)).collect::<Option<Vec<u32>>>()?;
                let text = indices.iter().filter_map(|index| self.frame_text.get(*index as usize));
                let text_bytes = text.map(|bytes| u64::from(*bytes)).sum();
                self.budget.site(indices.len(), text_bytes).ok()?;
                let bytes = 24 + 5 * indices.len();
                let truncated = *truncated || kept.len() < frames.len();
                (v1::site::Holder::CallPath(v1::CallPath { frames: indices, truncated }), bytes)
            }
        };
        let index = u32::try_from(self.sites.len()).ok()?;
        self.sites.insert(site.id(), index);
        news.room(bytes).sites.push(v1::Site { holder: Some(holder) });
        Some(index)
    }

    fn frame(&mut self, frame: &Arc<Frame>, news: &mut News) -> Option<u32> {
        let address = Arc::as_ptr(frame) as usize;
        if let Some(index) = news.by_address.get(&address) {
            return Some(*index);
        }
        let function = self.string(&frame.function, news)?;
        let file = self.string(&frame.file, news)?;
        let native = match &frame.native {
            Some(place) if place.build_id.is_empty() => Some((None, place.address)),
            Some(place) => Some((Some(self.string(&place.build_id, news)?), place.address)),
            None => None,
        };
        let key = (function, file, frame.line, native);
        let index = match self.frames.get(&key) {
            Some(index) => *index,
            None => {
                self.budget.frame(native.is_some()).ok()?;
                let index = u32::try_from(self.frames.len()).ok()?;
                self.frames.insert(key, index);
                let build_id = frame.native.as_ref().map_or(0, |place| cut(&place.build_id).len());
                let text = cut(&frame.function).len() + cut(&frame.file).len() + build_id;
                self.frame_text.push(u32::try_from(text).unwrap_or(u32::MAX));
                news.room(40).frames.push(v1::Frame {
                    function,
                    file,
                    line: frame.line,
                    build_id: native.and_then(|(build_id, _)| build_id),
                    address: native.map(|(_, address)| address),
                });
                index
            }
        };
        news.by_address.insert(address, index);
        Some(index)
    }

    fn string(&mut self, string: &Arc<str>, news: &mut News) -> Option<u32> {
        let text = cut(string);
        if let Some(index) = self.strings.get(&*text) {
            return Some(*index);
        }
        self.budget.string(text.len()).ok()?;
        let index = u32::try_from(self.strings.len()).ok()?;
        news.room(text.len() + 8).strings.push(text.clone().into_owned());
        // A string within the bound is shared with the record that brought it.
        let kept = if text.len() == string.len() { Arc::clone(string) } else { Arc::from(&*text) };
        self.strings.insert(kept, index);
        Some(index)
    }
}

impl News {
    /// Where `bytes` more fit. What refers to an index comes after what the index names, in the same piece or a later
    /// one; within a piece strings come first, then frames, then sites.
    fn room(&mut self, bytes: usize) -> &mut v1::Intern {
        if self.current_bytes + bytes > SPLIT_BYTES {
            self.full.push(std::mem::take(&mut self.current));
            self.current_bytes = 0;
        }
        self.current_bytes += bytes;
        &mut self.current
    }

    /// The pieces, in order.
    pub(super) fn into_pieces(mut self) -> impl Iterator<Item = v1::Intern> {
        if self.current_bytes > 0 {
            self.full.push(self.current);
        }
        self.full.into_iter()
    }
}
