//! What a watcher and the lanes in its host say to each other, as bytes. Both are one build, so there are no versions.
//!
//! Call paths and their texts travel once and are numbers from then on (`dictionary`). The watcher takes nothing for
//! granted: the host may have damaged what it says. What makes no sense is an error, never a panic.
//!
//! Never here: how the bytes get across, or a probe.

mod dictionary;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use leakline_core::{
    Amount, Asked, Attachment, Cycle, Details, Gauge, GaugeReading, Holder, ProbeError, ProbeRequest,
    Profile, ProfileSource, RuntimeInfo, Tick, Timestamp,
};
use leakline_probing::joined::Told;
use leakline_probing::regions::{Region, kinds};
use serde::{Deserialize, Serialize};

pub(crate) use dictionary::{Additions, Known, Receiver, Sender};

/// Sources of regions that a host's lanes publish; others are left out.
const REGION_SOURCES: [&str; 2] = ["python", "jvm"];

/// A question of the watcher's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Question {
    /// What the watcher has of this lane's dictionary.
    pub(crate) known: Known,
    /// The last change of the regions that the watcher knows of.
    pub(crate) regions: u64,
    pub(crate) job: Job,
}

/// What is to be done in the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Job {
    /// Of the lane's own probe, or of the host's own probes (`custom`).
    Probe { custom: bool, job: ProbeJob },
    /// The names of a runtime's frames, by its place among those that joined.
    Tell { runtime: u32, numbers: Vec<u64> },
    /// Look for runtimes that have come since, and start their lanes.
    Look,
    /// Ask malloc for its numbers, for the page that the native probe reads.
    Malloc,
}

/// The calls of [`leakline_core::Probe`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum ProbeJob {
    Attach,
    Prepare,
    Gauges(Tick),
    Details(Tick),
    Request(ProbeRequest),
    Detach,
}

/// What a lane says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// CPU time of the lane's thread since its start.
    pub(crate) cpu: Duration,
    /// Bytes that leakline holds in the host.
    pub(crate) held_bytes: u64,
    /// What the probes in the host know of its addresses, when it is not what the watcher has.
    pub(crate) regions: Option<Regions>,
    /// Whether the host has probes of its own.
    pub(crate) has_readers: bool,
    pub(crate) additions: Additions,
    pub(crate) result: Result<Said, Failure>,
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Said {
    Attached(RuntimeInfo),
    Absent {
        reason: Cow<'static, str>,
    },
    Gauges {
        taken: Timestamp,
        gauges: Vec<Gauge>,
        stall: Duration,
    },
    Details(DetailsSaid),
    Asked(AskedSaid),
    /// The job is done; there is nothing to say.
    Done,
    Told(Option<Vec<Option<ToldFrame>>>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DetailsSaid {
    gauges: Vec<Gauge>,
    profiles: Vec<ProfileSaid>,
    holders: Vec<Holder>,
    cycles: Vec<Cycle>,
    gil_held: Duration,
    longest_stall: Duration,
    notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ProfileSaid {
    source: ProfileSource,
    sites: Vec<SiteSaid>,
}

/// A site by its number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct SiteSaid {
    site: u32,
    live: Amount,
    standard_error_bytes: u64,
    allocated: Option<Amount>,
    survived: Option<Amount>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum AskedSaid {
    Done,
    NotForThis,
    Refused { reason: Cow<'static, str> },
}

/// A frame in words; see [`Told`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ToldFrame {
    function: String,
    file: String,
    line: u32,
}

/// A [`ProbeError`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Failure {
    Gone { reason: Cow<'static, str> },
    Failed { what: Cow<'static, str>, reason: String },
    Panicked { message: String },
}

/// What is known of the host's addresses, and of which change that is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Regions {
    pub(crate) change: u64,
    /// By places in `REGION_SOURCES`.
    sources: Vec<(u8, Vec<Range>)>,
}

/// Start, end, and the kind's place in [`kinds::ALL`].
type Range = (u64, u64, u8);

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("the message makes no sense ({0})")]
    Message(#[from] postcard::Error),
    #[error("it names a {what} that was never sent ({number})")]
    Unknown { what: &'static str, number: u32 },
    #[error("its dictionary is not the one that was agreed on")]
    Dictionary,
}

/// As bytes.
pub(crate) fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, CodecError> {
    Ok(postcard::to_stdvec(message)?)
}

/// From bytes, all of them.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CodecError> {
    match postcard::take_from_bytes(bytes)? {
        (message, []) => Ok(message),
        _ => Err(CodecError::Message(postcard::Error::DeserializeBadEncoding)),
    }
}

impl DetailsSaid {
    /// On the host's side: sites become numbers, and what the watcher does not have of them goes into the additions.
    pub(crate) fn new(details: Details, dictionary: &mut Sender) -> Self {
        let profiles = details.profiles.iter().map(|profile| ProfileSaid {
            source: profile.source().clone(),
            sites: profile
                .sites()
                .iter()
                .map(|stat| SiteSaid {
                    site: dictionary.site(&stat.site),
                    live: stat.live,
                    standard_error_bytes: stat.standard_error_bytes,
                    allocated: stat.allocated,
                    survived: stat.survived,
                })
                .collect(),
        });
        Self {
            profiles: profiles.collect(),
            gauges: details.gauges,
            holders: details.holders,
            cycles: details.cycles,
            gil_held: details.gil_held,
            longest_stall: details.longest_stall,
            notes: details.notes,
        }
    }

    /// On the watcher's side, after the additions were received.
    pub(crate) fn details(self, dictionary: &Receiver) -> Result<Details, CodecError> {
        let mut profiles = Vec::new();
        for ProfileSaid { source, sites } in self.profiles {
            let stat = |said: SiteSaid| {
                Ok(leakline_core::SiteStat {
                    site: dictionary.site(said.site)?,
                    live: said.live,
                    standard_error_bytes: said.standard_error_bytes,
                    allocated: said.allocated,
                    survived: said.survived,
                })
            };
            let stats = sites.into_iter().map(stat).collect::<Result<Vec<_>, CodecError>>()?;
            profiles.push(Arc::new(Profile::new(source, stats)));
        }
        Ok(Details {
            gauges: self.gauges,
            profiles,
            holders: self.holders,
            cycles: self.cycles,
            gil_held: self.gil_held,
            longest_stall: self.longest_stall,
            notes: self.notes,
        })
    }
}

impl From<GaugeReading> for Said {
    fn from(GaugeReading { taken, gauges, stall }: GaugeReading) -> Self {
        Self::Gauges { taken, gauges, stall }
    }
}

impl From<Attachment> for Said {
    fn from(attachment: Attachment) -> Self {
        match attachment {
            Attachment::Attached(runtime) => Self::Attached(runtime),
            Attachment::Absent { reason } => Self::Absent { reason },
        }
    }
}

impl From<Asked> for Said {
    fn from(asked: Asked) -> Self {
        Self::Asked(match asked {
            Asked::Done => AskedSaid::Done,
            Asked::NotForThis => AskedSaid::NotForThis,
            Asked::Refused { reason } => AskedSaid::Refused { reason },
        })
    }
}

impl From<AskedSaid> for Asked {
    fn from(asked: AskedSaid) -> Self {
        match asked {
            AskedSaid::Done => Self::Done,
            AskedSaid::NotForThis => Self::NotForThis,
            AskedSaid::Refused { reason } => Self::Refused { reason },
        }
    }
}

impl From<ProbeError> for Failure {
    fn from(error: ProbeError) -> Self {
        match error {
            ProbeError::Gone { reason } => Self::Gone { reason },
            ProbeError::Failed { what, reason } => Self::Failed { what, reason },
            ProbeError::Panicked { message } => Self::Panicked { message },
            other => Self::Failed { what: "reading".into(), reason: other.to_string() },
        }
    }
}

impl From<Failure> for ProbeError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Gone { reason } => Self::Gone { reason },
            Failure::Failed { what, reason } => Self::Failed { what, reason },
            Failure::Panicked { message } => Self::Panicked { message },
        }
    }
}

impl From<Told> for ToldFrame {
    fn from(Told { function, file, line }: Told) -> Self {
        Self { function, file, line }
    }
}

impl From<ToldFrame> for Told {
    fn from(ToldFrame { function, file, line }: ToldFrame) -> Self {
        Self { function, file, line }
    }
}

impl Regions {
    /// Of what the sources know in this process.
    pub(crate) fn new(change: u64, sources: &[(&'static str, Vec<Region>)]) -> Self {
        let kind = |region: &Region| kinds::ALL.iter().position(|kind| *kind == region.kind);
        let said = |regions: &[Region]| {
            regions
                .iter()
                .filter_map(|region| Some((region.start, region.end, kind(region)? as u8)))
                .collect()
        };
        let sources = sources.iter().filter_map(|(name, regions)| {
            let source = REGION_SOURCES.iter().position(|known| known == name)?;
            Some((source as u8, said(regions)))
        });
        Self { change, sources: sources.collect() }
    }

    /// What each source knows; of all that a host's lanes may publish, also those that know nothing (any more).
    pub(crate) fn by_source(&self) -> Vec<(&'static str, Vec<Region>)> {
        let of = |index: usize| self.sources.iter().find(|(source, _)| usize::from(*source) == index);
        let region = |&(start, end, kind): &Range| {
            let kind = kinds::ALL.get(usize::from(kind)).copied()?;
            (start < end).then_some(Region { start, end, kind })
        };
        let all = REGION_SOURCES.iter().enumerate().map(|(index, name)| {
            let regions = of(index).map_or(Vec::new(), |(_, all)| all.iter().filter_map(region).collect());
            (*name, regions)
        });
        all.collect()
    }
}

#[cfg(test)]
mod tests;
