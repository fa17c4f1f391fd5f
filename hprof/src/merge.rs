//! Paths with the same words are one; so are those of threads whose names differ in their digits alone: a pool's.
//! Pure: words in, words out.

use std::collections::{BTreeMap, BTreeSet};

use crate::holders::{HeldBy, Path};
use crate::walk::Tally;

/// Paths so far, by what they have in common.
#[derive(Debug, Default)]
pub(crate) struct Merged(BTreeMap<Path, (Tally, BTreeSet<String>)>);

impl Merged {
    pub(crate) fn add(&mut self, mut path: Path, tally: Tally) {
        let name = std::mem::take(&mut path.name);
        path.name = without_digits(&name);
        let (all, names) = self.0.entry(path).or_default();
        all.instances += tally.instances;
        all.bytes = all.bytes.saturating_add(tally.bytes);
        names.insert(name);
    }

    /// The path that most instances are held by first.
    pub(crate) fn paths(self) -> Vec<HeldBy> {
        let told = |(mut path, (tally, names)): (Path, (Tally, BTreeSet<String>))| {
            let threads = names.len();
            path.name = match names.into_iter().next() {
                Some(only) if threads == 1 => only,
                _ => with_count(&path.name, threads),
            };
            HeldBy { path, instances: tally.instances, shallow_bytes: tally.bytes }
        };
        let mut paths: Vec<HeldBy> = self.0.into_iter().map(told).collect();
        paths.sort_by_key(|held| std::cmp::Reverse(held.instances));
        paths
    }
}

/// Where a thread's name stands, with its quotes.
fn quoted(name: &str) -> Option<std::ops::Range<usize>> {
    let (from, to) = (name.find('"')?, name.rfind('"')?);
    (from < to).then_some(from..to + 1)
}

/// `"pool-1-thread-17" in A.b:3` as `"pool-#-thread-#" in A.b:3`.
fn without_digits(name: &str) -> String {
    let Some(thread) = quoted(name) else { return name.to_owned() };
    let mut common = String::new();
    for letter in name[thread.clone()].chars() {
        match letter {
            '0'..='9' if common.ends_with('#') => {}
            '0'..='9' => common.push('#'),
            other => common.push(other),
        }
    }
    [&name[..thread.start], &common, &name[thread.end..]].concat()
}

fn with_count(name: &str, threads: usize) -> String {
    let end = quoted(name).map_or(name.len(), |thread| thread.end);
    format!("{} ({threads} threads){}", &name[..end], &name[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(names: &[&str], expected: &[&str]) {
        let mut merged = Merged::default();
        for name in names {
            let path = Path { root: "thread", name: (*name).to_owned(), steps: Vec::new() };
            merged.add(path, Tally { instances: 1, bytes: 1 });
        }
        let told: Vec<String> =
            merged.paths().into_iter().map(|by| format!("{} {}", by.instances, by.path.name)).collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn threads_of_one_pool_are_told_together() {
        check(&["\"w-1\"", "\"w-12\"", "\"w-1\""], &["3 \"w-#\" (2 threads)"]);
        check(&["\"w-1\"", "\"w-1\""], &["2 \"w-1\""]);
        check(&["\"w-1\"", "\"x-1\""], &["1 \"w-1\"", "1 \"x-1\""]);
        check(&["\"w1\" in A.b:3", "\"w2\" in A.b:3"], &["2 \"w#\" (2 threads) in A.b:3"]);
        check(&["\"w1\" in A.b:3", "\"w1\" in A.b:4"], &["1 \"w1\" in A.b:3", "1 \"w1\" in A.b:4"]);
        check(&["A.KEPT1", "A.KEPT2"], &["1 A.KEPT1", "1 A.KEPT2"]);
        check(&["", "\"", "\"\""], &["1 ", "1 \"", "1 \"\""]);
    }
}
