//! A verdict in one line for people, the same in the log, in the report and at the collector.

use super::slope::MIN_POINTS;
use super::{Kind, Rate, Subject, Verdict};
use crate::model::Layer;
use crate::text::site;

/// Frames of a site that one line shows.
const FRAMES: usize = 4;

/// `verdict` in one line; source paths lose the longest of `roots` that they begin with.
///
/// `LEAK  python   +1.38 MiB/min (95 %: 1.31 to 1.45), out of memory in 2 h 10 min (1 h 55 min to 2 h 31 min)`, and for
/// a site, which follows the line of its layer, `      96 % of it, +1.33 MiB/min, at RNS/Destination.py:230 < wrapper.py:450`
pub fn verdict_line(verdict: &Verdict, roots: &[String]) -> String {
    match &verdict.subject {
        Subject::Layer(layer) => layer_line(*layer, verdict),
        Subject::Site(_, place) => {
            let share =
                verdict.share.map_or(String::new(), |share| format!("{:.0} % of it, ", share * 100.0));
            let rate = verdict.rate.map_or(String::new(), |rate| format!("{}, ", per_minute(&rate)));
            format!("      {share}{rate}at {}", site(place, roots, FRAMES))
        }
    }
}

fn layer_line(layer: Layer, verdict: &Verdict) -> String {
    let of = if layer == Layer::Process { " that no layer explains" } else { "" };
    let (word, said) = match (verdict.kind, verdict.rate) {
        (Kind::NotEnoughData, _) | (_, None) => {
            let readings = if layer == Layer::Jvm { "readings after a collection" } else { "readings" };
            ("?", format!("not enough data: {} of {MIN_POINTS} {readings}", verdict.points.min(MIN_POINTS)))
        }
        (kind, Some(rate)) if kind.leaks() => {
            let how = match kind {
                Kind::AcceleratingLeak => ", accelerating",
                Kind::LeakInSteps => ", in steps",
                _ => "",
            };
            let lasting = verdict.evidence.lasting_seconds;
            let lasting = lasting.map_or(String::new(), |seconds| format!(", for {}", time(seconds)));
            let doubt = if verdict.evidence.uncollected {
                ", or garbage: the old generation was not collected yet"
            } else {
                ""
            };
            ("LEAK", format!("{}{how}{of}{lasting}{doubt}", with_interval(&rate)))
        }
        (kind, Some(rate)) => ("ok", format!("{}{}", innocent(kind, &rate), with_interval(&rate))),
    };
    let limit = verdict.seconds_to_limit.map_or(String::new(), |(at, soonest, latest)| {
        format!(", out of memory in {} ({} to {})", time(at), time(soonest), time(latest))
    });
    format!("{word:<5} {:<8} {said}{limit}", layer.name())
}

/// What a series that does not leak looks like.
fn innocent(kind: Kind, rate: &Rate) -> &'static str {
    match kind {
        Kind::Plateau => "levelled off, ",
        Kind::Sawtooth => "rises and falls back, ",
        Kind::Fragmentation => "fragmentation, not a leak, ",
        Kind::OneOff => "jumped once and stayed, ",
        Kind::Shrinking => "shrinking, ",
        _ if rate.low > 0.0 || rate.high < 0.0 => "too little to tell: ",
        _ => "steady, ",
    }
}

const UNITS: [(&str, f64); 4] = [("GiB", 1_073_741_824.0), ("MiB", 1_048_576.0), ("KiB", 1024.0), ("B", 1.0)];

fn per_minute(rate: &Rate) -> String {
    let (unit, scale) = unit(rate.bytes_per_second * 60.0);
    format!("{}{} {unit}/min", sign(rate), number(rate.bytes_per_second * 60.0, scale))
}

/// The interval in the unit of the estimate: `+1.38 MiB/min (95 %: 1.31 to 1.45)`.
fn with_interval(rate: &Rate) -> String {
    format!("{} (95 %: {})", per_minute(rate), interval_per_minute(rate))
}

/// The 95 % interval of `rate` in bytes a minute, in the unit that its estimate has: `1.31 to 1.45`.
pub fn interval_per_minute(rate: &Rate) -> String {
    let (_, scale) = unit(rate.bytes_per_second * 60.0);
    let [low, high] = [rate.low, rate.high].map(|end| number(end * 60.0, scale));
    format!("{low} to {high}")
}

fn unit(bytes: f64) -> (&'static str, f64) {
    UNITS.into_iter().find(|(_, scale)| bytes.abs() >= *scale).unwrap_or(("B", 1.0))
}

/// Two decimals, none for whole bytes; nothing is never negative.
fn number(bytes: f64, scale: f64) -> String {
    let decimals = if scale == 1.0 { 0 } else { 2 };
    let words = format!("{:.decimals$}", bytes / scale);
    match words.strip_prefix('-') {
        Some(rest) if rest.chars().all(|digit| matches!(digit, '0' | '.')) => rest.to_owned(),
        _ => words,
    }
}

fn sign(rate: &Rate) -> &'static str {
    if rate.bytes_per_second * 60.0 >= 0.5 { "+" } else { "" }
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
    use std::sync::Arc;

    use super::*;
    use crate::model::{Frame, Site};
    use crate::verdict::Evidence;

    fn verdict(layer: Layer, kind: Kind, kib_per_minute: Option<f64>) -> Verdict {
        let rate = kib_per_minute.map(|kib| kib * 1024.0 / 60.0);
        Verdict {
            subject: Subject::Layer(layer),
            gauge: String::new(),
            kind,
            rate: rate.map(|rate| Rate { bytes_per_second: rate, low: rate - 5.0, high: rate + 5.0 }),
            points: 3,
            share: None,
            seconds_to_limit: None,
            evidence: Evidence::default(),
        }
    }

    fn check(layer: Layer, kind: Kind, kib_per_minute: Option<f64>, expected: &str) {
        assert_eq!(verdict_line(&verdict(layer, kind, kib_per_minute), &[]), expected);
    }

    #[test]
    fn each_kind_has_its_words() {
        use Kind::*;
        use Layer::*;
        check(Python, SteadyLeak, Some(1413.0), "LEAK  python   +1.38 MiB/min (95 %: 1.38 to 1.38)");
        check(Jvm, SteadyLeak, Some(100.0), "LEAK  jvm      +100.00 KiB/min (95 %: 99.71 to 100.29)");
        check(
            Process,
            SteadyLeak,
            Some(100.0),
            "LEAK  process  +100.00 KiB/min (95 %: 99.71 to 100.29) that no layer explains",
        );
        check(
            Native,
            Quiet,
            Some(-100.0),
            "ok    native   too little to tell: -100.00 KiB/min (95 %: -100.29 to -99.71)",
        );
        check(Native, Quiet, Some(0.0), "ok    native   steady, 0 B/min (95 %: -300 to 300)");
        check(Native, Quiet, Some(-0.0004), "ok    native   steady, 0 B/min (95 %: -300 to 300)");
        check(
            Jvm,
            Shrinking,
            Some(-100.0),
            "ok    jvm      shrinking, -100.00 KiB/min (95 %: -100.29 to -99.71)",
        );
        check(Python, NotEnoughData, None, "?     python   not enough data: 3 of 5 readings");
        check(Jvm, NotEnoughData, None, "?     jvm      not enough data: 3 of 5 readings after a collection");
    }

    #[test]
    fn a_leak_that_began_while_it_was_watched_says_for_how_long() {
        let late = Verdict {
            evidence: Evidence { lasting_seconds: Some(2100.0), ..Evidence::default() },
            ..verdict(Layer::Python, Kind::SteadyLeak, Some(100.0))
        };
        let expected = "LEAK  python   +100.00 KiB/min (95 %: 99.71 to 100.29), for 35 min";
        assert_eq!(verdict_line(&late, &[]), expected);
    }

    #[test]
    fn what_no_collection_has_looked_at_is_said() {
        let young = Verdict {
            evidence: Evidence { uncollected: true, ..Evidence::default() },
            ..verdict(Layer::Jvm, Kind::SteadyLeak, Some(100.0))
        };
        let expected = "LEAK  jvm      +100.00 KiB/min (95 %: 99.71 to 100.29), or garbage: the old generation was not \
            collected yet";
        assert_eq!(verdict_line(&young, &[]), expected);
    }

    #[test]
    fn the_time_that_is_left_follows() {
        let left = Verdict {
            seconds_to_limit: Some((7800.0, 45.0, 4e9)),
            ..verdict(Layer::Python, Kind::SteadyLeak, Some(100.0))
        };
        assert_eq!(
            verdict_line(&left, &[]),
            "LEAK  python   +100.00 KiB/min (95 %: 99.71 to 100.29), out of memory in 2 h 10 min (45 s to over a year)"
        );
    }

    #[test]
    fn a_site_is_told_by_its_share_its_rate_and_its_path() {
        let frame = |file: &str, line| Arc::new(Frame::new("", file, line));
        let frames = vec![frame("/app/RNS/Destination.py", 230), frame("/app/reticulum_wrapper.py", 450)];
        let site = Verdict {
            subject: Subject::Site(Layer::Python, Arc::new(Site::call_path(frames, false))),
            share: Some(0.96),
            ..verdict(Layer::Python, Kind::SteadyLeak, Some(1362.0))
        };
        assert_eq!(
            verdict_line(&site, &["/app".to_owned()]),
            "      96 % of it, +1.33 MiB/min, at RNS/Destination.py:230 < reticulum_wrapper.py:450"
        );
    }
}
