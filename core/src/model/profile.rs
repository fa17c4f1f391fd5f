//! A profile: live bytes and live counts per site, with its source and how sure it is.
//! Never here: growth between two profiles, or how a source works.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::site::Site;

/// What was live at so many readings in a row has survived: a leak's blocks do, a cache's or a request's mostly do not.
pub const SURVIVAL_TICKS: u32 = 3;

/// How much a site holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amount {
    /// Live bytes.
    pub bytes: u64,
    /// Live blocks or objects.
    pub blocks: u64,
}

impl Amount {
    fn add(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.blocks = self.blocks.saturating_add(other.blocks);
    }
}

/// Where a profile comes from. Only profiles of one name and one epoch can be compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProfileSource {
    /// Unique among the profiles of one reading, never empty: one of the constants here, or a probe's own.
    pub name: Cow<'static, str>,
    /// Bytes between two samples on average; `None` where everything is counted.
    pub mean_sample_bytes: Option<u64>,
    /// Another one for each time that the source began anew (a new window, a sampler that was set up again): what it did
    /// not see before is not growth.
    pub epoch: u64,
}

impl ProfileSource {
    /// Call paths of a sampling allocator hook.
    pub const SAMPLED: &'static str = "sampled";
    /// Call paths of an allocator hook that records everything.
    pub const EXACT: &'static str = "exact";
    /// Call paths that Python's tracemalloc records.
    pub const TRACEMALLOC: &'static str = "tracemalloc";
    /// Objects by type, of a census.
    pub const TYPES: &'static str = "types";
    /// Mappings that the program made itself (mmap), by call path. All of them are counted.
    pub const MAPPED: &'static str = "mapped";

    /// A source that counts everything, in its first epoch.
    pub fn exact(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), mean_sample_bytes: None, epoch: 0 }
    }

    /// A source that takes a sample every `mean_sample_bytes` on average, in its first epoch.
    pub fn sampled(name: impl Into<Cow<'static, str>>, mean_sample_bytes: u64) -> Self {
        Self { name: name.into(), mean_sample_bytes: Some(mean_sample_bytes), epoch: 0 }
    }

    /// The same source in epoch `epoch`.
    #[must_use]
    pub fn in_epoch(self, epoch: u64) -> Self {
        Self { epoch, ..self }
    }

    /// Whether this source tells what objects there are rather than who allocated them.
    pub fn is_types(&self) -> bool {
        self.name == Self::TYPES
    }
}

/// One site of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteStat {
    /// What holds the memory.
    pub site: Arc<Site>,
    /// How much is live now.
    pub live: Amount,
    /// Standard error of `live.bytes` where that is estimated from samples; 0: exact.
    pub standard_error_bytes: u64,
    /// What it allocated since the source's epoch began, freed or not; `None` where the source does not count it.
    pub allocated: Option<Amount>,
    /// What of `live` was live at [`SURVIVAL_TICKS`] readings or more, this one included; `None` where the source does
    /// not tell.
    /// Of types of a runtime that collects garbage: the fewest that there were at that many readings with a collection
    /// between each.
    pub survived: Option<Amount>,
}

impl SiteStat {
    /// A site that is counted, not estimated, by a source that tells neither what was freed nor what survived.
    pub fn exact(site: Arc<Site>, live: Amount) -> Self {
        Self { site, live, standard_error_bytes: 0, allocated: None, survived: None }
    }

    fn add(&mut self, other: &Self) {
        self.live.add(other.live);
        self.standard_error_bytes = together(self.standard_error_bytes, other.standard_error_bytes);
        self.allocated = known_together(self.allocated, other.allocated);
        self.survived = known_together(self.survived, other.survived);
    }
}

fn known_together(one: Option<Amount>, other: Option<Amount>) -> Option<Amount> {
    match (one, other) {
        (Some(mut sum), Some(more)) => {
            sum.add(more);
            Some(sum)
        }
        (one, other) => one.or(other),
    }
}

/// The standard error of the sum, or of the difference, of two independent estimates.
pub(crate) fn together(one: u64, other: u64) -> u64 {
    match (one, other) {
        (error, 0) | (0, error) => error,
        (one, other) => (one as f64).hypot(other as f64).round() as u64,
    }
}

/// Live bytes and counts per site, sorted by site identity, each site once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    source: ProfileSource,
    sites: Vec<SiteStat>,
}

impl Profile {
    /// Sorts by identity and adds up sites that are named more than once.
    pub fn new(source: ProfileSource, mut sites: Vec<SiteStat>) -> Self {
        sites.sort_unstable_by_key(|stat| stat.site.id());
        sites.dedup_by(|later, kept| {
            let same = later.site.id() == kept.site.id();
            if same {
                kept.add(later);
            }
            same
        });
        Self { source, sites }
    }

    /// Where it comes from.
    pub fn source(&self) -> &ProfileSource {
        &self.source
    }

    /// The sites, by identity.
    pub fn sites(&self) -> &[SiteStat] {
        &self.sites
    }

    /// All sites together.
    pub fn total(&self) -> Amount {
        self.sites.iter().fold(Amount::default(), |mut sum, stat| {
            sum.add(stat.live);
            sum
        })
    }
}

/// Something that refers to objects of one type: a container, an attribute, a module's global.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The type, by the name of its site in the profile of source [`ProfileSource::TYPES`].
    pub of: Arc<str>,
    /// What refers to them, in words for a user: `list RNS.Transport.pending_inbound`.
    pub holder: String,
    /// To how many objects of the type.
    pub count: u64,
}

/// Cycles of one kind across the heaps of two runtimes, which the collector of neither can free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cycle {
    /// Python's half, from the object that Java holds to the wrapper of a Java object: types and attributes.
    pub python: String,
    /// Java's half, from that Java object to what holds the Python object: classes and fields.
    pub java: String,
    /// Python objects that are held by such a cycle.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_named_twice_is_one_and_its_errors_add_up_as_squares() {
        let stat = |bytes, standard_error_bytes, allocated: Option<u64>| SiteStat {
            site: Arc::new(Site::class("a")),
            live: Amount { bytes, blocks: 1 },
            standard_error_bytes,
            allocated: allocated.map(|bytes| Amount { bytes, blocks: 2 }),
            survived: allocated.map(|bytes| Amount { bytes: bytes / 2, blocks: 1 }),
        };
        let cases = [
            (
                stat(10, 30, Some(5)),
                stat(20, 40, Some(6)),
                (30, 50, Some(Amount { bytes: 11, blocks: 4 }), Some(5)),
            ),
            (stat(10, 0, None), stat(20, 7, Some(6)), (30, 7, Some(Amount { bytes: 6, blocks: 2 }), Some(3))),
            (stat(u64::MAX, u64::MAX, None), stat(1, u64::MAX, None), (u64::MAX, u64::MAX, None, None)),
        ];
        for (one, other, (bytes, error, allocated, survived)) in cases {
            let profile = Profile::new(ProfileSource::sampled("s", 64), vec![one, other]);
            let [stat] = profile.sites() else { panic!("{profile:?}") };
            assert_eq!(stat.live, Amount { bytes, blocks: 2 });
            assert_eq!((stat.standard_error_bytes, stat.allocated), (error, allocated));
            assert_eq!(stat.survived.map(|survived| survived.bytes), survived);
        }
    }
}
