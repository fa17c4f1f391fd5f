//! Growth: a profile minus an earlier one.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Amount, Profile, Site, SiteStat, Snapshot};

/// What one site gained or lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteGrowth {
    /// What holds the memory.
    pub site: Arc<Site>,
    /// Live bytes now minus then.
    pub bytes: i64,
    /// Live blocks now minus then.
    pub blocks: i64,
    /// Live now.
    pub live: Amount,
}

/// A profile minus an earlier one. Sites that did not change are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Growth {
    /// The sites that changed, most grown bytes first; equal ones by identity, so that the order is the same each time.
    pub sites: Vec<SiteGrowth>,
}

impl Growth {
    /// `now` minus `then`, by one merge of the two sorted lists.
    pub fn between(then: &Profile, now: &Profile) -> Self {
        let mut sites = Vec::new();
        let (mut old, mut new) = (then.sites().iter().peekable(), now.sites().iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => old.site.id().cmp(&new.site.id()),
            };
            let before = if order.is_le() { old.next() } else { None };
            let after = if order.is_ge() { new.next() } else { None };
            sites.extend(difference(before, after));
        }
        sites.sort_unstable_by_key(|growth| (std::cmp::Reverse(growth.bytes), growth.site.id()));
        Self { sites }
    }

    /// The sites that grew, the most grown first.
    pub fn grown(&self) -> impl Iterator<Item = &SiteGrowth> {
        self.sites.iter().take_while(|growth| growth.bytes > 0)
    }
}

fn difference(before: Option<&SiteStat>, after: Option<&SiteStat>) -> Option<SiteGrowth> {
    let site = &after.or(before)?.site;
    let then = before.map(|stat| stat.live).unwrap_or_default();
    let live = after.map(|stat| stat.live).unwrap_or_default();
    let growth = SiteGrowth {
        site: Arc::clone(site),
        bytes: signed_difference(live.bytes, then.bytes),
        blocks: signed_difference(live.blocks, then.blocks),
        live,
    };
    (growth.bytes != 0 || growth.blocks != 0).then_some(growth)
}

fn signed_difference(now: u64, then: u64) -> i64 {
    (i128::from(now) - i128::from(then)).clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// Follows a session and keeps, for each probe, the profile that growth is counted from: the first one since the
/// baseline, which for a probe that attached later is its own first.
#[derive(Debug, Default)]
pub struct GrowthTracker {
    baseline: Option<u64>,
    profiles: HashMap<String, Arc<Profile>>,
}

impl GrowthTracker {
    /// Takes the next snapshot and gives the growth of each probe that has a profile in it, by the probe's name.
    pub fn push(&mut self, snapshot: &Snapshot) -> Vec<(String, Growth)> {
        if self.baseline != Some(snapshot.baseline) {
            self.baseline = Some(snapshot.baseline);
            self.profiles.clear();
        }
        let mut growths = Vec::new();
        for reading in &snapshot.readings {
            let Some(now) = &reading.profile else { continue };
            let then = self.profiles.entry(reading.probe.to_string()).or_insert_with(|| Arc::clone(now));
            growths.push((reading.probe.to_string(), Growth::between(then, now)));
        }
        growths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each word is `site:bytes`; the answer is the growth in its order.
    fn check(then: &str, now: &str, expected: &str) {
        let profile = |text: &str| {
            Profile::new(
                text.split_whitespace()
                    .map(|word| {
                        let (name, bytes) = word.split_once(':').unwrap();
                        let live = Amount { bytes: bytes.parse().unwrap(), blocks: 1 };
                        SiteStat { site: Arc::new(Site::class(name)), live }
                    })
                    .collect(),
            )
        };
        let growth = Growth::between(&profile(then), &profile(now));
        let found: Vec<String> = growth
            .sites
            .iter()
            .map(|growth| match growth.site.holder() {
                crate::SiteHolder::Class(name) => format!("{name}:{:+}/{:+}", growth.bytes, growth.blocks),
                crate::SiteHolder::CallPath { .. } => unreachable!("only classes here"),
            })
            .collect();
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn nothing_minus_nothing_is_nothing() {
        check("", "", "");
    }

    #[test]
    fn a_site_that_did_not_change_is_left_out() {
        check("a:10 b:20", "a:10 b:25", "b:+5/+0");
    }

    #[test]
    fn new_sites_grow_from_zero_and_gone_ones_shrink_to_it() {
        check("a:10", "b:7", "b:+7/+1 a:-10/-1");
    }

    #[test]
    fn the_most_grown_comes_first() {
        check("a:1 b:1 c:1", "a:5 b:50 c:0", "b:+49/+0 a:+4/+0 c:-1/+0");
    }

    #[test]
    fn a_site_named_twice_counts_once() {
        check("a:10", "a:10 a:10", "a:+10/+1");
    }
}
