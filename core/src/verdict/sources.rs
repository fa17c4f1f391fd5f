//! Which profiles a layer's sites are looked for in.
//! Never decides whether a site leaks.
//!
//! Every source of every probe is followed by itself, because its numbers cannot be compared with another's. Of several
//! sources of one probe, only one is told of, the one whose leaking sites explain most: the others see the same memory.
//! Types are told of only where no source has call paths: they say what leaks, not where.
//!
//! Bounded by the sources that a probe has at one time: one that stays away for long while another is read is forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::sites::SiteTracks;
use crate::model::{Layer, Reading};

/// After so many readings of another source, one that was not read is forgotten: a window that was closed.
const PATIENCE: u32 = 32;

/// The sites of all probes.
#[derive(Debug, Default)]
pub(super) struct Sources {
    probes: BTreeMap<String, ProbeSources>,
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
