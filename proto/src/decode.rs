//! Entries back to a session's events.
//! Pure: no I/O, no clock. Never panics and never holds more than [`crate::limits`] allows, whatever it is given.

use std::sync::Arc;

use leakline_core::{
    Frame, Loss, Mark, NativePlace, Profile, ProfileSource, Session, Site, Snapshot, Timestamp, Verdict,
};
use rustc_hash::FxHashMap;

use crate::convert::{SiteNumbers, amount_from_wire, cut_to, source_name, verdict_from_wire};
use crate::error::DecodeError;
use crate::limits::{
    Budget, MAX_AMOUNTS, MAX_FRAMES, MAX_PROFILES, MAX_READINGS, MAX_SOURCES, MAX_STRING_BYTES, too_large,
};
use crate::v1::{self, entry::Body};

/// Put into the notes of a reading whose profile cannot be known.
const PROFILE_UNKNOWN: &str =
    "the profile is unknown: entries before it were lost; it is known again from the next keyframe on";

/// What an entry says.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The session that everything after it belongs to. Told once, though recordings repeat it; first, unless the entry
    /// that held it was lost.
    Session(Session),
    /// All readings of one tick, and what the agent said after them.
    Snapshot {
        /// The readings. After lost entries, until the next keyframe, they have no profiles, and a note that says so.
        snapshot: Arc<Snapshot>,
        /// The worst first. Those about sites are left out where sites are unknown because of lost entries.
        verdicts: Vec<Verdict>,
    },
    /// A named event of the host.
    Mark(Mark),
    /// Snapshots that never became entries, or were dropped before they left the agent.
    Lost(Loss),
    /// Entries that were made but are not here. A recording that was rotated begins with the number of entries that
    /// went with older files.
    Gap {
        /// How many.
        missing_entries: u64,
    },
    /// An entry that was here before, and was ignored.
    Duplicate {
        /// Its number.
        number: u64,
    },
    /// The session ended in an orderly way.
    End(Timestamp),
    /// Nothing more could be kept of the session, which may have gone on.
    Cut {
        /// When.
        at: Timestamp,
        /// Why, in words for a user.
        reason: String,
    },
}

/// Follows one stream of entries. When entries of another session come, it begins anew with that one.
#[derive(Debug, Default)]
pub struct Decoder {
    session: Option<Session>,
    next: u64,
    /// Not yet told: an error came in its place.
    missing: u64,
    /// Whether the table and the profiles are what the encoder had. Not before the first epoch nor after lost entries.
    whole: bool,
    table: Table,
    /// By probe and source.
    profiles: FxHashMap<(String, String), Known>,
    /// Sites in all of `profiles`.
    amounts: usize,
}

/// A profile so far.
#[derive(Debug)]
struct Known {
    source: ProfileSource,
    amounts: FxHashMap<u32, SiteNumbers>,
    /// Made from `amounts` when a snapshot needs it.
    profile: Option<Arc<Profile>>,
}

#[derive(Debug, Default)]
struct Table {
    budget: Budget,
    strings: Vec<Arc<str>>,
    frames: Vec<Arc<Frame>>,
    sites: Vec<Arc<Site>>,
}

impl Decoder {
    /// A decoder that knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next entry and says what it tells: nothing (strings, sites, changes that a later snapshot completes),
    /// one event, or the gap before it and one event.
    ///
    /// After an error the decoder stays usable: the entry counts as lost, so that profiles are unknown until the next
    /// keyframe, and gauges are still told.
    pub fn push(&mut self, entry: v1::Entry) -> Result<Vec<Event>, DecodeError> {
        if let Some(Body::Session(session)) = &entry.body
            && self.session.as_ref().is_some_and(|known| known.id.0 != session.id[..])
        {
            *self = Self::default();
        }
        if entry.number < self.next {
            return Ok(vec![Event::Duplicate { number: entry.number }]);
        }
        if entry.number > self.next {
            self.missing = self.missing.saturating_add(entry.number - self.next);
            self.lose();
        }
        self.next = entry
            .number
            .checked_add(1)
            .ok_or(DecodeError::Invalid { reason: "there is no number after it", field: "Entry.number" })?;
        // What only a newer leakline knows may be all of this entry, but leaves the rest as it is.
        let body = entry.body.ok_or(DecodeError::Missing("Entry.body"))?;
        let event = self.body(body).inspect_err(|_| self.lose())?;
        let missing_entries = std::mem::take(&mut self.missing);
        let gap = (missing_entries > 0).then_some(Event::Gap { missing_entries });
        Ok(gap.into_iter().chain(event).collect())
    }

    /// The session, once it was told.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// The number of the entry that comes next where none is missing.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    fn body(&mut self, body: Body) -> Result<Option<Event>, DecodeError> {
        Ok(match body {
            Body::Session(session) => {
                let session = Session::try_from(session)?;
                if self.session.as_ref() == Some(&session) {
                    return Ok(None);
                }
                self.session = Some(session.clone());
                Some(Event::Session(session))
            }
            Body::Epoch(_) => {
                self.lose();
                self.whole = true;
                None
            }
            Body::Intern(intern) => {
                if self.whole {
                    self.table.add(intern)?;
                }
                None
            }
            Body::Profile(change) => {
                if self.whole {
                    self.change(change)?;
                }
                None
            }
            Body::Snapshot(snapshot) => Some(self.snapshot(snapshot)?),
            Body::Mark(mark) => Some(Event::Mark(mark.try_into()?)),
            Body::Lost(loss) => Some(Event::Lost(loss.into())),
            Body::End(end) => {
                let at = end.at.ok_or(DecodeError::Missing("End.at"))?.into();
                let reason = cut_to(&end.reason, MAX_STRING_BYTES).into_owned();
                Some(if reason.is_empty() { Event::End(at) } else { Event::Cut { at, reason } })
            }
        })
    }

    /// Forgets what may be wrong from now on.
    fn lose(&mut self) {
        self.whole = false;
        self.table = Table::default();
        self.profiles = FxHashMap::default();
        self.amounts = 0;
    }

    fn change(&mut self, change: v1::ProfileChange) -> Result<(), DecodeError> {
        let name = source_name(&change.source).into_owned();
        let source = ProfileSource {
            name: name.clone().into(),
            mean_sample_bytes: change.mean_sample_bytes,
            epoch: change.epoch,
        };
        let key = (change.probe, name);
        if !self.profiles.contains_key(&key) {
            if !change.whole {
                let reason = "a profile's first change in an epoch is whole";
                return Err(DecodeError::Invalid { reason, field: "ProfileChange.whole" });
            }
            if key.0.len() > MAX_STRING_BYTES {
                let size = key.0.len() as u64;
                return Err(too_large(size, MAX_STRING_BYTES as u64, "ProfileChange.probe"));
            }
            let profiles = self.profiles.len() as u64 + 1;
            if profiles > MAX_PROFILES as u64 {
                return Err(too_large(profiles, MAX_PROFILES as u64, "ProfileChange.source"));
            }
        }
        let known = self.profiles.entry(key).or_insert_with(|| Known {
            source: source.clone(),
            amounts: FxHashMap::default(),
            profile: None,
        });
        known.profile = None;
        known.source = source;
        if change.whole {
            self.amounts -= known.amounts.len();
            known.amounts = FxHashMap::default();
        }
        for amount in change.sites {
            let numbers = amount_from_wire(&amount);
            if numbers.is_nothing() {
                if known.amounts.remove(&amount.site).is_some() {
                    self.amounts -= 1;
                }
                continue;
            }
            self.table.site(amount.site, "SiteAmount.site")?;
            if known.amounts.insert(amount.site, numbers).is_none() {
                self.amounts += 1;
            }
            if self.amounts > MAX_AMOUNTS {
                return Err(too_large(self.amounts as u64, MAX_AMOUNTS as u64, "ProfileChange.sites"));
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, mut snapshot: v1::Snapshot) -> Result<Event, DecodeError> {
        if snapshot.readings.len() > MAX_READINGS {
            return Err(too_large(snapshot.readings.len() as u64, MAX_READINGS as u64, "Snapshot.readings"));
        }
        let verdicts = self.verdicts(std::mem::take(&mut snapshot.verdicts))?;
        let sources = snapshot.readings.iter_mut().map(sources_of).collect::<Result<Vec<_>, _>>()?;
        let mut snapshot = Snapshot::try_from(snapshot)?;
        for (reading, sources) in snapshot.readings.iter_mut().zip(sources) {
            if !self.whole {
                if !sources.is_empty() {
                    reading.notes.push(PROFILE_UNKNOWN.to_owned());
                }
                continue;
            }
            for source in sources {
                let known = self
                    .profiles
                    .get_mut(&(reading.probe.to_string(), source))
                    .ok_or(DecodeError::Missing("ProfileChange of a reading with a profile"))?;
                let profile = known.profile.get_or_insert_with(|| {
                    Arc::new(profile(known.source.clone(), &known.amounts, &self.table))
                });
                reading.profiles.push(Arc::clone(profile));
            }
        }
        Ok(Event::Snapshot { snapshot: Arc::new(snapshot), verdicts })
    }

    fn verdicts(&self, verdicts: Vec<v1::Verdict>) -> Result<Vec<Verdict>, DecodeError> {
        verdicts
            .into_iter()
            .filter(|verdict| self.whole || verdict.site.is_none())
            .map(|verdict| {
                let site = verdict.site.map(|index| self.table.site(index, "Verdict.site")).transpose()?;
                verdict_from_wire(verdict, site.cloned())
            })
            .collect()
    }
}

/// The sources that `reading` names, each once.
fn sources_of(reading: &mut v1::Reading) -> Result<Vec<String>, DecodeError> {
    let named = std::mem::take(&mut reading.profile_sources);
    if named.len() > MAX_SOURCES {
        return Err(too_large(named.len() as u64, MAX_SOURCES as u64, "Reading.profile_sources"));
    }
    if named.is_empty() && reading.has_profile {
        return Ok(vec![source_name("").into_owned()]);
    }
    let mut sources: Vec<String> = Vec::new();
    for name in named.iter().map(|name| source_name(name)) {
        if !sources.iter().any(|known| *known == name) {
            sources.push(name.into_owned());
        }
    }
    Ok(sources)
}

/// Of what a frame's identity is computed from.
fn text_bytes(frame: &Arc<Frame>) -> u64 {
    let build_id = frame.native.as_ref().map_or(0, |place| place.build_id.len());
    (frame.function.len() + frame.file.len() + build_id) as u64
}

fn profile(source: ProfileSource, amounts: &FxHashMap<u32, SiteNumbers>, table: &Table) -> Profile {
    let stats = amounts.iter().filter_map(|(index, numbers)| {
        let site = table.sites.get(*index as usize)?;
        Some(numbers.into_stat(Arc::clone(site)))
    });
    Profile::new(source, stats.collect())
}

impl Table {
    fn add(&mut self, intern: v1::Intern) -> Result<(), DecodeError> {
        for string in intern.strings {
            self.budget.string(string.len())?;
            self.strings.push(string.into());
        }
        for frame in intern.frames {
            self.budget.frame(frame.address.is_some())?;
            let function = self.string(frame.function, "Frame.function")?;
            let file = self.string(frame.file, "Frame.file")?;
            let native = match (frame.address, frame.build_id) {
                (Some(address), Some(build_id)) => {
                    Some(NativePlace { build_id: self.string(build_id, "Frame.build_id")?, address })
                }
                (Some(address), None) => Some(NativePlace { build_id: "".into(), address }),
                (None, _) => None,
            };
            self.frames.push(Arc::new(Frame { native, ..Frame::new(function, file, frame.line) }));
        }
        for site in intern.sites {
            let site = match site.holder.ok_or(DecodeError::Missing("Site.holder"))? {
                v1::site::Holder::CallPath(path) => self.call_path(path)?,
                v1::site::Holder::ClassName(name) => {
                    let name = self.string(name, "Site.class_name")?;
                    self.budget.site(0, name.len() as u64)?;
                    Site::class(name)
                }
            };
            self.sites.push(Arc::new(site));
        }
        Ok(())
    }

    fn call_path(&mut self, path: v1::CallPath) -> Result<Site, DecodeError> {
        // Before the frames are gathered: a message may name one frame a million times.
        if path.frames.len() > MAX_FRAMES {
            return Err(too_large(path.frames.len() as u64, MAX_FRAMES as u64, "CallPath.frames"));
        }
        let frames = path
            .frames
            .iter()
            .map(|index| self.frames.get(*index as usize).cloned().ok_or_else(|| self.no_frame(*index)))
            .collect::<Result<Vec<_>, _>>()?;
        let text_bytes = frames.iter().map(text_bytes).sum();
        self.budget.site(frames.len(), text_bytes)?;
        Ok(Site::call_path(frames, path.truncated))
    }

    fn no_frame(&self, index: u32) -> DecodeError {
        DecodeError::UnknownIndex { index, known: self.frames.len(), field: "CallPath.frames" }
    }

    fn string(&self, index: u32, field: &'static str) -> Result<Arc<str>, DecodeError> {
        let known = self.strings.len();
        let string = self.strings.get(index as usize);
        string.cloned().ok_or(DecodeError::UnknownIndex { index, known, field })
    }

    fn site(&self, index: u32, field: &'static str) -> Result<&Arc<Site>, DecodeError> {
        let known = self.sites.len();
        self.sites.get(index as usize).ok_or(DecodeError::UnknownIndex { index, known, field })
    }
}
