//! The sites of one source's profiles of one probe over time.
//!
//! Bounded: at most 2,000 sites are followed, those that have grown most since the baseline, with at most 64 points each.
//! A site is followed from its first growth on, and before that it had not grown, so its series is whole; only when more
//! than 2,000 sites have grown, one that comes back into the list counts as not having grown before. The same goes for
//! sites that have held no more than at the baseline for a while, where more than 400 are followed: a program that
//! generates its code has new ones all the time, and none of them comes back.

use std::collections::HashMap;
use std::sync::Arc;

use super::series::Timeline;
use super::slope::Point;
use crate::growth::Growth;
use crate::model::{Profile, ProfileSource, Site, SiteId};

const MAX_SITES: usize = 2000;
const MAX_POINTS: usize = 64;
/// With more sites, those that hold nothing are followed no longer than `QUIET_READINGS`: ten times what is judged.
const MANY_SITES: usize = 400;
/// A site that comes and goes (a cache that is emptied) is back by then.
const QUIET_READINGS: u32 = 8;
/// What a site takes that is followed: its entry in the map at two thirds of its load, its points, and a call path that
/// nobody else has any more.
pub(super) const TRACK_BYTES: usize = 100 + MAX_POINTS * size_of::<f64>() + 300;

/// The sites of one source of one probe, within one epoch.
#[derive(Debug)]
pub(super) struct SiteTracks {
    /// Growth is counted from here. Shared with whoever else keeps the baseline.
    base: Arc<Profile>,
    timeline: Timeline,
    /// Growth since the base at each point of the timeline.
    sites: HashMap<SiteId, Track>,
}

#[derive(Debug)]
struct Track {
    site: Arc<Site>,
    growth: Vec<f64>,
    /// Growth at the newest reading, bytes.
    newest: f64,
    /// Standard error of the newest growth, bytes; 0: counted.
    error: f64,
    /// Readings in a row at which it held no more than at the base.
    quiet: u32,
}

/// A site's growth since the base at each point.
#[derive(Debug)]
pub(super) struct SiteSeries {
    pub(super) site: Arc<Site>,
    pub(super) points: Vec<Point>,
    /// Standard error of the newest growth, bytes; 0: counted.
    pub(super) error: f64,
}

impl Track {
    fn gain(&self) -> f64 {
        self.newest - self.growth.first().copied().unwrap_or(0.0)
    }
}

impl SiteTracks {
    pub(super) fn new(base: Arc<Profile>) -> Self {
        Self { base, timeline: Timeline::new(MAX_POINTS), sites: HashMap::new() }
    }

    /// Where all of its profiles come from.
    pub(super) fn source(&self) -> &ProfileSource {
        self.base.source()
    }

    /// Takes the profile of the next reading.
    pub(super) fn push(&mut self, seconds: f64, profile: &Profile) {
        let edit = self.timeline.push(seconds);
        let (points, part) = (self.timeline.seconds().len(), self.timeline.newest_part());
        // A site that is not in the list holds as much as at the base.
        self.sites.values_mut().for_each(|track| track.newest = 0.0);
        let growth = Growth::between(&self.base, profile);
        let mut fresh = Vec::new();
        for (rank, change) in growth.sites.iter().enumerate() {
            let id = change.site.id();
            if let Some(track) = self.sites.get_mut(&id) {
                track.newest = change.bytes as f64;
                track.error = change.standard_error_bytes as f64;
            } else if rank < MAX_SITES && change.bytes > 0 {
                let (newest, error) = (change.bytes as f64, change.standard_error_bytes as f64);
                fresh.push((
                    id,
                    Track { site: Arc::clone(&change.site), growth: Vec::new(), newest, error, quiet: 0 },
                ));
            }
        }
        for track in self.sites.values_mut() {
            edit.apply(&mut track.growth, track.newest);
            track.quiet = if track.newest > 0.0 { 0 } else { track.quiet.saturating_add(1) };
        }
        for (id, mut track) in fresh {
            track.growth = vec![0.0; points - 1];
            track.growth.push(track.newest * part);
            self.sites.insert(id, track);
        }
        if self.sites.len() > MANY_SITES {
            self.sites.retain(|_, track| track.quiet < QUIET_READINGS);
        }
        self.keep_the_most_grown(MAX_SITES);
    }

    /// How many sites are followed.
    pub(super) fn followed(&self) -> usize {
        self.sites.len()
    }

    /// Follows the others no longer.
    pub(super) fn keep_the_most_grown(&mut self, most: usize) {
        if self.sites.len() <= most {
            return;
        }
        if most == 0 {
            self.sites.clear();
            return;
        }
        let mut grown: Vec<f64> = self.sites.values().map(|track| track.newest).collect();
        let (_, least, _) = grown.select_nth_unstable_by(most - 1, |a, b| b.total_cmp(a));
        let least = *least;
        self.sites.retain(|_, track| track.newest >= least);
        // Equal ones at the end of the list: which of them stay must not depend on the map's order.
        if self.sites.len() > most {
            let mut equal: Vec<SiteId> =
                self.sites.iter().filter(|(_, track)| track.newest == least).map(|(id, _)| *id).collect();
            equal.sort_unstable();
            for id in equal.iter().rev().take(self.sites.len() - most) {
                self.sites.remove(id);
            }
        }
    }

    /// The `count` sites that gained most since the first point, with their series.
    pub(super) fn most_grown(&self, count: usize) -> Vec<SiteSeries> {
        let mut order: Vec<(f64, SiteId, &Track)> = self
            .sites
            .iter()
            .map(|(id, track)| (track.gain(), *id, track))
            .filter(|(gain, ..)| *gain > 0.0)
            .collect();
        order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let seconds = self.timeline.seconds();
        order
            .into_iter()
            .take(count)
            .map(|(.., track)| SiteSeries {
                site: Arc::clone(&track.site),
                points: seconds.iter().copied().zip(track.growth.iter().copied()).collect(),
                error: track.error,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Amount, SiteStat};

    fn profile(sites: impl IntoIterator<Item = (String, u64)>) -> Profile {
        let stat = |(name, bytes): (String, u64)| {
            SiteStat::exact(Arc::new(Site::class(name)), Amount { bytes, blocks: 1 })
        };
        Profile::new(ProfileSource::exact("test"), sites.into_iter().map(stat).collect())
    }

    /// Each word is a reading of site `a`, in bytes; the first is the base. The answer is its series.
    fn check(words: &str, expected: &[f64]) {
        let values: Vec<u64> = words.split_whitespace().map(|word| word.parse().unwrap()).collect();
        let of = |bytes: u64| profile((bytes > 0).then(|| ("a".to_owned(), bytes)));
        let mut tracks = SiteTracks::new(Arc::new(of(values[0])));
        for (index, bytes) in values.iter().enumerate().skip(1) {
            tracks.push(index as f64, &of(*bytes));
        }
        let found = tracks.most_grown(1);
        let values: Vec<f64> =
            found.first().map_or(Vec::new(), |found| found.points.iter().map(|p| p.1).collect());
        assert_eq!(values, expected, "{words}");
    }

    #[test]
    fn before_it_was_seen_a_site_held_nothing() {
        check("0 0 0 5 7", &[0.0, 0.0, 5.0, 7.0]);
    }

    #[test]
    fn growth_is_counted_from_the_base_and_a_gone_site_is_back_below_it() {
        check("100 100 130 0 160", &[0.0, 30.0, -100.0, 60.0]);
    }

    #[test]
    fn a_site_that_only_shrank_is_not_followed() {
        check("100 90 80", &[]);
    }

    #[test]
    fn a_million_sites_that_hold_something_once_are_not_followed_for_ever() {
        let mut tracks = SiteTracks::new(Arc::new(profile([])));
        let mut most = 0;
        for reading in 1..=10_000_u64 {
            let fresh = (0..100).map(|site| (format!("{reading} {site}"), 1_000));
            let leak = [("leak".to_owned(), 100 * reading)];
            tracks.push(reading as f64, &profile(fresh.chain(leak)));
            most = most.max(tracks.sites.len());
        }
        assert!(most <= 1 + 100 * (1 + QUIET_READINGS as usize), "{most}");
        let SiteSeries { site, points, .. } = tracks.most_grown(1).remove(0);
        assert_eq!(site.holder(), Site::class("leak").holder());
        // Points are means of some hundred readings each, and lie on the line all the same.
        assert!(points.iter().all(|(seconds, bytes)| (bytes - 100.0 * seconds).abs() < 1.0));
    }

    #[test]
    fn below_so_many_sites_one_that_comes_back_after_long_keeps_its_series() {
        let mut tracks = SiteTracks::new(Arc::new(profile([])));
        for reading in 1..=40_u64 {
            let bytes = if reading == 1 || reading == 40 { 700 } else { 0 };
            tracks.push(reading as f64, &profile((bytes > 0).then(|| ("a".to_owned(), bytes))));
        }
        let points = tracks.most_grown(1).first().map_or(0, |found| found.points.len());
        assert_eq!((tracks.followed(), points), (1, 0));
        let first = tracks.sites.values().next().map(|track| track.growth[0]);
        assert_eq!(first, Some(700.0));
    }

    #[test]
    fn of_too_many_sites_the_most_grown_are_kept_within_bounds() {
        let mut tracks = SiteTracks::new(Arc::new(profile([])));
        for reading in 1..=70_u64 {
            let sites = (0..2100_u64).map(|site| (format!("{site}"), site * reading));
            tracks.push(reading as f64, &profile(sites));
            assert!(tracks.sites.len() <= MAX_SITES);
        }
        let SiteSeries { site, points, .. } = tracks.most_grown(1).remove(0);
        assert_eq!(site.holder(), Site::class("2099").holder());
        assert!(points.len() <= MAX_POINTS + 1);
        assert!(points.iter().all(|(seconds, bytes)| *bytes == seconds * 2099.0));
    }
}
