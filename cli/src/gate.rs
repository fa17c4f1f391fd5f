//! What a verdict means for an exit status: whether something leaks, or faster than it may.
//! Prints nothing, judges no series: the verdict is core's.

use leakline_core::{Kind, Subject, Verdict};

/// Exit status when something leaks that must not.
pub(crate) const LEAKS: u8 = 3;
/// Exit status when too little was recorded to tell.
pub(crate) const CANNOT_TELL: u8 = 4;

/// What makes the exit status tell of a leak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FailOn {
    /// A layer that leaks
    Leak,
}

/// A rate as people write it, bytes per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct MaxRate(pub(crate) f64);

/// Reads `10KiB/min`, `1.5 MB/h`, `300B/s`.
pub(crate) fn max_rate(text: &str) -> Result<MaxRate, String> {
    let wrong = || "write bytes and a time, such as 10KiB/min, 1MB/h or 300B/s".to_owned();
    let (bytes, time) = text.split_once('/').ok_or_else(wrong)?;
    let digits = bytes.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(bytes.len());
    let (number, unit) = bytes.split_at(digits);
    let scale = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kib" => 1024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        _ => return Err(wrong()),
    };
    let seconds = match time.trim() {
        "s" => 1.0,
        "min" | "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Ok(MaxRate(number * scale / seconds))
}

/// Whether a verdict is one of a leak.
pub(crate) fn leaks(verdict: &Verdict) -> bool {
    verdict.kind.leaks()
}

/// The exit status for `verdicts` of whole layers: [`LEAKS`] when one leaks, with `most` only when faster than that, and
/// [`CANNOT_TELL`] when no layer had enough data.
pub(crate) fn status(verdicts: &[Verdict], most: Option<MaxRate>) -> u8 {
    let mut layers = verdicts.iter().filter(|verdict| matches!(verdict.subject, Subject::Layer(_)));
    let is_too_fast = |verdict: &Verdict| {
        let rate = verdict.rate.map_or(f64::INFINITY, |rate| rate.bytes_per_second);
        leaks(verdict) && most.is_none_or(|MaxRate(most)| rate > most)
    };
    if layers.clone().any(is_too_fast) {
        LEAKS
    } else if layers.all(|verdict| verdict.kind == Kind::NotEnoughData) {
        CANNOT_TELL
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use leakline_core::{Evidence, Layer, Rate};

    use super::*;

    fn check_rate(text: &str, expected: Option<f64>) {
        assert_eq!(max_rate(text).ok().map(|rate| rate.0), expected, "{text}");
    }

    #[test]
    fn rates_have_a_size_and_a_time() {
        check_rate("60KiB/min", Some(1024.0));
        check_rate("7.2 MB/h", Some(2000.0));
        check_rate("300/s", Some(300.0));
        check_rate("0B/s", Some(0.0));
        for wrong in ["10KiB", "10KiB/", "/min", "x/min", "-1B/s", "1KiB/year", "1..2B/s"] {
            check_rate(wrong, None);
        }
    }

    fn check(verdicts: &[(Kind, f64)], most: Option<&str>, expected: u8) {
        let verdict = |(kind, rate): &(Kind, f64)| Verdict {
            subject: Subject::Layer(Layer::Python),
            gauge: String::new(),
            kind: *kind,
            rate: Some(Rate { bytes_per_second: *rate, low: rate / 2.0, high: rate * 2.0 }),
            points: 9,
            share: None,
            seconds_to_limit: None,
            evidence: Evidence::default(),
        };
        let verdicts: Vec<Verdict> = verdicts.iter().map(verdict).collect();
        let most = most.map(|most| max_rate(most).unwrap());
        assert_eq!(status(&verdicts, most), expected, "{verdicts:?}");
    }

    #[test]
    fn a_leak_fails_and_too_little_data_is_told_apart() {
        check(&[(Kind::SteadyLeak, 100.0), (Kind::Quiet, 0.0)], None, LEAKS);
        check(&[(Kind::SteadyLeak, 100.0)], Some("99B/s"), LEAKS);
        check(&[(Kind::SteadyLeak, 100.0)], Some("6KiB/min"), 0);
        check(&[(Kind::Quiet, 100.0), (Kind::NotEnoughData, 0.0)], None, 0);
        check(&[(Kind::NotEnoughData, 0.0)], None, CANNOT_TELL);
        check(&[], None, CANNOT_TELL);
    }
}
