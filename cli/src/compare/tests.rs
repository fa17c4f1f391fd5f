//! What a difference is called, and its interval.

use leakline_core::Rate;

use super::model::{Change, change};

/// A rate is `estimate low high`; `-` is not enough data. `*` behind it: it is called a leak.
fn check(before: &str, after: &str, expected: &str) {
    let rate = |text: &str| {
        let numbers: Vec<f64> =
            text.trim_end_matches('*').split_whitespace().map(|word| word.parse().unwrap_or(0.0)).collect();
        (text != "-").then(|| Rate { bytes_per_second: numbers[0], low: numbers[1], high: numbers[2] })
    };
    let leaked = (before.ends_with('*'), after.ends_with('*'));
    let Change { difference, word, .. } = change(rate(before), rate(after), leaked);
    let difference = difference.map_or("-".to_owned(), |rate| {
        format!("{:.0} {:.0} {:.0}", rate.bytes_per_second, rate.low, rate.high)
    });
    assert_eq!(format!("{word:?} {difference}"), expected, "{before} / {after}");
}

#[test]
fn a_fix_takes_the_leak_away_and_its_rate() {
    check("1000 990 1010*", "0 -10 10", "Fixed -1000 -1014 -986");
    check("1000 990 1010*", "500 490 510*", "Better -500 -514 -486");
    // It is not called a leak any more, but that may be chance.
    check("1000 0 2000*", "0 -1000 1000", "Same -1000 -2414 414");
}

#[test]
fn a_leak_that_came_or_grew_is_worse() {
    check("0 -10 10", "1000 990 1010*", "NewLeak 1000 986 1014");
    check("500 490 510*", "1000 990 1010*", "Worse 500 486 514");
}

#[test]
fn what_does_not_leak_is_not_worse_for_shrinking_less() {
    check("-1000 -1010 -990", "0 -10 10", "Same 1000 986 1014");
}

#[test]
fn an_interval_need_not_be_symmetric() {
    check("100 96 120", "100 97 104", "Same 0 -20 6");
}

#[test]
fn without_data_nothing_is_said() {
    check("-", "1000 990 1010*", "CannotTell -");
    check("0 -10 10", "-", "CannotTell -");
}
