//! Chooses the few classes whose references are told apart: those that grow.
//! Pure. Bounded: so many classes are remembered, and so many are told.

use std::collections::HashMap;

/// Classes with a number of their own.
const MOST_TOLD: usize = 8;
/// Classes whose first count is remembered; native code that holds objects of more is not told apart.
const MOST_KNOWN: usize = 2000;
/// A class is told once there are so many more than at first.
const GROWN: u64 = 10;

/// The first count of each class, and the classes that are told.
#[derive(Debug, Default)]
pub(super) struct Growing {
    is_begun: bool,
    first: HashMap<String, u64>,
    told: Vec<String>,
}

impl Growing {
    /// Of this count those that are told; once a class was told, it always is.
    pub(super) fn follow(&mut self, classes: Vec<(String, u64)>) -> Vec<(String, u64)> {
        let mut counts: HashMap<String, u64> = HashMap::with_capacity(classes.len());
        for (class, count) in classes {
            let sum = counts.entry(class).or_default();
            *sum = sum.saturating_add(count);
        }
        if !std::mem::replace(&mut self.is_begun, true) {
            self.first =
                counts.iter().take(MOST_KNOWN).map(|(class, count)| (class.clone(), *count)).collect();
        }
        let growth =
            |class: &String, count: u64| count.saturating_sub(self.first.get(class).copied().unwrap_or(0));
        let mut grown: Vec<(u64, &String)> = counts
            .iter()
            .map(|(class, count)| (growth(class, *count), class))
            .filter(|(growth, class)| *growth >= GROWN && !self.told.contains(class))
            .collect();
        grown.sort_unstable_by(|a, b| b.cmp(a));
        let room = MOST_TOLD.saturating_sub(self.told.len());
        let new: Vec<String> = grown.into_iter().take(room).map(|(_, class)| class.clone()).collect();
        self.told.extend(new);
        self.told.iter().map(|class| (class.clone(), counts.get(class).copied().unwrap_or(0))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts one after the other, as `A=1 B=2`, and what is told of the last.
    fn check(counts: &[&str], expected: &str) {
        let mut growing = Growing::default();
        let mut told = Vec::new();
        for count in counts {
            let classes = count.split(' ').filter_map(|word| word.split_once('='));
            told = growing.follow(classes.map(|(class, n)| (class.to_owned(), n.parse().unwrap())).collect());
        }
        let words: Vec<String> = told.iter().map(|(class, count)| format!("{class}={count}")).collect();
        assert_eq!(words.join(" "), expected);
    }

    #[test]
    fn classes_that_grew_are_told_and_stay() {
        check(&["A=100 B=5"], "");
        check(&["A=100 B=5", "A=109 B=15"], "B=15");
        check(&["A=100 B=5", "A=100 B=15", "A=100"], "B=0");
        check(&["A=1", "A=1 A=30 C=10"], "A=31 C=10");
    }

    #[test]
    fn no_more_are_told_than_there_is_room_for_and_those_that_grew_most_come_first() {
        let many: Vec<String> = (10..30).map(|n| format!("C{n}={n}")).collect();
        check(&["A=1", &many.join(" ")], "C29=29 C28=28 C27=27 C26=26 C25=25 C24=24 C23=23 C22=22");
    }
}
