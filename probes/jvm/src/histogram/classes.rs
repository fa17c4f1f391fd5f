//! The classes that histograms told of, each with its site, and what was there through collections.
//! Pure. Bounded: so many classes have a site of their own, those with most bytes when they first came; the others are one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use leakline_core::{Amount, Site, SiteStat};

use super::Counted;
use super::floor::Floor;

/// Classes with a site of their own. A large application server has some 30,000 classes loaded.
const MAX_CLASSES: usize = 10_000;
const OTHERS: &str = "(other classes)";

#[derive(Debug, Default)]
pub(super) struct Classes {
    known: HashMap<String, Class>,
    epochs: Epochs,
}

#[derive(Debug)]
struct Class {
    site: Arc<Site>,
    floor: Floor,
}

/// Tells histograms with a collection between them.
#[derive(Debug, Default)]
struct Epochs {
    collections: Option<u64>,
    count: u64,
}

impl Epochs {
    /// The number of the stretch between two collections that this histogram is of; `None` where nobody tells.
    fn of(&mut self, collections: Option<u64>) -> Option<u64> {
        let now = collections?;
        if self.collections != Some(now) {
            self.collections = Some(now);
            self.count += 1;
        }
        Some(self.count)
    }
}

impl Classes {
    /// One entry for each class that is known, whether or not there are any of it now.
    pub(super) fn stats(&mut self, mut counted: Vec<Counted>, collections: Option<u64>) -> Vec<SiteStat> {
        let epoch = self.epochs.of(collections);
        counted.sort_unstable_by_key(|class| std::cmp::Reverse(class.bytes));
        self.forget_gone(&counted);
        let mut amounts: HashMap<&str, Amount> = HashMap::with_capacity(counted.len());
        for class in &counted {
            let is_known = self.known.contains_key(&class.name) || self.known.len() < MAX_CLASSES;
            let name = if is_known { class.name.as_str() } else { OTHERS };
            let amount = amounts.entry(name).or_default();
            amount.bytes = amount.bytes.saturating_add(class.bytes);
            amount.blocks = amount.blocks.saturating_add(class.count);
            if !self.known.contains_key(name) {
                let site = Arc::new(Site::class(name));
                self.known.insert(name.to_owned(), Class { site, floor: Floor::default() });
            }
        }
        let mut stats = Vec::with_capacity(amounts.len());
        for (name, class) in &mut self.known {
            let live = amounts.get(name.as_str()).copied().unwrap_or_default();
            let survived = epoch.and_then(|epoch| class.floor.push(epoch, live));
            if live.blocks > 0 {
                stats.push(SiteStat { survived, ..SiteStat::exact(Arc::clone(&class.site), live) });
            }
        }
        stats
    }

    /// Where there is no room for new classes, those of which nothing is left make some: a program that generates classes
    /// has others all the time.
    fn forget_gone(&mut self, counted: &[Counted]) {
        let is_new = |class: &&Counted| !self.known.contains_key(&class.name);
        if self.known.len() + counted.iter().filter(is_new).count() > MAX_CLASSES {
            let there: HashSet<&str> = counted.iter().map(|class| class.name.as_str()).collect();
            self.known.retain(|name, _| name == OTHERS || there.contains(name.as_str()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(name: &str, count: u64) -> Counted {
        Counted { name: name.to_owned(), count, bytes: count * 16 }
    }

    fn words(stats: &[SiteStat]) -> String {
        let mut words: Vec<String> = stats
            .iter()
            .map(|stat| {
                format!("{:?} {} {:?}", stat.site.holder(), stat.live.blocks, stat.survived.map(|s| s.blocks))
            })
            .collect();
        words.sort();
        words.join("; ").replace("Class(", "").replace(')', "")
    }

    #[test]
    fn classes_of_one_name_are_one() {
        let stats = Classes::default().stats(vec![counted("A", 1), counted("B", 5), counted("A", 2)], None);
        assert_eq!(words(&stats), "\"A\" 3 None; \"B\" 5 None");
    }

    #[test]
    fn what_was_there_through_three_collections_is_told_apart() {
        let mut classes = Classes::default();
        for (collections, count) in [(1, 900), (2, 100), (2, 500), (3, 300)] {
            let stats = classes.stats(vec![counted("A", count)], Some(collections));
            let expected = if collections == 3 { "Some(100".to_owned() } else { "None".to_owned() };
            assert_eq!(words(&stats), format!("\"A\" {count} {expected}"));
        }
    }

    #[test]
    fn more_classes_than_are_kept_are_one() {
        let mut classes = Classes::default();
        let many = (0..MAX_CLASSES as u64 + 5).map(|n| counted(&n.to_string(), 1_000_000 - n)).collect();
        let stats = classes.stats(many, None);
        assert_eq!(stats.len(), MAX_CLASSES + 1);
        assert!(words(&stats).contains("(other classes\" 4949990"), "{}", classes.known.len());
    }
}
