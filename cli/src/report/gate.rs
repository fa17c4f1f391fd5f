//! What makes the exit status of `leakline report` say that the program is not fit to ship: for CI.
//! Never judges: it asks the verdicts.

use leakline_core::{Subject, Verdict};

/// The exit status when a gate is not passed; 1 and 2 are errors of leakline's own and of its command line.
pub(crate) const NOT_PASSED: u8 = 3;

/// What `--fail-on` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FailOn {
    /// A layer leaks
    Leak,
}

/// Bytes per second, as written on the command line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct MaxRate(f64);

/// Reads `10KiB/min`; clap puts the value and the option in front of the error.
pub(crate) fn max_rate(text: &str) -> Result<MaxRate, String> {
    let wrong = || "write a number, its unit and a time, such as 10KiB/min, 1MiB/h or 500B/s".to_owned();
    let (amount, time) = text.trim().split_once('/').ok_or_else(wrong)?;
    let seconds = match time.trim() {
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let amount = amount.trim();
    let unit_at = amount.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = amount.split_at(unit_at);
    let bytes = match unit {
        "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    if number.is_finite() && number >= 0.0 { Ok(MaxRate(number * bytes / seconds)) } else { Err(wrong()) }
}

/// Whether `verdicts` pass. With a greatest rate, a layer that leaks fails when all of its rate's interval is above it.
pub(crate) fn passes(verdicts: &[Verdict], fail_on: Option<FailOn>, most: Option<MaxRate>) -> bool {
    let mut leaks =
        verdicts.iter().filter(|found| found.kind.leaks() && matches!(found.subject, Subject::Layer(_)));
    match (fail_on, most) {
        (None, None) => true,
        (Some(FailOn::Leak), None) => leaks.next().is_none(),
        (_, Some(most)) => leaks.all(|found| found.rate.is_none_or(|rate| rate.low <= most.0)),
    }
}

#[cfg(test)]
mod tests {
    use leakline_core::{Kind, Layer, Rate};

    use super::*;

    fn check(kind: Kind, low: f64, fail_on: Option<FailOn>, most: Option<&str>, expected: bool) {
        let verdict = Verdict {
            subject: Subject::Layer(Layer::Python),
            gauge: String::new(),
            kind,
            rate: Some(Rate { bytes_per_second: low + 1.0, low, high: low + 2.0 }),
            points: 9,
            share: None,
            seconds_to_limit: None,
        };
        let most = most.map(|text| max_rate(text).unwrap());
        assert_eq!(passes(&[verdict], fail_on, most), expected, "{kind:?} {low} {fail_on:?} {most:?}");
    }

    #[test]
    fn a_leak_fails_where_that_was_asked_for_and_only_when_it_is_surely_too_fast() {
        check(Kind::SteadyLeak, 5000.0, None, None, true);
        check(Kind::SteadyLeak, 5000.0, Some(FailOn::Leak), None, false);
        check(Kind::Plateau, 5000.0, Some(FailOn::Leak), None, true);
        check(Kind::SteadyLeak, 170.0, None, Some("10KiB/min"), true);
        check(Kind::SteadyLeak, 171.0, None, Some("10KiB/min"), false);
        check(Kind::SteadyLeak, 171.0, Some(FailOn::Leak), Some("1MiB/h"), true);
    }

    #[test]
    fn a_rate_has_a_unit_and_a_time() {
        for wrong in ["10", "10KiB", "KiB/min", "10kb/min", "10KiB/day", "-1B/s", ""] {
            assert!(max_rate(wrong).is_err(), "{wrong}");
        }
    }
}
