//! Decides when a leak is worth a closer look than samples give.
//! Pure: told of each snapshot and what follows from it; never opens a window itself.
//!
//! A window is asked for when a layer leaks and its samples are too coarse to say where: the sites that are named explain
//! less than half of the growth, or the most grown of them is known no better than to half of its growth. Once for
//! the time being: again after ten ticks at the earliest, because a window costs what sampling was chosen to spare.
//!
//! Bounded: one sampled profile per probe, shared with whoever else keeps it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Subject, Verdict};
use crate::model::{Cause, Layer, Profile, Reading, Site, Snapshot, together};
use crate::request::{ProbeRequest, Window};

/// Ticks between two windows.
const TICKS_BETWEEN: u32 = 10;
/// Sites that explain less than this share of their layer's growth do not say where it leaks.
const EXPLAINED: f64 = 0.5;
/// A standard error beyond this share of the growth makes a site a guess.
const COARSE: f64 = 0.5;

/// Follows a session and says when to look closer.
#[derive(Debug)]
pub struct CloserLook {
    window: Window,
    baseline: Option<u64>,
    /// By probe: the sampled profile that growth is counted from.
    sampled: BTreeMap<String, Arc<Profile>>,
    /// Ticks since a window was asked for; `None`: never.
    ticks_since: Option<u32>,
}

impl CloserLook {
    /// Asks for `window` when one is needed.
    pub fn new(window: Window) -> Self {
        Self { window: window.within_bounds(), baseline: None, sampled: BTreeMap::new(), ticks_since: None }
    }

    /// Takes the next snapshot and the verdicts after it.
    pub fn push(&mut self, snapshot: &Snapshot, verdicts: &[Verdict]) -> Option<ProbeRequest> {
        if snapshot.tick.cause == Cause::Tick {
            self.ticks_since = self.ticks_since.map(|ticks| ticks.saturating_add(1));
        }
        if self.baseline.replace(snapshot.baseline) != Some(snapshot.baseline) {
            self.sampled.clear();
        }
        self.follow(snapshot);
        let too_soon = self.ticks_since.is_some_and(|ticks| ticks < TICKS_BETWEEN);
        // A snapshot that was asked for is often a window's own, and the last one needs nothing any more.
        if too_soon || snapshot.tick.cause != Cause::Tick {
            return None;
        }
        let needed = verdicts.iter().any(|verdict| match verdict.subject {
            Subject::Layer(layer) => verdict.kind.leaks() && self.is_too_coarse(layer, snapshot, verdicts),
            Subject::Site(..) => false,
        });
        if !needed {
            return None;
        }
        self.ticks_since = Some(0);
        Some(ProbeRequest::OpenWindow(self.window))
    }

    fn follow(&mut self, snapshot: &Snapshot) {
        for reading in &snapshot.readings {
            let Some(now) = sampled(reading) else { continue };
            match self.sampled.get_mut(reading.probe.as_ref()) {
                Some(then) if then.source().epoch == now.source().epoch => {}
                Some(then) => then.clone_from(now),
                None => {
                    self.sampled.insert(reading.probe.to_string(), Arc::clone(now));
                }
            }
        }
    }

    /// Whether `layer` has sampled sites only, and those do not say where it leaks.
    fn is_too_coarse(&self, layer: Layer, snapshot: &Snapshot, verdicts: &[Verdict]) -> bool {
        let of_layer = || snapshot.readings.iter().filter(|reading| reading.layer == layer);
        let is_sampled = of_layer().any(|reading| sampled(reading).is_some());
        let is_open = of_layer()
            .flat_map(|reading| &reading.profiles)
            .any(|profile| profile.source().mean_sample_bytes.is_none() && !profile.source().is_types());
        if !is_sampled || is_open {
            return false;
        }
        let named: Vec<(&Arc<Site>, f64)> = verdicts
            .iter()
            .filter_map(|verdict| match &verdict.subject {
                Subject::Site(of, site) if *of == layer => Some((site, verdict.share.unwrap_or(0.0))),
                Subject::Site(..) | Subject::Layer(_) => None,
            })
            .collect();
        let explained: f64 = named.iter().map(|(_, share)| share).sum();
        let Some((top, _)) = named.iter().max_by(|one, other| one.1.total_cmp(&other.1)) else { return true };
        explained < EXPLAINED || of_layer().any(|reading| self.is_guess(reading, top))
    }

    /// Whether what `site` grew by since the base is known no better than to half of it.
    fn is_guess(&self, reading: &Reading, site: &Site) -> bool {
        let (Some(now), Some(then)) = (sampled(reading), self.sampled.get(reading.probe.as_ref())) else {
            return false;
        };
        let Some((now_bytes, now_error)) = stat(now, site) else { return false };
        let (then_bytes, then_error) = stat(then, site).unwrap_or_default();
        let growth = now_bytes as f64 - then_bytes as f64;
        together(now_error, then_error) as f64 > COARSE * growth
    }
}

fn sampled(reading: &Reading) -> Option<&Arc<Profile>> {
    reading.profiles.iter().find(|profile| profile.source().mean_sample_bytes.is_some())
}

/// Live bytes of `site` and their standard error.
fn stat(profile: &Profile, site: &Site) -> Option<(u64, u64)> {
    let sites = profile.sites();
    let index = sites.binary_search_by_key(&site.id(), |stat| stat.site.id()).ok()?;
    sites.get(index).map(|stat| (stat.live.bytes, stat.standard_error_bytes))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Amount, ProfileSource, SiteStat, testing::snapshot_of};
    use crate::verdict::{Evidence, Kind};

    const WINDOW: Window = Window {
        source: crate::request::WindowSource::Exact,
        frames: None,
        duration: Duration::from_secs(60),
        max_traces: None,
    };

    /// Each word is a tick: `share/error` of the one named site, which grows by 1000 bytes a tick, with the standard error
    /// of its bytes. `-` is a tick without a leak, `!` before a word one with a window open, `0` no site named. The answer
    /// is the ticks at which a window is asked for.
    fn check(words: &str, expected: &[usize]) {
        let mut rule = CloserLook::new(WINDOW);
        let site = Arc::new(Site::class("leak"));
        let mut found = Vec::new();
        for (number, word) in words.split_whitespace().enumerate() {
            let is_open = word.starts_with('!');
            let word = word.trim_start_matches('!');
            let (share, error) = word.split_once('/').unwrap_or((word, "0"));
            let stat = SiteStat {
                standard_error_bytes: error.parse().unwrap(),
                ..SiteStat::exact(Arc::clone(&site), Amount { bytes: number as u64 * 1000, blocks: 1 })
            };
            let mut profiles =
                vec![Arc::new(Profile::new(ProfileSource::sampled("sampled", 65_536), vec![stat]))];
            if is_open {
                profiles.push(Arc::new(Profile::new(ProfileSource::exact("exact"), Vec::new())));
            }
            let mut snapshot = snapshot_of(number as u64, Vec::new());
            snapshot.readings[0].layer = Layer::Python;
            snapshot.readings[0].profiles = profiles;
            let verdict = |subject, kind, share| Verdict {
                subject,
                gauge: String::new(),
                kind,
                rate: None,
                points: 9,
                share,
                seconds_to_limit: None,
                evidence: Evidence::default(),
            };
            let kind = if share == "-" { Kind::Quiet } else { Kind::SteadyLeak };
            let mut verdicts = vec![verdict(Subject::Layer(Layer::Python), kind, None)];
            if let Ok(share) = share.parse::<f64>()
                && share > 0.0
            {
                let subject = Subject::Site(Layer::Python, Arc::clone(&site));
                verdicts.push(verdict(subject, Kind::SteadyLeak, Some(share)));
            }
            match rule.push(&snapshot, &verdicts) {
                Some(ProbeRequest::OpenWindow(window)) => {
                    assert_eq!(window, WINDOW);
                    found.push(number);
                }
                Some(other) => panic!("{other:?}"),
                None => {}
            }
        }
        assert_eq!(found, expected, "{words}");
    }

    #[test]
    fn a_leak_whose_sites_are_known_well_needs_no_closer_look() {
        check("- - 0.9/100 0.9/100", &[]);
        check("- - - -", &[]);
    }

    #[test]
    fn sites_that_explain_less_than_half_are_looked_at_closer() {
        check("- - 0.4/100 0.4/100", &[2]);
        check("- 0", &[1]);
        // The first snapshot is the baseline and no tick.
        check("0", &[]);
    }

    #[test]
    fn a_site_known_no_better_than_to_half_of_its_growth_is_looked_at_closer() {
        check("- - 0.9/1001", &[2]);
        check("- - 0.9/999", &[]);
    }

    #[test]
    fn no_window_is_asked_for_while_one_is_open_nor_within_ten_ticks() {
        check("- !0 !0 0", &[3]);
        check("- 0 0 0 0 0 0 0 0 0 0 0 0", &[1, 11]);
    }
}
