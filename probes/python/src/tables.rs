//! The agent's copy of the interned texts, frames and call paths, out of which profiles are made.
//! What comes in is checked: an index that points nowhere is an error, never a panic.

use std::sync::Arc;

use leakline_core::{Amount, Frame, ProbeError, Profile, ProfileSource, Site, SiteStat};

use crate::wire::{Additions, Known, SiteNumbers};

/// Texts, frames and sites of one epoch, by index.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    epoch: u64,
    texts: Vec<Arc<str>>,
    frames: Vec<Arc<Frame>>,
    sites: Vec<Arc<Site>>,
    /// Of each site, how many identities are smaller.
    ranks: Vec<u32>,
    /// By rank: where the site's numbers are, plus one; for the profile that is being made.
    places: Vec<u32>,
}

impl Tables {
    /// What is here already.
    pub(crate) fn known(&self) -> Known {
        Known {
            epoch: self.epoch,
            texts: self.texts.len() as u32,
            frames: self.frames.len() as u32,
            sites: self.sites.len() as u32,
        }
    }

    /// Takes in what was added. After an error the tables are empty, and the next profile brings everything.
    pub(crate) fn extend(&mut self, additions: &Additions) -> Result<(), ProbeError> {
        if additions.after != self.known() {
            *self = Self { epoch: additions.after.epoch, ..Self::default() };
        }
        let done = if additions.after == self.known() { self.add(additions) } else { None };
        if done.is_none() {
            *self = Self::default();
            return Err(ProbeError::failed("reading the profile", "its tables do not fit together"));
        }
        Ok(())
    }

    fn add(&mut self, additions: &Additions) -> Option<()> {
        self.texts.extend(additions.texts.iter().map(|text| Arc::from(text.as_str())));
        for (function, file, line) in &additions.frames {
            let function = Arc::clone(self.texts.get(*function as usize)?);
            let file = Arc::clone(self.texts.get(*file as usize)?);
            self.frames.push(Arc::new(Frame::new(function, file, *line)));
        }
        for path in &additions.sites {
            let frames: Option<Vec<Arc<Frame>>> =
                path.frames.iter().map(|frame| self.frames.get(*frame as usize).cloned()).collect();
            self.sites.push(Arc::new(Site::call_path(frames?, path.truncated)));
        }
        Some(())
    }

    /// The profile of `stats`: site, bytes, blocks.
    pub(crate) fn profile(&self, stats: &[(u32, u64, u64)]) -> Result<Profile, ProbeError> {
        let stats: Option<Vec<SiteStat>> = stats
            .iter()
            .map(|(site, bytes, blocks)| {
                Some(SiteStat::exact(self.site(*site)?, Amount { bytes: *bytes, blocks: *blocks }))
            })
            .collect();
        let source = ProfileSource::exact(ProfileSource::TRACEMALLOC);
        stats.map(|stats| Profile::new(source, stats)).ok_or_else(Self::does_not_fit)
    }

    /// The profile of the hook's numbers, in which each site comes once.
    pub(crate) fn sites(
        &mut self,
        source: ProfileSource,
        sites: &[SiteNumbers],
    ) -> Result<Profile, ProbeError> {
        self.rank();
        self.places.clear();
        self.places.resize(self.sites.len(), 0);
        for (place, numbers) in sites.iter().enumerate() {
            let rank = self.ranks.get(numbers.site as usize).copied().unwrap_or(u32::MAX);
            match self.places.get_mut(rank as usize) {
                Some(free) if *free == 0 => *free = place as u32 + 1,
                _ => return Err(Self::does_not_fit()),
            }
        }
        let mut order = vec![0_u32; sites.len()];
        let taken = self.places.iter().filter(|place| **place > 0);
        for (position, place) in taken.enumerate() {
            if let Some(order) = order.get_mut(*place as usize - 1) {
                *order = position as u32;
            }
        }
        // The numbers come in the order in which the sites were made: so the memory is gone through as it lies.
        let mut stats: Vec<Option<SiteStat>> = Vec::new();
        stats.resize_with(sites.len(), || None);
        for (numbers, position) in sites.iter().zip(order) {
            let stat = SiteStat {
                site: self.site(numbers.site).ok_or_else(Self::does_not_fit)?,
                live: Amount { bytes: numbers.bytes, blocks: numbers.blocks },
                standard_error_bytes: numbers.error,
                allocated: Some(Amount { bytes: numbers.allocated_bytes, blocks: numbers.allocated_blocks }),
                survived: None,
            };
            if let Some(free) = stats.get_mut(position as usize) {
                *free = Some(stat);
            }
        }
        Ok(Profile::new(source, stats.into_iter().map_while(std::convert::identity).collect()))
    }

    /// Brings the ranks up to date: profiles are sorted by identity, and what comes in order need not be sorted each time.
    fn rank(&mut self) {
        if self.ranks.len() != self.sites.len() {
            let mut order: Vec<u32> = (0..self.sites.len() as u32).collect();
            order.sort_by_cached_key(|index| self.sites.get(*index as usize).map(|site| site.id()));
            self.ranks = vec![0; order.len()];
            for (rank, index) in order.into_iter().enumerate() {
                if let Some(place) = self.ranks.get_mut(index as usize) {
                    *place = rank as u32;
                }
            }
        }
    }

    fn site(&self, index: u32) -> Option<Arc<Site>> {
        self.sites.get(index as usize).cloned()
    }

    fn does_not_fit() -> ProbeError {
        ProbeError::failed("reading the profile", "it names a site that is not in its tables, or twice")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::PathAddition;

    fn additions(after: Known, texts: &[&str], frames: &[(u32, u32, u32)], sites: &[&[u32]]) -> Additions {
        Additions {
            after,
            texts: texts.iter().map(ToString::to_string).collect(),
            frames: frames.to_vec(),
            sites: sites
                .iter()
                .map(|site| PathAddition { frames: site.to_vec(), truncated: false })
                .collect(),
        }
    }

    const BEGIN: Known = Known { epoch: 1, texts: 0, frames: 0, sites: 0 };

    #[test]
    fn what_was_added_later_builds_on_what_was_there() {
        let mut tables = Tables::default();
        tables.extend(&additions(BEGIN, &["f", "a.py"], &[(0, 1, 7)], &[&[0]])).unwrap();
        tables.extend(&additions(tables.known(), &["g", "b.py"], &[(2, 3, 8)], &[&[1, 0]])).unwrap();
        let profile = tables.profile(&[(1, 100, 2), (0, 10, 1)]).unwrap();
        let mut found: Vec<String> = profile
            .sites()
            .iter()
            .map(|stat| format!("{} {}", leakline_core::text::site(&stat.site, &[], 5), stat.live.bytes))
            .collect();
        found.sort();
        assert_eq!(found, ["a.py:7 f 10", "b.py:8 g < a.py:7 f 100"]);
    }

    #[test]
    fn numbers_come_in_any_order_and_once_each() {
        let mut tables = Tables::default();
        let texts = ["f", "a.py", "b.py", "c.py"];
        let frames = [(0, 1, 1), (0, 2, 2), (0, 3, 3)];
        tables.extend(&additions(BEGIN, &texts, &frames, &[&[0], &[1], &[2]])).unwrap();
        let mut check = |sites: &[u32], expected: &[(&str, u64)]| {
            let numbers = |site: &u32| SiteNumbers {
                site: *site,
                bytes: 10 + u64::from(*site),
                ..SiteNumbers::default()
            };
            let sites: Vec<SiteNumbers> = sites.iter().map(numbers).collect();
            let profile = tables.sites(ProfileSource::exact(ProfileSource::EXACT), &sites).unwrap();
            assert!(profile.sites().is_sorted_by_key(|stat| stat.site.id()));
            let mut found: Vec<(&str, u64)> =
                profile.sites().iter().map(|stat| (&*stat.site.frames()[0].file, stat.live.bytes)).collect();
            found.sort_unstable();
            assert_eq!(found, expected);
        };
        check(&[0, 1, 2], &[("a.py", 10), ("b.py", 11), ("c.py", 12)]);
        check(&[2, 0], &[("a.py", 10), ("c.py", 12)]);
        check(&[], &[]);
        for wrong in [[1, 1], [0, 3]] {
            let sites = wrong.map(|site| SiteNumbers { site, ..SiteNumbers::default() });
            tables.sites(ProfileSource::exact(ProfileSource::EXACT), &sites).unwrap_err();
        }
    }

    #[test]
    fn another_epoch_begins_anew() {
        let mut tables = Tables::default();
        tables.extend(&additions(BEGIN, &["f", "a.py"], &[(0, 1, 7)], &[&[0]])).unwrap();
        tables.extend(&additions(Known { epoch: 2, ..BEGIN }, &["b.py"], &[], &[])).unwrap();
        assert_eq!(tables.known(), Known { epoch: 2, texts: 1, frames: 0, sites: 0 });
    }

    #[test]
    fn what_does_not_fit_is_an_error_and_leaves_nothing() {
        let wrong = [
            additions(Known { texts: 3, ..BEGIN }, &[], &[], &[]),
            additions(BEGIN, &[], &[(0, 0, 1)], &[]),
            additions(BEGIN, &["a.py"], &[(0, 0, 1)], &[&[1]]),
        ];
        for additions in wrong {
            let mut tables = Tables::default();
            tables.extend(&additions).unwrap_err();
            assert_eq!(tables.known(), Known::default());
            tables.profile(&[(0, 1, 1)]).unwrap_err();
        }
    }
}
