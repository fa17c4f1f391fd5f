//! Which layer causes which: by what of a leaking layer's growth another layer's code calls for, and by the parts of the
//! ledger that make it up.
//! Pure. Never guesses: what is told is a share of the layer's rate, with an interval from its sites' and its own error,
//! and only where that interval is no wider than half of all.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::parts::PartWatch;
use super::{Rate, Subject, Verdict};
use crate::model::{Frame, Layer};
use crate::text;

/// A smaller share is not worth a line.
const WORTH_TELLING: f64 = 0.1;
/// A share whose interval is wider is not known.
const WIDEST: f64 = 0.5;
/// A part that grows by more than this many times its layer's rate is not the layer's.
const MUCH_MORE: f64 = 1.15;
/// Parts that are told of a layer.
const MOST_PARTS: usize = 2;

/// Parts that a layer's series has beside what it is named after (see `layers`).
const PARTS: [(&str, &[Layer]); 11] = [
    ("jvm metaspace", &[Layer::Jvm]),
    ("jvm direct buffers", &[Layer::Jvm]),
    ("jvm code cache", &[Layer::Native, Layer::Process]),
    ("jvm other", &[Layer::Native, Layer::Process]),
    ("thread stacks", &[Layer::Native, Layer::Process]),
    ("library data", &[Layer::Native, Layer::Process]),
    ("other mappings", &[Layer::Native, Layer::Process]),
    ("shared memory", &[Layer::Native, Layer::Process]),
    ("graphics", &[Layer::Native, Layer::Process]),
    ("malloc metadata", &[Layer::Native, Layer::Process]),
    ("leakline", &[Layer::Native, Layer::Process]),
];

/// What explains a part of a leaking layer's growth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The layer that grows.
    pub layer: Layer,
    /// What explains it.
    pub by: ExplainedBy,
    /// How much of it.
    pub share: Share,
}

/// What explains growth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExplainedBy {
    /// A part of the ledger, by its name.
    Part(String),
    /// Code of another layer's, which the call paths of the leaking sites go on in.
    Callers {
        /// The layer.
        layer: Layer,
        /// Of the lines that called, the one with the greatest part of the growth.
        at: Arc<Frame>,
    },
    /// References of another layer's.
    Held {
        /// The layer that holds.
        by: Layer,
        /// The line where it was given most of them.
        at: Arc<Frame>,
    },
}

/// A share of a layer's rate with its 95 % interval, each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The estimate.
    pub share: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Share {
    /// What `part` is of `whole`, which err apart; `None` where nothing is known of that, or it is next to nothing.
    pub fn of(part: Rate, whole: Rate) -> Option<Self> {
        let share = part.bytes_per_second / whole.bytes_per_second;
        let below = |rate: Rate| (rate.bytes_per_second - rate.low) / rate.bytes_per_second;
        let above = |rate: Rate| (rate.high - rate.bytes_per_second) / rate.bytes_per_second;
        let low = share * (1.0 - below(part).hypot(above(whole)));
        let high = share * (1.0 + above(part).hypot(below(whole)));
        let [share, low, high] = [share, low, high].map(|end| end.clamp(0.0, 1.0));
        // Not with a number that is none, either.
        let is_known = share >= WORTH_TELLING && low > 0.0 && high - low <= WIDEST;
        is_known.then_some(Self { share, low, high })
    }

    /// `94 % of it`, and `(95 %: 90 to 97)` for what follows.
    fn words(self) -> (String, String) {
        let [share, low, high] = [self.share, self.low, self.high].map(|end| end * 100.0);
        (format!("{share:.0} % of it"), format!("(95 %: {low:.0} to {high:.0})"))
    }
}

impl Explanation {
    /// In words that follow the line of the layer; source paths lose the longest of `roots` that they begin with.
    ///
    /// `98 % of it under Python (95 %: 93 to 100), most at leaks.py:168 ctypes_buffer`
    pub fn words(&self, roots: &[String]) -> String {
        let (share, sure) = self.share.words();
        match &self.by {
            ExplainedBy::Part(part) => {
                let own = part.strip_prefix(self.layer.name()).map_or(part.as_str(), str::trim_start);
                format!("{share} {own} {sure}")
            }
            ExplainedBy::Callers { layer, at } => {
                let at = text::frame(at, roots);
                format!("{share} under {} {sure}, most at {at}", runtime(*layer))
            }
            ExplainedBy::Held { by, at } => {
                format!("{} holds {share} {sure}, given at {}", runtime(*by), text::frame(at, roots))
            }
        }
    }
}

fn runtime(layer: Layer) -> &'static str {
    match layer {
        Layer::Python => "Python",
        Layer::Jvm => "Java",
        Layer::Native => "native code",
        Layer::Process => "the system",
    }
}

/// What explains the growth of the layers that leak, by layer in the order of `verdicts`; `parts` has watched the same snapshots.
pub fn explanations(verdicts: &[Verdict], parts: &PartWatch) -> Vec<Explanation> {
    let mut found = Vec::new();
    for verdict in verdicts.iter().filter(|verdict| verdict.kind.leaks()) {
        if let (Subject::Layer(layer), Some(whole)) = (&verdict.subject, verdict.rate) {
            found.extend(parts_of(*layer, verdict, whole, parts));
            found.extend(callers(*layer, whole, verdicts));
        }
    }
    found
}

/// The parts of the ledger that make up a layer's growth, the greatest first.
fn parts_of(layer: Layer, verdict: &Verdict, whole: Rate, parts: &PartWatch) -> Vec<Explanation> {
    let lasting = verdict.evidence.lasting_seconds;
    let own = PARTS.iter().filter(|(_, layers)| layers.contains(&layer)).map(|(part, _)| *part);
    let mut found: Vec<Explanation> = own
        .filter_map(|part| {
            let rate = parts.rate_for(part, lasting, WORTH_TELLING * whole.bytes_per_second)?;
            if rate.low <= 0.0 || rate.low > MUCH_MORE * whole.high {
                return None;
            }
            let share = Share::of(rate, whole)?;
            Some(Explanation { layer, by: ExplainedBy::Part(part.to_owned()), share })
        })
        .collect();
    found.sort_by(|one, other| other.share.share.total_cmp(&one.share.share));
    found.truncate(MOST_PARTS);
    found
}

/// The runtimes that the call paths of a layer's leaking sites go on in.
fn callers(layer: Layer, whole: Rate, verdicts: &[Verdict]) -> Vec<Explanation> {
    let mut under: BTreeMap<Layer, (Rate, BTreeMap<&Arc<Frame>, f64>)> = BTreeMap::new();
    for verdict in verdicts.iter().filter(|verdict| verdict.kind.leaks()) {
        let Subject::Site(of, site) = &verdict.subject else { continue };
        let (Some(rate), Some((runtime, frame))) = (verdict.rate, site.caller_of(layer)) else { continue };
        if *of != layer {
            continue;
        }
        let none = Rate { bytes_per_second: 0.0, low: 0.0, high: 0.0 };
        let (sum, lines) = under.entry(runtime).or_insert((none, BTreeMap::new()));
        *sum = sum.plus(rate);
        *lines.entry(frame).or_default() += rate.bytes_per_second;
    }
    let told = under.into_iter().filter_map(|(runtime, (sum, lines))| {
        let (at, _) = lines.into_iter().max_by(|one, other| one.1.total_cmp(&other.1))?;
        let by = ExplainedBy::Callers { layer: runtime, at: Arc::clone(at) };
        Some(Explanation { layer, by, share: Share::of(sum, whole)? })
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Gauge, NativePlace, Site, names, testing::snapshot_of};
    use crate::verdict::{Evidence, Kind};

    /// Bytes a second, with a tenth of it to either side.
    fn verdict(subject: Subject, bytes_per_second: f64) -> Verdict {
        let (low, high) = (0.9 * bytes_per_second, 1.1 * bytes_per_second);
        Verdict {
            subject,
            gauge: String::new(),
            kind: Kind::SteadyLeak,
            rate: Some(Rate { bytes_per_second, low, high }),
            points: 9,
            share: None,
            seconds_to_limit: None,
            evidence: Evidence::default(),
        }
    }

    fn native() -> Frame {
        Frame::in_object("malloc", "/lib/libc.so.6", NativePlace { build_id: "0a".into(), address: 7 })
    }

    /// A layer that grows by 1000, and its sites: the frame that called it, and by how much.
    fn told(layer: Layer, sites: &[(Frame, f64)]) -> Vec<String> {
        let mut verdicts = vec![verdict(Subject::Layer(layer), 1000.0)];
        for (caller, rate) in sites {
            let own = if layer == Layer::Jvm { Frame::new("A.a", "A.java", 3) } else { native() };
            let site = Site::call_path(vec![Arc::new(own), Arc::new(caller.clone())], false);
            verdicts.push(verdict(Subject::Site(layer, Arc::new(site)), *rate));
        }
        let found = explanations(&verdicts, &PartWatch::default());
        found.iter().map(|found| found.words(&["/app".to_owned()])).collect()
    }

    fn python(line: u32) -> Frame {
        Frame::new("fill", "/app/leaks.py", line)
    }

    #[test]
    fn growth_under_another_runtime_is_told_with_the_line_that_called_most() {
        let sites = [(python(7), 500.0), (python(9), 300.0), (python(7), 100.0), (native(), 100.0)];
        let expected = "90 % of it under Python (95 %: 79 to 100), most at leaks.py:7 fill";
        assert_eq!(told(Layer::Native, &sites), [expected]);
        let java = Frame::new("Codec.open", "Codec.java", 5);
        let expected = [
            "45 % of it under Python (95 %: 39 to 51), most at leaks.py:7 fill",
            "50 % of it under Java (95 %: 43 to 57), most at Codec.java:5 Codec.open",
        ];
        assert_eq!(told(Layer::Native, &[(python(7), 450.0), (java, 500.0)]), expected);
        let expected = "90 % of it under Python (95 %: 77 to 100), most at leaks.py:7 fill";
        assert_eq!(told(Layer::Jvm, &[(python(7), 900.0)]), [expected]);
    }

    #[test]
    fn a_layer_is_not_explained_by_itself_nor_by_next_to_nothing() {
        assert_eq!(told(Layer::Native, &[(native(), 900.0)]), [""; 0]);
        assert_eq!(told(Layer::Native, &[(python(7), 90.0)]), [""; 0]);
        assert_eq!(told(Layer::Python, &[(python(7), 900.0)]), [""; 0]);
    }

    /// A share of 1000 ± 100.
    fn check_share(part: [f64; 3], expected: Option<&str>) {
        let whole = Rate { bytes_per_second: 1000.0, low: 900.0, high: 1100.0 };
        let [low, bytes_per_second, high] = part;
        let share = Share::of(Rate { bytes_per_second, low, high }, whole);
        let words = share.map(|share| format!("{:.2} {:.2} {:.2}", share.low, share.share, share.high));
        assert_eq!(words.as_deref(), expected);
    }

    #[test]
    fn a_share_is_told_where_it_is_known() {
        check_share([500.0, 500.0, 500.0], Some("0.45 0.50 0.55"));
        check_share([400.0, 500.0, 600.0], Some("0.39 0.50 0.61"));
        check_share([1000.0, 1200.0, 1400.0], Some("0.97 1.00 1.00"));
        check_share([100.0, 500.0, 900.0], None);
        check_share([-10.0, 20.0, 40.0], None);
        check_share([f64::NAN; 3], None);
    }

    /// MiB a minute of thread stacks, in a process that grows by 4.
    fn check_part(layer: Layer, stacks: u64, expected: &[&str]) {
        let mut watch = PartWatch::default();
        for minute in 0..9 {
            let bytes = |name: &'static str, mib: u64| Gauge::bytes(name, mib << 20);
            let all = 40 + 20 * minute;
            let gauges = vec![
                bytes(names::RESIDENT, 90 + all),
                bytes(names::ANONYMOUS, all),
                bytes(names::MAP_UNNAMED, 20),
                bytes(names::MAP_ANONYMOUS, all),
                bytes(names::MAP_STACKS, 10 + stacks * minute),
            ];
            watch.push(&snapshot_of(minute, gauges));
        }
        let whole = verdict(Subject::Layer(layer), 4.0 * 1_048_576.0 / 60.0);
        let found = explanations(&[whole], &watch);
        let words: Vec<String> = found.iter().map(|found| found.words(&[])).collect();
        assert_eq!(words, expected, "{stacks}");
    }

    #[test]
    fn a_part_that_makes_up_a_layers_growth_is_named() {
        check_part(Layer::Process, 4, &["100 % of it thread stacks (95 %: 90 to 100)"]);
        check_part(Layer::Process, 1, &["25 % of it thread stacks (95 %: 22 to 28)"]);
        check_part(Layer::Process, 0, &[]);
        // More than the layer's cannot be the layer's.
        check_part(Layer::Process, 9, &[]);
        check_part(Layer::Python, 4, &[]);
    }
}
