//! Runs a benchmark with this build and with another installation, in turns, and shows each figure of both.
//! Judges nothing: how the two compare is for whoever reads it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::{Scope, median};
use crate::dist;
use crate::process::stdout_of;

const ROUNDS: usize = 3;

/// A figure's medians come from so many rounds; `smoke` takes one.
pub(super) fn run(name: Option<&str>, scope: &Scope, other: &Path) -> anyhow::Result<()> {
    let other = other.canonicalize().with_context(|| format!("no installation at {}", other.display()))?;
    ensure!(other.join("bin/leakline").is_file(), "no bin/leakline below {}", other.display());
    let mut figures: BTreeMap<(usize, String), [Vec<f64>; 2]> = BTreeMap::new();
    for round in 0..if scope.smoke { 1 } else { ROUNDS } {
        for (side, installation) in [dist::folder(), other.clone()].iter().enumerate() {
            println!("── round {}, {}", round + 1, installation.display());
            let said = once(name, scope, installation)?;
            print!("{said}");
            for (place, (what, figure)) in said.lines().filter_map(figure).enumerate() {
                if let Some(values) = figures.entry((place, what)).or_default().get_mut(side) {
                    values.push(figure);
                }
            }
        }
    }
    println!("── medians: this build, {}, and their ratio", other.display());
    for ((_, what), [ours, theirs]) in figures {
        let (ours, theirs) = (median(ours), median(theirs));
        println!("{what:<58}{ours:>10.3}{theirs:>10.3}{:>8.3}", ours / theirs);
    }
    Ok(())
}

/// A process of its own, which takes the installation from its environment. Figures over their limits are shown, and no error.
fn once(name: Option<&str>, scope: &Scope, installation: &Path) -> anyhow::Result<String> {
    let mut xtask = Command::new(std::env::current_exe().context("cannot find this program")?);
    xtask.args(["bench", "--no-judgement"]).args(name).env(dist::INSTALLATION, installation);
    if scope.smoke {
        xtask.arg("--smoke");
    }
    for (option, value) in [("--only", &scope.only), ("--python", &scope.python)] {
        if let Some(value) = value {
            xtask.arg(option).arg(value);
        }
    }
    stdout_of(&mut xtask)
}

/// What `keep` prints: a name, a figure, a unit and a limit.
fn figure(line: &str) -> Option<(String, f64)> {
    let (before, _) = line.rsplit_once(" (limit ")?;
    let mut words = before.split_whitespace().rev().skip_while(|word| word.parse::<f64>().is_err());
    let figure = words.next()?.parse().ok()?;
    let name: Vec<&str> = words.collect();
    Some((name.into_iter().rev().collect::<Vec<_>>().join(" "), figure))
}

#[cfg(test)]
mod tests {
    use super::figure;

    #[test]
    fn a_figure_is_what_stands_before_its_unit() {
        let line = "at the 5-minute interval           0.034 % of a core (limit 0.1 % of a core, OVER)";
        assert_eq!(figure(line), Some(("at the 5-minute interval".to_owned(), 0.034)));
        assert_eq!(figure("── start"), None);
        assert_eq!(figure("  sort: bare 1.0 s, watched 1.1 s"), None);
    }
}
