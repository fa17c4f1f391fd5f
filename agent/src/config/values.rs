//! How the text of a setting becomes a value. An error says what would be right, with an example.

use std::path::PathBuf;
use std::time::Duration;

pub(super) fn duration(text: &str, least: &str, most: &str) -> Result<Duration, String> {
    let parse = |text: &str| humantime::parse_duration(text);
    // A bare `0` is the one number that needs no unit.
    let value = match text.trim() {
        "0" => Duration::ZERO,
        text => parse(text).map_err(|_| "a time with its unit, such as `5m`, `30s` or `500ms`".to_owned())?,
    };
    let bounds = parse(least).unwrap_or_default()..=parse(most).unwrap_or(Duration::MAX);
    if bounds.contains(&value) { Ok(value) } else { Err(format!("between {least} and {most}, such as `5m`")) }
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => 0,
    };
    number
        .parse::<u64>()
        .ok()
        .filter(|_| scale != 0)
        .and_then(|number| number.checked_mul(scale))
        .ok_or_else(|| "a size in bytes, such as `65536`, `512KiB` or `64MiB`".to_owned())
}

pub(super) fn at_least(bytes: u64, least: u64) -> Result<u64, String> {
    if bytes >= least { Ok(bytes) } else { Err(format!("at least {least} bytes")) }
}

/// From `least` to `most`, each as one would write it and in bytes.
pub(super) fn size_within(
    text: &str,
    example: &str,
    least: (&str, u64),
    most: (&str, u64),
) -> Result<u64, String> {
    size(text)
        .ok()
        .filter(|bytes| (least.1..=most.1).contains(bytes))
        .ok_or_else(|| format!("a size from {} to {}, such as `{example}`", least.0, most.0))
}

pub(super) fn count(text: &str, least: u64, most: u64) -> Result<u64, String> {
    text.trim()
        .parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("a whole number from {least} to {most}"))
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    one_of(text, &[("true", true), ("false", false), ("1", true), ("0", false)])
}

pub(super) fn one_of<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    choices
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text.trim()))
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
            format!("one of {}", names.join(", "))
        })
}

/// Empty means none.
pub(super) fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

/// `HOST:PORT`, with or without `http://`; empty means none. Whether it resolves shows when it is connected to.
pub(super) fn address(text: &str) -> Result<Option<String>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let good = bare
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0));
    if good { Ok(Some(text.to_owned())) } else { Err("HOST:PORT, such as `127.0.0.1:7474`".to_owned()) }
}
