//! Sites, frames and texts by number, on both ends of a lane. The host sends each once; the watcher says in each question how
//! much it has, and where that is not what the host believes (an answer was lost), the host begins anew.
//!
//! Both ends keep what fits into so many bytes, and forget what goes beyond it after the answer that needs it. Once that
//! happens while most of what is kept is not used any more, the host begins anew.
//!
//! Never here: what is said of a site.

use std::sync::Arc;

use leakline_core::{Frame, NativePlace, Site, SiteHolder, SiteId};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::CodecError;

/// What a text takes beside its length on the side where it takes more: a counted allocation and a place or an entry in a map.
const TEXT_BYTES: usize = 72;
/// What a frame takes: a counted allocation and an entry in a map.
const FRAME_BYTES: usize = 136;
/// What a site takes beside its frames: a counted allocation, a list and a place.
const SITE_BYTES: usize = 112;
/// A frame in a site.
const STEP_BYTES: usize = 8;

/// No dictionary has more, whatever the host says: what the watcher keeps of it is bounded also where the host is damaged.
const MOST_ENTRIES: u32 = 65_536;

/// How much of the dictionary of an epoch somebody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Known {
    epoch: u32,
    texts: u32,
    frames: u32,
    sites: u32,
}

/// What goes into the dictionary with one answer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Additions {
    /// What they are added to.
    to: Known,
    /// How much is kept after this answer.
    kept: Known,
    texts: Vec<Arc<str>>,
    frames: Vec<FrameSaid>,
    sites: Vec<HolderSaid>,
}

#[cfg(test)]
impl Additions {
    /// Whether it adds nothing to what somebody has.
    pub(crate) fn is_nothing_to(&self, known: Known) -> bool {
        (self.to, self.kept) == (known, known)
            && self.texts.is_empty()
            && self.frames.is_empty()
            && self.sites.is_empty()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct FrameSaid {
    function: u32,
    file: u32,
    line: u32,
    /// The build id's text, and the address.
    native: Option<(u32, u64)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum HolderSaid {
    CallPath { frames: Vec<u32>, truncated: bool },
    Class(u32),
}

/// The host's end.
#[derive(Debug)]
pub(crate) struct Sender {
    /// Most bytes that are kept from one answer to the next, on each side.
    most: usize,
    /// What the dictionary takes, and the part of it that is kept.
    held: usize,
    kept_bytes: usize,
    /// What the watcher has, once it has the answer that is being made.
    has: Known,
    /// What of it is kept after this answer.
    kept: Known,
    texts: FxHashMap<Arc<str>, u32>,
    frames: FxHashMap<Arc<Frame>, u32>,
    sites: FxHashMap<SiteId, u32>,
    additions: Additions,
    /// Sites that are kept and used in this answer.
    used: u32,
    begins_anew: bool,
}

impl Sender {
    /// An empty dictionary with so many bytes on each side.
    pub(crate) fn within(most: u64) -> Self {
        Self {
            most: usize::try_from(most).unwrap_or(usize::MAX),
            held: 0,
            kept_bytes: 0,
            has: Known::default(),
            kept: Known::default(),
            texts: FxHashMap::default(),
            frames: FxHashMap::default(),
            sites: FxHashMap::default(),
            additions: Additions::default(),
            used: 0,
            begins_anew: false,
        }
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Begins an answer for a watcher that has so much.
    pub(crate) fn begin(&mut self, known: Known) {
        if known != self.has || self.begins_anew || known.epoch == 0 {
            let epoch = self.has.epoch.max(known.epoch).wrapping_add(1).max(1);
            let has = Known { epoch, ..Known::default() };
            *self = Self { has, kept: has, ..Self::within(self.most as u64) };
        }
        self.additions = Additions { to: self.has, ..Additions::default() };
        self.used = 0;
    }

    /// The number of `site` in this answer.
    pub(crate) fn site(&mut self, site: &Arc<Site>) -> u32 {
        let number = match self.sites.get(&site.id()) {
            Some(number) => *number,
            None => {
                let said = match site.holder() {
                    SiteHolder::CallPath { frames, truncated } => HolderSaid::CallPath {
                        frames: frames.iter().map(|frame| self.frame(frame)).collect(),
                        truncated: *truncated,
                    },
                    SiteHolder::Class(name) => HolderSaid::Class(self.text(name)),
                };
                let number = self.has.sites;
                self.sites.insert(site.id(), number);
                self.additions.sites.push(said);
                self.has.sites += 1;
                self.held += SITE_BYTES + STEP_BYTES * site.frames().len();
                // Once there was no room, nothing more is kept: what comes later builds on what came before.
                if self.held <= self.most && self.has.fits() && self.kept.sites == number {
                    (self.kept, self.kept_bytes) = (self.has, self.held);
                }
                number
            }
        };
        // A site that is named twice in an answer counts twice, and is rare.
        self.used = self.used.saturating_add(u32::from(number < self.kept.sites));
        number
    }

    fn frame(&mut self, frame: &Arc<Frame>) -> u32 {
        if let Some(number) = self.frames.get(frame) {
            return *number;
        }
        let said = FrameSaid {
            function: self.text(&frame.function),
            file: self.text(&frame.file),
            line: frame.line,
            native: frame.native.as_ref().map(|place| (self.text(&place.build_id), place.address)),
        };
        let number = self.has.frames;
        self.frames.insert(Arc::clone(frame), number);
        self.additions.frames.push(said);
        self.has.frames += 1;
        self.held += FRAME_BYTES;
        number
    }

    fn text(&mut self, text: &Arc<str>) -> u32 {
        if let Some(number) = self.texts.get(text) {
            return *number;
        }
        let number = self.has.texts;
        self.texts.insert(Arc::clone(text), number);
        self.additions.texts.push(Arc::clone(text));
        self.has.texts += 1;
        self.held += TEXT_BYTES + text.len();
        number
    }

    /// What goes with the answer.
    pub(crate) fn end(&mut self) -> Additions {
        let kept = self.kept;
        if kept != self.has {
            self.begins_anew = self.used < kept.sites / 2;
            self.texts.retain(|_, number| *number < kept.texts);
            self.frames.retain(|_, number| *number < kept.frames);
            self.sites.retain(|_, number| *number < kept.sites);
            self.texts.shrink_to_fit();
            self.frames.shrink_to_fit();
            self.sites.shrink_to_fit();
            self.held = self.kept_bytes;
        }
        self.has = kept;
        self.additions.kept = kept;
        std::mem::take(&mut self.additions)
    }
}

impl Known {
    #[cfg(test)]
    pub(crate) fn sites(self) -> u32 {
        self.sites
    }

    fn fits(self) -> bool {
        self.texts.max(self.frames).max(self.sites) <= MOST_ENTRIES
    }
}

/// The watcher's end.
#[derive(Debug, Default)]
pub(crate) struct Receiver {
    epoch: u32,
    kept: Known,
    texts: Vec<Arc<str>>,
    frames: Vec<Arc<Frame>>,
    sites: Vec<Arc<Site>>,
}

impl Receiver {
    /// What the host is told before it answers. What only the last answer needed is forgotten.
    pub(crate) fn known(&mut self) -> Known {
        self.texts.truncate(self.kept.texts as usize);
        self.frames.truncate(self.kept.frames as usize);
        self.sites.truncate(self.kept.sites as usize);
        self.has()
    }

    fn has(&self) -> Known {
        Known {
            epoch: self.epoch,
            texts: self.texts.len() as u32,
            frames: self.frames.len() as u32,
            sites: self.sites.len() as u32,
        }
    }

    /// Takes the additions of an answer. After an error it is empty, so that the host begins anew.
    pub(crate) fn receive(&mut self, additions: Additions) -> Result<(), CodecError> {
        let received = self.take(additions);
        if received.is_err() {
            *self = Self::default();
        }
        received
    }

    fn take(&mut self, additions: Additions) -> Result<(), CodecError> {
        let Additions { to, kept, texts, frames, sites } = additions;
        if to != self.has() {
            // A new epoch begins with nothing.
            if to != (Known { epoch: to.epoch, ..Known::default() }) {
                return Err(CodecError::Dictionary);
            }
            *self = Self { epoch: to.epoch, ..Self::default() };
        }
        if !kept.fits() {
            return Err(CodecError::Dictionary);
        }
        self.kept = kept;
        self.texts.extend(texts);
        for said in frames {
            let frame = Frame {
                function: self.text(said.function)?,
                file: self.text(said.file)?,
                line: said.line,
                native: match said.native {
                    Some((build_id, address)) => {
                        Some(NativePlace { build_id: self.text(build_id)?, address })
                    }
                    None => None,
                },
            };
            self.frames.push(Arc::new(frame));
        }
        for said in sites {
            let holder = match said {
                HolderSaid::CallPath { frames, truncated } => {
                    let frame = |number| lookup(&self.frames, "frame", number);
                    let frames = frames.into_iter().map(frame).collect::<Result<Box<[_]>, _>>()?;
                    SiteHolder::CallPath { frames, truncated }
                }
                HolderSaid::Class(name) => SiteHolder::Class(self.text(name)?),
            };
            self.sites.push(Arc::new(Site::new(holder)));
        }
        Ok(())
    }

    /// A site that was sent.
    pub(crate) fn site(&self, number: u32) -> Result<Arc<Site>, CodecError> {
        lookup(&self.sites, "site", number)
    }

    fn text(&self, number: u32) -> Result<Arc<str>, CodecError> {
        lookup(&self.texts, "text", number)
    }
}

fn lookup<T: ?Sized>(all: &[Arc<T>], what: &'static str, number: u32) -> Result<Arc<T>, CodecError> {
    all.get(number as usize).cloned().ok_or(CodecError::Unknown { what, number })
}
