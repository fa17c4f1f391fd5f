//! A verdict in one line for people, the same in the log, in the report and at the collector.

use super::{Kind, Rate, Subject, Verdict};
use crate::text::{bytes, signed_bytes, site};

/// Frames of a site that one line shows.
const FRAMES: usize = 4;

/// `verdict` in one line; source paths lose the longest of `roots` that they begin with.
///
/// `LEAK  python   +1.4 MiB/min (95 %: 1.3 MiB to 1.5 MiB)`, and for a site
/// `      96 % of it, +1.3 MiB/min, at RNS/Destination.py:230 < reticulum_wrapper.py:450`
pub fn verdict_line(verdict: &Verdict, roots: &[String]) -> String {
    match &verdict.subject {
        Subject::Layer(layer) => {
            let name = layer.name();
            let (word, said) = match (verdict.kind, verdict.rate) {
                (Kind::Leaking, Some(rate)) => {
                    ("LEAK", format!("{} (95 %: {})", per_minute(&rate), interval(&rate)))
                }
                (Kind::Shrinking, Some(rate)) => ("ok", format!("shrinking, {}", per_minute(&rate))),
                (Kind::Steady, _) => ("ok", "steady".to_owned()),
                (Kind::NotEnoughData, Some(rate)) => {
                    ("?", format!("{}, but nothing was collected yet: it may be garbage", per_minute(&rate)))
                }
                (Kind::NotEnoughData | Kind::Leaking | Kind::Shrinking, None) => {
                    ("?", format!("not enough data: {} of 5 readings", verdict.points.min(4)))
                }
            };
            let what = if name == "process" { ", memory that no layer explains" } else { "" };
            let limit = verdict.seconds_to_limit.map_or(String::new(), |(at, soonest, latest)| {
                format!("; out of memory in {} ({} to {})", time(at), time(soonest), time(latest))
            });
            format!("{word:<5} {name:<8} {said}{what}{limit}")
        }
        Subject::Site(_, place) => {
            let share =
                verdict.share.map_or(String::new(), |share| format!("{:.0} % of it, ", share * 100.0));
            let rate = verdict.rate.map_or(String::new(), |rate| format!("{}, ", per_minute(&rate)));
            format!("      {share}{rate}at {}", site(place, roots, FRAMES))
        }
    }
}

fn per_minute(rate: &Rate) -> String {
    format!("{}/min", signed_bytes(rate.bytes_per_second * 60.0))
}

fn interval(rate: &Rate) -> String {
    format!("{} to {}", bytes(rate.low * 60.0), bytes(rate.high * 60.0))
}

/// `2 h 10 min`, `45 s`; more than a year is told as such.
fn time(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min", whole / 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        86_400..31_536_000 => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
        _ => "over a year".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Layer;

    fn check(kind: Kind, rate: Option<f64>, layer: Layer, to_limit: Option<f64>, expected: &str) {
        let rate = rate.map(|kib| kib * 1024.0 / 60.0);
        let verdict = Verdict {
            subject: Subject::Layer(layer),
            gauge: String::new(),
            kind,
            rate: rate.map(|rate| Rate { bytes_per_second: rate, low: rate * 0.5, high: rate * 2.0 }),
            points: 3,
            share: None,
            seconds_to_limit: to_limit.map(|seconds| (seconds, seconds / 2.0, seconds * 2.0)),
        };
        assert_eq!(verdict_line(&verdict, &[]), expected);
    }

    #[test]
    fn each_kind_has_its_words() {
        check(
            Kind::Leaking,
            Some(100.0),
            Layer::Python,
            None,
            "LEAK  python   +100.0 KiB/min (95 %: 50.0 KiB to 200.0 KiB)",
        );
        check(Kind::Steady, Some(0.1), Layer::Native, None, "ok    native   steady");
        check(Kind::Shrinking, Some(-100.0), Layer::Jvm, None, "ok    jvm      shrinking, -100.0 KiB/min");
        check(
            Kind::NotEnoughData,
            None,
            Layer::Python,
            None,
            "?     python   not enough data: 3 of 5 readings",
        );
        check(
            Kind::NotEnoughData,
            Some(100.0),
            Layer::Jvm,
            None,
            "?     jvm      +100.0 KiB/min, but nothing was collected yet: it may be garbage",
        );
        check(
            Kind::Steady,
            Some(0.0),
            Layer::Process,
            Some(7800.0),
            "ok    process  steady, memory that no layer explains; out of memory in 2 h 10 min (1 h 5 min to 4 h 20 min)",
        );
    }
}
