//! A profile: live bytes and live counts per site.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::site::Site;

/// How much a site holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amount {
    /// Live bytes.
    pub bytes: u64,
    /// Live blocks or objects.
    pub blocks: u64,
}

/// One site of a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteStat {
    /// What holds the memory.
    pub site: Arc<Site>,
    /// How much is live now.
    pub live: Amount,
}

/// Live bytes and counts per site, sorted by site identity, each site once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Profile {
    sites: Vec<SiteStat>,
}

impl Profile {
    /// Sorts by identity and adds up sites that are named more than once.
    pub fn new(mut sites: Vec<SiteStat>) -> Self {
        sites.sort_unstable_by_key(|stat| stat.site.id());
        sites.dedup_by(|later, kept| {
            let same = later.site.id() == kept.site.id();
            if same {
                kept.live.bytes = kept.live.bytes.saturating_add(later.live.bytes);
                kept.live.blocks = kept.live.blocks.saturating_add(later.live.blocks);
            }
            same
        });
        Self { sites }
    }

    /// The sites, by identity.
    pub fn sites(&self) -> &[SiteStat] {
        &self.sites
    }

    /// All sites together.
    pub fn total(&self) -> Amount {
        self.sites.iter().fold(Amount::default(), |sum, stat| Amount {
            bytes: sum.bytes.saturating_add(stat.live.bytes),
            blocks: sum.blocks.saturating_add(stat.live.blocks),
        })
    }
}
