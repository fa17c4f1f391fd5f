//! A role whose processes live shortly, one after the other: what each of them grows by once it has started up. A leak that ends
//! with each process shows in none of them, and in all of them together.
//!
//! Of each process only the second half of its life counts. What grows there at one call path is compared from life to life: a
//! mean that is five standard errors from nothing, in four lives of five and five lives at least.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use leakline_core::{Site, SiteId, text};
use serde_json::{Value, json};

use super::application::Process;
use super::build::Range;
use super::model::{Report, Row};
use super::open;

/// Lives that are compared, at least.
const FEWEST: usize = 5;
/// Snapshots of a life, at least: two of its second half.
const FEWEST_SNAPSHOTS: usize = 4;
/// Standard errors between the mean and nothing.
const SURE: f64 = 5.0;
/// In so many of the lives, at least, a call path must have grown.
const MOST_LIVES: f64 = 0.8;
/// For an interval of 95 %.
const WIDE: f64 = 1.96;

/// What the processes of a role grow by at one call path.
#[derive(Debug)]
pub(crate) struct Leak {
    pub(crate) site: Arc<Site>,
    /// Without what is left out of source paths.
    roots: Vec<String>,
    /// Processes that were compared.
    lives: usize,
    /// Bytes per second, and half the width of its 95 % interval.
    rate: f64,
    half_width: f64,
    /// Bytes of a whole life of mean length, if it grew at that rate all the time.
    each: f64,
}

/// The second half of one life.
struct Half {
    whole_seconds: f64,
    /// Probes whose growth is known.
    measured: BTreeSet<String>,
    /// By probe and call path: bytes per second that it grew by, and their standard error.
    grown: BTreeMap<(String, SiteId), (Arc<Site>, f64, f64)>,
    roots: Vec<String>,
}

impl Leak {
    /// Of `processes`, all of one role; the fastest first.
    pub(crate) fn find(processes: &[&Process]) -> Vec<Self> {
        let halves: Vec<Half> = processes.iter().filter_map(|process| Half::of(process)).collect();
        if halves.len() < FEWEST {
            return Vec::new();
        }
        let keys: BTreeMap<_, _> =
            halves.iter().flat_map(|half| half.grown.iter().map(|(key, (site, ..))| (key, site))).collect();
        let mut found: Vec<Self> =
            keys.into_iter().filter_map(|(key, site)| Self::at(key, site, &halves)).collect();
        found.sort_by(|one, other| other.rate.total_cmp(&one.rate));
        found
    }

    fn at(key: &(String, SiteId), site: &Arc<Site>, halves: &[Half]) -> Option<Self> {
        // A life whose second half was not read says nothing.
        let halves: Vec<&Half> = halves.iter().filter(|half| half.measured.contains(&key.0)).collect();
        if halves.len() < FEWEST {
            return None;
        }
        let count = halves.len() as f64;
        let told = |half: &&Half| half.grown.get(key).map_or((0.0, 0.0), |(_, rate, error)| (*rate, *error));
        let rates: Vec<f64> = halves.iter().map(|half| told(half).0).collect();
        let rate = rates.iter().sum::<f64>() / count;
        let squares: f64 = rates.iter().map(|each| (each - rate).powi(2)).sum();
        let between = (squares / (count - 1.0) / count).sqrt();
        // As of two independent estimates, so the truth is better: half of it is a floor for lives that happen to agree.
        let errors: f64 = halves.iter().map(|half| told(half).1.powi(2)).sum();
        let error = between.max(errors.sqrt() / count / 2.0);
        let grew = rates.iter().filter(|rate| **rate > 0.0).count() as f64;
        if rate < SURE * error || grew < MOST_LIVES * count || rate <= 0.0 {
            return None;
        }
        let life = halves.iter().map(|half| half.whole_seconds).sum::<f64>() / count;
        Some(Self {
            site: Arc::clone(site),
            roots: halves.iter().find(|half| half.grown.contains_key(key))?.roots.clone(),
            lives: halves.len(),
            rate,
            half_width: WIDE * error,
            each: rate * life,
        })
    }

    /// On one line.
    pub(crate) fn words(&self) -> String {
        let minute = |rate: f64| text::signed_bytes(rate * 60.0);
        format!(
            "LEAK  of each of {} processes: {}/min (95 %: {} to {}) to its end, {} in a life, at {}",
            self.lives,
            minute(self.rate),
            minute(self.rate - self.half_width),
            minute(self.rate + self.half_width),
            text::bytes(self.each),
            text::site(&self.site, &self.roots, 6),
        )
    }

    /// Bytes per second.
    pub(crate) fn rate(&self) -> f64 {
        self.rate
    }

    /// The same for programs.
    pub(crate) fn object(&self) -> Value {
        json!({
            "processes": self.lives,
            "bytes_per_second": self.rate,
            "bytes_per_second_low": self.rate - self.half_width,
            "bytes_per_second_high": self.rate + self.half_width,
            "bytes_per_life": self.each,
            "site": super::json::site_object(&self.site, &self.roots),
        })
    }
}

impl Half {
    /// `None`: the life has too few snapshots, or cannot be read again.
    fn of(process: &Process) -> Option<Self> {
        let rows = &process.report.rows;
        let middle = rows.get(rows.len() / 2).filter(|_| rows.len() >= FEWEST_SNAPSHOTS)?;
        let report = open::report(&process.path, Range { from: Some(middle.number), to: None }).ok()?;
        let begun = process.report.session.host.started_boot_nanos as f64 / 1e9;
        let whole_seconds = rows.last()?.seconds() - begun;
        let (mut grown, mut measured) = (BTreeMap::new(), BTreeSet::new());
        for growth in
            report.growths.iter().filter(|growth| !growth.source.is_types() && growth.from != growth.to)
        {
            // The last reading of a probe may be of an earlier snapshot than the last.
            let Some(seconds) = between(&report, growth.from, growth.to) else { continue };
            measured.insert(format!("{} {}", growth.probe, growth.source.name));
            for site in &growth.growth.sites {
                let key = (format!("{} {}", growth.probe, growth.source.name), site.site.id());
                let told = (
                    Arc::clone(&site.site),
                    site.bytes as f64 / seconds,
                    site.standard_error_bytes as f64 / seconds,
                );
                grown.insert(key, told);
            }
        }
        Some(Self { whole_seconds, measured, grown, roots: report.roots })
    }
}

/// Seconds between two snapshots.
fn between(report: &Report, from: u64, to: u64) -> Option<f64> {
    let at = |number: u64| report.rows.iter().find(|row| row.number == number).map(Row::seconds);
    Some(at(to)? - at(from)?).filter(|seconds| *seconds > 0.0)
}

#[cfg(test)]
mod tests {
    use leakline_core::Frame;

    use super::*;

    fn site(name: &str) -> Arc<Site> {
        Arc::new(Site::call_path(vec![Arc::new(Frame::new(name, "/srv/app.py", 4))], false))
    }

    /// Of one life of 30 s: what grew at each call path in its second half, in KiB.
    fn half(grown: &[(&str, f64)]) -> Half {
        let entry = |(name, kib): &(&str, f64)| {
            let site = site(name);
            (("python sampled".to_owned(), site.id()), (site, kib * 1024.0 / 15.0, 4000.0))
        };
        Half {
            whole_seconds: 30.0,
            measured: BTreeSet::from(["python sampled".to_owned()]),
            grown: grown.iter().map(entry).collect(),
            roots: vec!["/srv".to_owned()],
        }
    }

    fn check(halves: &[Half], expected: &str) {
        let keys: BTreeMap<_, _> =
            halves.iter().flat_map(|half| half.grown.iter().map(|(key, (site, ..))| (key, site))).collect();
        let found: Vec<String> = keys
            .into_iter()
            .filter_map(|(key, site)| Leak::at(key, site, halves))
            .map(|leak| leak.words())
            .collect();
        assert_eq!(found.join("\n"), expected);
    }

    #[test]
    fn what_each_life_grows_by_is_a_leak_of_the_role() {
        let lives: Vec<Half> = [250.0, 310.0, 190.0, 256.0, 280.0, 230.0, 270.0, 262.0]
            .map(|kib| half(&[("remember", kib), ("cache", 0.0)]))
            .into();
        check(
            &lives,
            "LEAK  of each of 8 processes: +1.0 MiB/min (95 %: +925.8 KiB to +1.1 MiB) to its end, 512.0 KiB in a life, at \
             app.py:4 remember",
        );
    }

    #[test]
    fn what_comes_and_goes_or_grows_in_one_life_is_none() {
        let comes_and_goes: Vec<Half> =
            [250.0, -310.0, 190.0, -256.0, 280.0, -230.0].map(|kib| half(&[("buffer", kib)])).into();
        check(&comes_and_goes, "");
        let once: Vec<Half> = [0.0, 0.0, 9000.0, 0.0, 0.0, 0.0].map(|kib| half(&[("import_it", kib)])).into();
        check(&once, "");
        let mut some: Vec<Half> = [260.0; 3].map(|kib| half(&[("warm_up", kib)])).into();
        some.extend([half(&[]), half(&[]), half(&[])]);
        check(&some, "");
    }
}
