//! Times as people write them on the command line: `5m`, `30s`, `500ms`, `1h30m`.
//! Never guesses a unit: a bare number is refused.

use std::time::Duration;

/// The shortest interval that the agent takes.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A time that has been checked, with the text that it was written as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interval {
    /// As the user wrote it; the agent reads the same syntax.
    pub(crate) text: String,
    /// How long that is.
    pub(crate) length: Duration,
}

/// Reads an interval. The error says what would be right; clap puts the value and the option in front of it.
pub(crate) fn interval(text: &str) -> Result<Interval, String> {
    let examples = "write a number with its unit, such as 5m, 30s, 500ms or 1h30m";
    let length = humantime::parse_duration(text.trim()).map_err(|_| examples.to_owned())?;
    if length < SHORTEST {
        return Err("too short: the least is 100 ms, and 5m is right for hours of running".to_owned());
    }
    if length > LONGEST {
        return Err("too long: the most is 24h".to_owned());
    }
    Ok(Interval { text: text.trim().to_owned(), length })
}

/// `5 min`, `1 h 30 min`, `2 s`, `250 ms`: the two largest units.
pub(crate) fn words(length: Duration) -> String {
    let total = length.as_secs_f64();
    if total < 1.0 {
        let millis = total * 1000.0;
        return if millis >= 10.0 || millis.fract() < 0.05 {
            format!("{millis:.0} ms")
        } else {
            format!("{millis:.1} ms")
        };
    }
    if total < 60.0 {
        return if total.fract() < 0.05 { format!("{total:.0} s") } else { format!("{total:.1} s") };
    }
    let seconds = total.round() as u64;
    let parts = [
        ("d", seconds / 86_400),
        ("h", seconds / 3600 % 24),
        ("min", seconds / 60 % 60),
        ("s", seconds % 60),
    ];
    parts
        .iter()
        .skip_while(|(_, count)| *count == 0)
        .take(2)
        .filter(|(_, count)| *count > 0)
        .map(|(unit, count)| format!("{count} {unit}"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<u64, &str>) {
        match (interval(text), expected) {
            (Ok(found), Ok(millis)) => assert_eq!(found.length, Duration::from_millis(millis), "{text}"),
            (Err(found), Err(part)) => assert!(found.contains(part), "{text}: {found}"),
            (found, expected) => panic!("{text}: {found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn a_time_is_a_number_with_its_unit() {
        check("5m", Ok(300_000));
        check("30s", Ok(30_000));
        check("500ms", Ok(500));
        check("1h30m", Ok(5_400_000));
        check(" 2min ", Ok(120_000));
        check("24h", Ok(86_400_000));
    }

    #[test]
    fn what_is_no_time_is_refused_with_examples() {
        for text in ["5", "", "abc", "-5m", "5 potatoes", "m5", "99999999999999999999s"] {
            check(text, Err("such as 5m, 30s, 500ms or 1h30m"));
        }
    }

    #[test]
    fn an_interval_has_bounds() {
        check("99ms", Err("least is 100 ms"));
        check("0s", Err("least is 100 ms"));
        check("100ms", Ok(100));
        check("25h", Err("most is 24h"));
    }

    #[test]
    fn a_length_is_told_in_its_two_largest_units() {
        let cases = [
            (0, "0 ms"),
            (250, "250 ms"),
            (1000, "1 s"),
            (1500, "1.5 s"),
            (60_000, "1 min"),
            (90_000, "1 min 30 s"),
            (300_000, "5 min"),
            (7_800_000, "2 h 10 min"),
            (90_000_000, "1 d 1 h"),
            (86_700_000, "1 d"),
        ];
        for (millis, expected) in cases {
            assert_eq!(words(Duration::from_millis(millis)), expected);
        }
    }
}
