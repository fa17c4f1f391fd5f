//! Prints what came of each program, and the sums. Decides nothing.

use super::peers::Peers;
use super::truth::Truth;
use super::watch::Outcome;

/// One program's line.
pub(super) struct Row<'a> {
    pub(super) truth: &'a Truth,
    pub(super) outcome: Result<Outcome, String>,
    pub(super) peers: Peers,
}

/// The names above the columns.
pub(super) fn head() {
    println!(
        "{:<28}{:<8}{:<14}{:<18}{:>6}{:>5}{:>8}{:>7}  {:<28}tracemalloc memray heaptrack",
        "program", "layer", "truth", "said", "right", "site", "rate", "ticks", "first site; false alarms"
    );
}

/// One line.
pub(super) fn line(row: &Row<'_>) {
    let truth = row.truth;
    let kind = if truth.resource.is_empty() { &truth.kind } else { &truth.resource };
    let kind = if truth.leaks { kind.clone() } else { format!("({kind})") };
    print!("{:<28}{:<8}{kind:<14}", truth.name, truth.layer);
    match &row.outcome {
        Err(why) => println!("FAILED: {why}"),
        Ok(outcome) => {
            let found = &outcome.found;
            let site = match (truth.leaks && truth.site, found.rank) {
                (true, Some(rank)) => rank.to_string(),
                (true, None) => "none".into(),
                (false, _) => String::new(),
            };
            let rate = found.rate_error.map_or(String::new(), |error| format!("{:+.1} %", error * 100.0));
            let ticks = outcome.ticks.map_or("never".into(), |ticks| ticks.to_string());
            let mut remarks: Vec<String> = Vec::new();
            if truth.leaks && !found.first.is_empty() {
                remarks.push(found.first.clone());
            }
            if !found.alarms.is_empty() {
                remarks.push(format!("alarm: {}", found.alarms.join(", ")));
            } else if outcome.alarmed > 0 {
                remarks.push(format!("alarm at {} of {}", outcome.alarmed, outcome.readings));
            }
            let right = if found.leak && found.alarms.is_empty() { "yes" } else { "NO" };
            let said = &found.said;
            println!(
                "{said:<18}{right:>6}{site:>5}{rate:>8}{ticks:>7}  {:<28}{}",
                remarks.join("; "),
                row.peers.words()
            );
        }
    }
}

/// A share in the summary, and what it must be.
struct Share {
    name: &'static str,
    right: usize,
    of: usize,
    least: f64,
}

/// The sums, each beside what it must be. Gives how many are not.
pub(super) fn summary(rows: &[Row<'_>]) -> usize {
    let all: Vec<(&Truth, &Outcome)> =
        rows.iter().filter_map(|row| Some((row.truth, row.outcome.as_ref().ok()?))).collect();
    let share = |name, least, applies: &dyn Fn(&Truth, &Outcome) -> Option<bool>| {
        let answers: Vec<bool> = all.iter().filter_map(|(truth, outcome)| applies(truth, outcome)).collect();
        Share { name, right: answers.iter().filter(|right| **right).count(), of: answers.len(), least }
    };
    let ranked = |most: usize| {
        move |truth: &Truth, outcome: &Outcome| {
            (truth.leaks && truth.site).then(|| outcome.found.rank.is_some_and(|rank| rank <= most))
        }
    };
    let shares = [
        share("leaks in the right layer", 1.0, &|_, outcome| outcome.found.layer),
        share("leaks with no alarm elsewhere", 1.0, &|truth, outcome| {
            truth.leaks.then_some(outcome.found.alarms.is_empty())
        }),
        share("innocents without an alarm", 1.0, &|truth, outcome| {
            (!truth.leaks && truth.resource.is_empty()).then_some(outcome.found.leak)
        }),
        share("resources that grow are told", 1.0, &|truth, outcome| {
            (!truth.resource.is_empty()).then_some(outcome.found.leak)
        }),
        share("kind right", 0.95, &|_, outcome| outcome.found.kind),
        share("leaking site first", 0.9, &ranked(1)),
        share("leaking site among the first three", 0.98, &ranked(3)),
        share("rate within 10 %", 1.0, &|truth, outcome| {
            (truth.leaks && truth.rate)
                .then(|| outcome.found.rate_error.is_some_and(|error| error.abs() <= 0.1))
        }),
        share("programs that ran", 1.0, &|_, _| Some(true)).of_all(rows.len()),
    ];
    println!();
    let mut short = 0;
    for share in shares.iter().filter(|share| share.of > 0) {
        let part = share.right as f64 / share.of as f64;
        let word = if part < share.least { "  SHORT" } else { "" };
        short += usize::from(part < share.least);
        let least = share.least * 100.0;
        println!(
            "{:<38}{:>3} of {:>3}  {:>5.1} % (at least {least:.0} %){word}",
            share.name,
            share.right,
            share.of,
            part * 100.0
        );
    }
    let mut ticks: Vec<usize> =
        all.iter().filter(|(truth, _)| truth.leaks).filter_map(|(_, outcome)| outcome.ticks).collect();
    ticks.sort_unstable();
    if let Some(median) = ticks.get(ticks.len() / 2) {
        println!(
            "{:<38}{median:>3} (of the {} leaks with a right word in the end)",
            "median ticks until it was right",
            ticks.len()
        );
    }
    Peers::summary(rows.iter().map(|row| (row.truth, &row.peers, row.outcome.as_ref().ok())));
    short
}

impl Share {
    fn of_all(mut self, count: usize) -> Self {
        self.of = count;
        self
    }
}
