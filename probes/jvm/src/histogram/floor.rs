//! What of a class is not merely uncollected: the fewest objects that there were at the last histograms with a collection
//! between each. A saw's teeth are not among them, what leaks is; nobody had to be asked for a collection.
//! Pure. It is an upper bound: other objects than before may be among them, and a collection of the young generation
//! leaves garbage of the old one where it is.

use leakline_core::{Amount, SURVIVAL_TICKS};

const STRETCHES: usize = SURVIVAL_TICKS as usize;

/// One class's, over the last stretches between collections that had a histogram.
#[derive(Debug, Default, Clone)]
pub(super) struct Floor {
    /// The latest last; each with the number of its stretch.
    lows: Vec<(u64, Amount)>,
}

impl Floor {
    /// Takes the next histogram, of stretch number `stretch`, and gives what there was in each of the last stretches;
    /// `None` before there were enough.
    pub(super) fn push(&mut self, stretch: u64, live: Amount) -> Option<Amount> {
        match self.lows.last_mut() {
            // Between two collections objects only become more.
            Some((last, low)) if *last == stretch => *low = lower(*low, live),
            _ => {
                if self.lows.len() == STRETCHES {
                    self.lows.remove(0);
                }
                self.lows.push((stretch, live));
            }
        }
        let lowest = self.lows.iter().map(|(_, low)| *low).reduce(lower)?;
        (self.lows.len() == STRETCHES).then(|| lower(lowest, live))
    }
}

fn lower(one: Amount, other: Amount) -> Amount {
    Amount { bytes: one.bytes.min(other.bytes), blocks: one.blocks.min(other.blocks) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has survived after histograms of `blocks`, each in its stretch.
    fn check(histograms: &[(u64, u64)], expected: Option<u64>) {
        let mut floor = Floor::default();
        let mut last = None;
        for (stretch, blocks) in histograms {
            last = floor.push(*stretch, Amount { bytes: blocks * 16, blocks: *blocks });
        }
        assert_eq!(last.map(|low| low.blocks), expected, "{histograms:?}");
    }

    #[test]
    fn without_collections_nothing_is_known() {
        check(&[(1, 10)], None);
        check(&[(1, 10), (1, 20), (1, 30), (1, 40)], None);
    }

    #[test]
    fn a_saw_has_its_floor_and_a_leak_what_was_there_before() {
        check(&[(1, 90), (2, 10), (3, 80)], Some(10));
        check(&[(1, 100), (2, 200), (3, 300)], Some(100));
        check(&[(1, 100), (2, 200), (3, 300), (4, 400)], Some(200));
        check(&[(1, 100), (2, 200), (3, 300), (4, 0)], Some(0));
    }
}
