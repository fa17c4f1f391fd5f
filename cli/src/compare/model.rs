//! Two reports beside each other, as data: differences of rates with their intervals, by layer and by call path.
//! Pure: never a file, never text.

use std::collections::BTreeMap;
use std::sync::Arc;

use leakline_core::{Fingerprint, Kind, Layer, Rate, Site, Subject, Verdict};

use super::MAX_SITES;
use crate::gate;
use crate::report::Report;

/// Half of a 95 % interval, in standard errors.
const STANDARD_ERRORS: f64 = 1.96;

/// What became of a layer or a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// It leaked and does not any more, and surely grows slower.
    Fixed,
    /// It surely grows slower.
    Better,
    /// It surely grows faster, and leaks now, which it did not.
    NewLeak,
    /// It surely grows faster.
    Worse,
    /// The difference may be chance.
    Same,
    /// Of one of the two there is not enough data.
    CannotTell,
}

/// Rates before and after.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Change {
    pub(super) before: Option<Rate>,
    pub(super) after: Option<Rate>,
    /// After less before.
    pub(super) difference: Option<Rate>,
    pub(super) word: Word,
}

/// One layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LayerChange {
    pub(super) layer: Layer,
    /// Whether it was called leaking, before and after.
    pub(super) leaked: (bool, bool),
    pub(super) change: Change,
}

/// One call path or class, in one source of a layer's profiles.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SiteChange {
    pub(super) layer: Layer,
    pub(super) source: String,
    /// As it is after the change, or was before where it is gone.
    pub(super) site: Arc<Site>,
    pub(super) change: Change,
}

/// Everything that is shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Comparison {
    pub(super) layers: Vec<LayerChange>,
    /// The greatest difference first, whatever its sign.
    pub(super) sites: Vec<SiteChange>,
}

impl Comparison {
    /// `after` beside `before`.
    pub(super) fn of(before: &Report, after: &Report) -> Self {
        let layers = [Layer::Python, Layer::Jvm, Layer::Native, Layer::Process];
        Self {
            layers: layers.into_iter().filter_map(|layer| layer_change(layer, before, after)).collect(),
            sites: site_changes(before, after),
        }
    }

    /// 0, [`gate::LEAKS`] when a layer surely grows faster, [`gate::CANNOT_TELL`] when nothing could be compared.
    pub(super) fn status(&self) -> u8 {
        let mut words = self.layers.iter().map(|layer| layer.change.word);
        if words.clone().any(|word| matches!(word, Word::Worse | Word::NewLeak)) {
            gate::LEAKS
        } else if words.all(|word| word == Word::CannotTell) {
            gate::CANNOT_TELL
        } else {
            0
        }
    }
}

fn layer_change(layer: Layer, before: &Report, after: &Report) -> Option<LayerChange> {
    let verdict = |report: &Report| {
        report.verdicts.iter().find(|verdict| verdict.subject == Subject::Layer(layer)).cloned()
    };
    let (before, after) = (verdict(before), verdict(after));
    if before.is_none() && after.is_none() {
        return None;
    }
    let rate = |verdict: &Option<Verdict>| {
        verdict.as_ref().filter(|verdict| verdict.kind != Kind::NotEnoughData)?.rate
    };
    let leaked = |verdict: &Option<Verdict>| verdict.as_ref().is_some_and(gate::leaks);
    let leaked = (leaked(&before), leaked(&after));
    Some(LayerChange { layer, leaked, change: change(rate(&before), rate(&after), leaked) })
}

pub(super) fn change(before: Option<Rate>, after: Option<Rate>, leaked: (bool, bool)) -> Change {
    let difference = before.zip(after).map(|(before, after)| difference(before, after));
    let word = match difference {
        None => Word::CannotTell,
        Some(rate) if rate.high < 0.0 && leaked == (true, false) => Word::Fixed,
        Some(rate) if rate.high < 0.0 => Word::Better,
        // A rate that is only less negative than it was fills no memory.
        Some(rate) if rate.low > 0.0 && leaked == (false, true) => Word::NewLeak,
        Some(rate) if rate.low > 0.0 && leaked.1 => Word::Worse,
        Some(_) => Word::Same,
    };
    Change { before, after, difference, word }
}

/// Two estimates that know nothing of each other: the distances to the ends of their intervals add up as squares, each
/// side by itself, for the intervals need not be symmetric.
fn difference(before: Rate, after: Rate) -> Rate {
    let estimate = after.bytes_per_second - before.bytes_per_second;
    let down = (after.bytes_per_second - after.low).hypot(before.high - before.bytes_per_second);
    let up = (after.high - after.bytes_per_second).hypot(before.bytes_per_second - before.low);
    Rate { bytes_per_second: estimate, low: estimate - down, high: estimate + up }
}

/// Growth of all sites with one fingerprint.
#[derive(Debug, Clone)]
struct Grown {
    site: Arc<Site>,
    bytes: f64,
    variance: f64,
    seconds: f64,
}

impl Grown {
    fn rate(&self) -> Rate {
        let half = STANDARD_ERRORS * self.variance.sqrt();
        let per_second = |bytes: f64| bytes / self.seconds;
        Rate {
            bytes_per_second: per_second(self.bytes),
            low: per_second(self.bytes - half),
            high: per_second(self.bytes + half),
        }
    }
}

type Sites = BTreeMap<Fingerprint, Grown>;

/// By layer and name of the source, which must be the same for rates to be compared.
fn by_source(report: &Report) -> BTreeMap<(Layer, String), Sites> {
    let mut all: BTreeMap<_, Sites> = BTreeMap::new();
    for growth in report.growths.iter().filter(|growth| !growth.source.is_types()) {
        let second = |number| report.rows.iter().find(|row| row.number == number).map(|row| row.seconds());
        let Some((from, to)) = second(growth.from).zip(second(growth.to)).filter(|(from, to)| from < to)
        else {
            continue;
        };
        let sites = all.entry((growth.layer, growth.source.name.to_string())).or_default();
        for grown in growth.growth.sites.iter().take(MAX_SITES) {
            let sum = sites.entry(grown.site.fingerprint()).or_insert_with(|| Grown {
                site: Arc::clone(&grown.site),
                bytes: 0.0,
                variance: 0.0,
                seconds: to - from,
            });
            sum.bytes += grown.bytes as f64;
            sum.variance += (grown.standard_error_bytes as f64).powi(2);
        }
    }
    all
}

/// Only sources that both have: a site that nobody looked for is not gone.
fn site_changes(before: &Report, after: &Report) -> Vec<SiteChange> {
    let (mut before, after) = (by_source(before), by_source(after));
    let mut changes = Vec::new();
    for ((layer, source), after) in after {
        let Some(mut before) = before.remove(&(layer, source.clone())) else { continue };
        let mut add = |before: Option<Grown>, after: Option<Grown>| {
            let Some(site) = after.as_ref().or(before.as_ref()).map(|grown| Arc::clone(&grown.site)) else {
                return;
            };
            // A site that is not in the list did not change.
            let rate = |grown: Option<Grown>| {
                let none = Rate { bytes_per_second: 0.0, low: 0.0, high: 0.0 };
                grown.map_or(none, |grown| grown.rate())
            };
            let (before, after) = (rate(before), rate(after));
            let grows = |rate: Rate| rate.low > 0.0;
            let change = change(Some(before), Some(after), (grows(before), grows(after)));
            changes.push(SiteChange { layer, source: source.clone(), site, change });
        };
        for (fingerprint, grown) in after {
            add(before.remove(&fingerprint), Some(grown));
        }
        before.into_values().for_each(|grown| add(Some(grown), None));
    }
    let size = |change: &SiteChange| change.change.difference.map_or(0.0, |rate| rate.bytes_per_second.abs());
    changes.sort_by(|one, other| {
        size(other).total_cmp(&size(one)).then_with(|| one.site.id().cmp(&other.site.id()))
    });
    changes
}
