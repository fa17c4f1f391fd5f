//! Growth: a profile minus an earlier one.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Amount, Profile, ProfileSource, Site, SiteStat, Snapshot, together};

/// What one site gained or lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteGrowth {
    /// What holds the memory.
    pub site: Arc<Site>,
    /// Live bytes now minus then.
    pub bytes: i64,
    /// Live blocks now minus then.
    pub blocks: i64,
    /// Standard error of `bytes`, as of two independent estimates; 0: exact. What both profiles have sampled is the same
    /// objects and cancels out, so the truth is somewhat better than this says.
    pub standard_error_bytes: u64,
    /// Live now.
    pub live: Amount,
    /// What of `live` has survived ([`crate::SURVIVAL_TICKS`]); `None` where the source does not tell.
    pub survived: Option<Amount>,
    /// Bytes that have survived now minus then; what was not there then had no survivors.
    pub survived_bytes: Option<i64>,
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
    let survived = |stat: Option<&SiteStat>| stat.map_or(Some(Amount::default()), |stat| stat.survived);
    let (survived_then, survived) = (survived(before), survived(after));
    let growth = SiteGrowth {
        site: Arc::clone(site),
        bytes: signed_difference(live.bytes, then.bytes),
        blocks: signed_difference(live.blocks, then.blocks),
        standard_error_bytes: together(error(before), error(after)),
        live,
        survived,
        survived_bytes: survived_then
            .zip(survived)
            .map(|(then, now)| signed_difference(now.bytes, then.bytes)),
    };
    (growth.bytes != 0 || growth.blocks != 0).then_some(growth)
}

fn error(stat: Option<&SiteStat>) -> u64 {
    stat.map_or(0, |stat| stat.standard_error_bytes)
}

fn signed_difference(now: u64, then: u64) -> i64 {
    (i128::from(now) - i128::from(then)).clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// What grew in the profiles of one source of one probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileGrowth {
    /// The probe's name.
    pub probe: String,
    /// The source of both profiles.
    pub source: ProfileSource,
    /// The sites.
    pub growth: Growth,
}

/// Follows a session and keeps, for each probe and each of its sources, the profile that growth is counted from: the first
/// one since the baseline, which for a probe that attached later is its own first, or since the source's epoch began.
#[derive(Debug, Default)]
pub struct GrowthTracker {
    baseline: Option<u64>,
    /// By probe; one per source.
    profiles: HashMap<String, Vec<Arc<Profile>>>,
}

impl GrowthTracker {
    /// Takes the next snapshot and gives the growth of each profile in it.
    pub fn push(&mut self, snapshot: &Snapshot) -> Vec<ProfileGrowth> {
        if self.baseline != Some(snapshot.baseline) {
            self.baseline = Some(snapshot.baseline);
            self.profiles.clear();
        }
        let mut growths = Vec::new();
        for reading in snapshot.readings.iter().filter(|reading| !reading.profiles.is_empty()) {
            let bases = self.profiles.entry(reading.probe.to_string()).or_default();
            for now in &reading.profiles {
                let source = now.source();
                let then = match bases.iter_mut().find(|base| base.source().name == source.name) {
                    Some(base) if base.source().epoch == source.epoch => Arc::clone(base),
                    Some(base) => {
                        base.clone_from(now);
                        Arc::clone(now)
                    }
                    None => {
                        bases.push(Arc::clone(now));
                        Arc::clone(now)
                    }
                };
                growths.push(ProfileGrowth {
                    probe: reading.probe.to_string(),
                    source: source.clone(),
                    growth: Growth::between(&then, now),
                });
            }
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
                ProfileSource::exact("test"),
                text.split_whitespace()
                    .map(|word| {
                        let (name, bytes) = word.split_once(':').unwrap();
                        let live = Amount { bytes: bytes.parse().unwrap(), blocks: 1 };
                        SiteStat::exact(Arc::new(Site::class(name)), live)
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

    /// Each word is a snapshot: `source/epoch:bytes` of its profiles, `+`-joined. The answer is the growth at the last one.
    fn check_sources(words: &str, expected: &str) {
        let mut tracker = GrowthTracker::default();
        let mut found = Vec::new();
        for (number, word) in words.split_whitespace().enumerate() {
            let profiles = word.split('+').map(|part| {
                let (source, bytes) = part.split_once(':').unwrap();
                let (name, epoch) = source.split_once('/').unwrap();
                let source = ProfileSource::exact(name.to_owned()).in_epoch(epoch.parse().unwrap());
                let live = Amount { bytes: bytes.parse().unwrap(), blocks: 1 };
                Arc::new(Profile::new(source, vec![SiteStat::exact(Arc::new(Site::class("a")), live)]))
            });
            let mut snapshot = crate::model::testing::snapshot_of(number as u64, Vec::new());
            snapshot.readings[0].profiles = profiles.collect();
            found = tracker.push(&snapshot);
        }
        let words: Vec<String> = found
            .iter()
            .map(|found| {
                let bytes: i64 = found.growth.sites.iter().map(|site| site.bytes).sum();
                format!("{}/{}:{bytes:+}", found.source.name, found.source.epoch)
            })
            .collect();
        assert_eq!(words.join(" "), expected);
    }

    #[test]
    fn each_source_grows_by_itself_and_anew_with_its_epoch() {
        check_sources("s/0:10+e/0:500 s/0:12+e/0:507", "s/0:+2 e/0:+7");
        check_sources("s/0:10 s/0:12+e/0:500 s/0:13", "s/0:+3");
        check_sources("s/0:10+e/0:500 s/0:12+e/1:3 s/0:13+e/1:5", "s/0:+3 e/1:+2");
        check_sources("s/1:10 s/0:12", "s/0:+0");
    }

    #[test]
    fn growth_of_survivors_is_told_where_both_profiles_tell_it() {
        let profile = |bytes: Option<(u64, Option<u64>)>| {
            let stat = bytes.map(|(bytes, survived)| SiteStat {
                survived: survived.map(|bytes| Amount { bytes, blocks: 1 }),
                ..SiteStat::exact(Arc::new(Site::class("a")), Amount { bytes, blocks: 1 })
            });
            Profile::new(ProfileSource::exact("s"), stat.into_iter().collect())
        };
        let cases = [
            (Some((9, Some(2))), Some((20, Some(5))), (Some(5), Some(3))),
            (None, Some((20, Some(5))), (Some(5), Some(5))),
            (Some((9, Some(2))), None, (Some(0), Some(-2))),
            (Some((9, None)), Some((20, Some(5))), (Some(5), None)),
            (None, Some((20, None)), (None, None)),
        ];
        for (then, now, expected) in cases {
            let growth = Growth::between(&profile(then), &profile(now));
            let site = &growth.sites[0];
            assert_eq!((site.survived.map(|survived| survived.bytes), site.survived_bytes), expected);
        }
    }

    #[test]
    fn the_error_of_a_difference_has_both_errors_in_it() {
        let profile = |bytes, standard_error_bytes| {
            let live = Amount { bytes, blocks: 1 };
            let stat = SiteStat { standard_error_bytes, ..SiteStat::exact(Arc::new(Site::class("a")), live) };
            Profile::new(ProfileSource::sampled("s", 64), vec![stat])
        };
        let growth = Growth::between(&profile(100, 30), &profile(200, 40));
        assert_eq!((growth.sites[0].bytes, growth.sites[0].standard_error_bytes), (100, 50));
    }
}
