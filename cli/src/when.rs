//! Instants as people read them, in UTC, so that two machines' reports line up.
//! Never reads a clock or a time zone.

use jiff::Timestamp as Instant;
use jiff::tz::TimeZone;

/// How much of an instant is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// `09:00`
    Minutes,
    /// `09:00:30`
    Seconds,
    /// `09:00:30.250`
    Millis,
}

impl Detail {
    /// What tells two neighbouring instants of a step apart.
    pub(crate) fn for_step(step: std::time::Duration) -> Self {
        match step {
            step if step.as_secs() >= 60 && step.as_secs() % 60 == 0 => Self::Minutes,
            step if step.subsec_nanos() == 0 && step.as_secs() > 0 => Self::Seconds,
            _ => Self::Millis,
        }
    }
}

fn show(unix_nanos: u64, format: &str) -> String {
    match Instant::from_nanosecond(i128::from(unix_nanos)) {
        Ok(instant) => instant.to_zoned(TimeZone::UTC).strftime(format).to_string(),
        Err(_) => "?".to_owned(),
    }
}

/// `09:00`
pub(crate) fn time(unix_nanos: u64, detail: Detail) -> String {
    show(
        unix_nanos,
        match detail {
            Detail::Minutes => "%H:%M",
            Detail::Seconds => "%H:%M:%S",
            Detail::Millis => "%H:%M:%S.%3f",
        },
    )
}

/// `2026-11-23 09:00`
pub(crate) fn date_time(unix_nanos: u64, detail: Detail) -> String {
    format!("{} {}", date(unix_nanos), time(unix_nanos, detail))
}

/// `2026-11-23`
pub(crate) fn date(unix_nanos: u64) -> String {
    show(unix_nanos, "%Y-%m-%d")
}

/// `2026-11-23T09:00:00.250Z`, for machines.
pub(crate) fn rfc3339(unix_nanos: u64) -> String {
    show(unix_nanos, "%Y-%m-%dT%H:%M:%S.%3fZ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_shown_as_exactly_as_the_step_needs() {
        let nanos = 1_763_892_030_250_000_000;
        assert_eq!(time(nanos, Detail::for_step(std::time::Duration::from_secs(300))), "10:00");
        assert_eq!(time(nanos, Detail::for_step(std::time::Duration::from_secs(90))), "10:00:30");
        assert_eq!(time(nanos, Detail::for_step(std::time::Duration::from_millis(200))), "10:00:30.250");
        assert_eq!(date_time(nanos, Detail::Minutes), "2025-11-23 10:00");
        assert_eq!(rfc3339(nanos), "2025-11-23T10:00:30.250Z");
        assert_eq!(time(0, Detail::Minutes), "00:00");
        assert_eq!(date(u64::MAX), "2554-07-21");
    }
}
