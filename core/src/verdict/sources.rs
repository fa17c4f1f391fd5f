//! Which profiles a layer's sites are looked for in.
//! Never decides whether a site leaks.
//!
//! Every source of every probe is followed by itself, because its numbers cannot be compared with another's. Of several
//! sources of one probe, only one is told of, the one whose leaking sites explain most: the others see the same memory.
//! Types are told of only where no source has call paths: they say what leaks, not where.
//!
//! Bounded by the sources that a probe has at one time: one that stays away for long while another is read is forgotten.
//! All sites that are followed take no more than so many bytes together: where there are more, the sources with most of
//! them follow their least grown ones no longer.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::sites::{SiteTracks, TRACK_BYTES};
use crate::model::{Layer, Reading};

/// After so many readings of another source, one that was not read is forgotten: a window that was closed.
const PATIENCE: u32 = 32;

/// What the sites that are followed may take where nobody says. Some 1,700 of them: a program with Python, a JVM and native
/// code has ten sources at most, and 40 sites of each are judged.
pub(super) const SITE_BYTES: u64 = 3 << 19;

/// The sites of all probes.
#[derive(Debug)]
pub(super) struct Sources {
    probes: BTreeMap<String, ProbeSources>,
    most: usize,
}

impl Default for Sources {
    fn default() -> Self {
        Self::within(SITE_BYTES)
    }
}

#[derive(Debug)]
struct ProbeSources {
    layer: Layer,
    followed: Vec<Followed>,
}

#[derive(Debug)]
struct Followed {
    tracks: SiteTracks,
    /// Readings in a row that had a profile, but none of this source.
    away: u32,
}

impl Sources {
    /// None yet, and no more than so many bytes of them.
    pub(super) fn within(bytes: u64) -> Self {
        let most = usize::try_from(bytes).unwrap_or(usize::MAX) / TRACK_BYTES;
        Self { probes: BTreeMap::new(), most }
    }

    /// Cuts the sources with most sites down to one size, so that all together are within the bound.
    fn keep_within(&mut self) {
        let followed = |probe: &mut ProbeSources| -> Vec<usize> {
            probe.followed.iter().map(|followed| followed.tracks.followed()).collect()
        };
        let mut counts: Vec<usize> = self.probes.values_mut().flat_map(followed).collect();
        if counts.iter().sum::<usize>() <= self.most {
            return;
        }
        counts.sort_unstable();
        // The small ones have what they have, and the others get equal parts of what is left.
        let mut left = self.most;
        let mut each = 0;
        for (index, count) in counts.iter().enumerate() {
            each = left / (counts.len() - index);
            if *count > each {
                break;
            }
            left -= count;
        }
        for followed in self.probes.values_mut().flat_map(|probe| &mut probe.followed) {
            followed.tracks.keep_the_most_grown(each);
        }
    }

    pub(super) fn clear(&mut self) {
        self.probes.clear();
    }

    /// Takes the profiles of `reading`. A source's first one is what growth is counted from, and with `first_counts` the
    /// first point, too.
    pub(super) fn push(&mut self, seconds: f64, reading: &Reading, first_counts: bool) {
        if reading.profiles.is_empty() {
            return;
        }
        let probe = match self.probes.get_mut(reading.probe.as_ref()) {
            Some(probe) => probe,
            None => self
                .probes
                .entry(reading.probe.to_string())
                .or_insert_with(|| ProbeSources { layer: reading.layer, followed: Vec::new() }),
        };
        for followed in &mut probe.followed {
            followed.away += 1;
        }
        for profile in &reading.profiles {
            let source = profile.source();
            let known =
                probe.followed.iter_mut().find(|followed| followed.tracks.source().name == source.name);
            match known {
                Some(known) if known.tracks.source().epoch == source.epoch => {
                    known.tracks.push(seconds, profile);
                    known.away = 0;
                }
                known => {
                    let mut tracks = SiteTracks::new(Arc::clone(profile));
                    if first_counts {
                        tracks.push(seconds, profile);
                    }
                    let new = Followed { tracks, away: 0 };
                    match known {
                        Some(known) => *known = new,
                        None => probe.followed.push(new),
                    }
                }
            }
        }
        probe.followed.retain(|followed| followed.away < PATIENCE);
        self.keep_within();
    }

    /// Of each probe of `layer`, what `judge` finds in the source in which that sums up to most by `weigh`.
    pub(super) fn best<T>(
        &self,
        layer: Layer,
        judge: impl Fn(&SiteTracks) -> Vec<T>,
        weigh: impl Fn(&T) -> f64,
    ) -> Vec<T> {
        let weight = |found: &[T]| found.iter().map(&weigh).sum::<f64>();
        let of_layer = self.probes.values().filter(|probe| probe.layer == layer);
        of_layer
            .flat_map(|probe| {
                let has_paths = probe.followed.iter().any(|followed| !followed.tracks.source().is_types());
                let candidates =
                    probe.followed.iter().filter(|of| !(has_paths && of.tracks.source().is_types()));
                // The first of equal ones: the order in which sources came does not depend on anything else.
                candidates
                    .map(|followed| judge(&followed.tracks))
                    .fold(Vec::new(), |best, found| if weight(&found) > weight(&best) { found } else { best })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Amount, Profile, ProfileSource, ReadCost, ReadingStatus, Site, SiteStat};

    fn reading(probe: &'static str, sites: u64, bytes: u64) -> Reading {
        let stat = |site: u64| {
            let live = Amount { bytes: bytes * (site + 1), blocks: 1 };
            SiteStat::exact(Arc::new(Site::class(format!("{probe} {site}"))), live)
        };
        let profile = Profile::new(ProfileSource::exact("test"), (0..sites).map(stat).collect());
        Reading {
            probe: probe.into(),
            layer: Layer::Native,
            status: ReadingStatus::Ok,
            taken: None,
            gauges: Vec::new(),
            profiles: vec![Arc::new(profile)],
            holders: Vec::new(),
            cycles: Vec::new(),
            runtime: None,
            notes: Vec::new(),
            cost: ReadCost::default(),
        }
    }

    #[test]
    fn all_sources_together_are_within_the_bound_and_small_ones_keep_what_they_have() {
        let mut sources = Sources::within(100 * TRACK_BYTES as u64);
        let all = [("a", 10), ("b", 60), ("c", 1_000)];
        for seconds in 0..5_u32 {
            for (probe, sites) in all {
                sources.push(f64::from(seconds), &reading(probe, sites, 1 + u64::from(seconds)), false);
            }
            let followed = |probe: &str| sources.probes[probe].followed[0].tracks.followed();
            let expected = if seconds == 0 { [0, 0, 0] } else { [10, 45, 45] };
            assert_eq!(all.map(|(probe, _)| followed(probe)), expected);
        }
        let best = sources.probes["c"].followed[0].tracks.most_grown(1).remove(0);
        assert_eq!(best.site.holder(), Site::class("c 999").holder());
    }
}
