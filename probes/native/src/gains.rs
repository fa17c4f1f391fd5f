//! Holds what malloc says was gained from one reading to the next beside what sampling says, so that a hook that sees nothing
//! is not mistaken for a program that allocates nothing.
//! Pure: reads no clock and asks nobody.

use crate::hooked::Sampled;

/// Only what parts at so many readings in a row is said.
const IN_A_ROW: u32 = 3;
/// Standard errors of the difference of two estimates. By chance one in 16,000 parts so far, and three in a row the same
/// way do not happen.
const ERRORS: f64 = 4.0;
/// Malloc rounds sizes up and adds 8 to 16 bytes: blocks of 24 bytes take a third more than was asked for, those of 8
/// bytes four times as much, of which programs have few.
const ROUNDING: f64 = 0.5;
/// What threads keep for reuse counts as in use with glibc: a quarter of a mebibyte for each. And what was allocated
/// between the two readings of one tick.
const SLACK: f64 = 4.0 * 1024.0 * 1024.0;

/// The last readings.
#[derive(Debug, Default)]
pub(crate) struct Gains {
    last: Option<(u64, Sampled)>,
    /// The total of both since they began to part, which way, and for how many readings.
    parted: Parted,
}

#[derive(Debug, Default, Clone, Copy)]
struct Parted {
    malloc: f64,
    sampled: f64,
    readings: u32,
}

impl Gains {
    /// Another reading: what malloc says it holds, and what sampling says. The words to be said of it, if any.
    pub(crate) fn note(&mut self, live: Option<u64>, sampled: Option<Sampled>) -> Option<String> {
        // Without one of the two, this reading says nothing; the next is held beside the last that did.
        let now = live.zip(sampled)?;
        let (before, sampled_before) = self.last.replace(now)?;
        let malloc = now.0 as f64 - before as f64;
        let gained = now.1.bytes as f64 - sampled_before.bytes as f64;
        // Samples that are live at both ends are no error of the difference; at most, none is.
        let error = (now.1.variance + sampled_before.variance).sqrt();
        let margin = ERRORS * error + ROUNDING * malloc.abs().max(gained.abs()) + SLACK;
        let difference = malloc - gained;
        let so_far = self.parted;
        let same_way = so_far.readings == 0 || (so_far.malloc > so_far.sampled) == (difference > 0.0);
        self.parted = if difference.abs() <= margin {
            Parted::default()
        } else if same_way {
            Parted {
                malloc: so_far.malloc + malloc,
                sampled: so_far.sampled + gained,
                readings: so_far.readings + 1,
            }
        } else {
            Parted { malloc, sampled: gained, readings: 1 }
        };
        let Parted { malloc, sampled, readings } = self.parted;
        (readings >= IN_A_ROW).then(|| {
            format!(
                "malloc gained {malloc:+.0} bytes in {readings} readings, but its sampled calls {sampled:+.0}: \
                 call paths do not account for all of it"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Each pair is what malloc and sampling say, in MiB; whether the last reading says that they part.
    fn check(readings: &[(u64, u64)], variance: f64, parts: bool) {
        let mut gains = Gains::default();
        let notes = readings.iter().map(|(malloc, sampled)| {
            gains.note(Some(malloc * MIB), Some(Sampled { bytes: sampled * MIB, variance }))
        });
        let last = notes.last().flatten();
        assert_eq!(last.is_some(), parts, "{last:?}");
    }

    #[test]
    fn a_hook_that_sees_nothing_of_what_malloc_gains_is_said() {
        check(&[(10, 5), (30, 5), (50, 5), (70, 5)], 0.0, true);
        check(&[(10, 5), (30, 5), (50, 5)], 0.0, false);
    }

    #[test]
    fn frees_that_are_not_seen_are_said_too() {
        check(&[(70, 70), (50, 70), (30, 70), (10, 70)], 0.0, true);
    }

    #[test]
    fn what_rounding_or_chance_explains_is_not() {
        check(&[(0, 0), (30, 20), (60, 40), (90, 60)], 0.0, false);
        let ten_mib = (10 * MIB) as f64;
        check(&[(0, 0), (30, 0), (60, 0), (90, 0)], ten_mib * ten_mib, false);
    }

    #[test]
    fn it_is_not_said_where_they_part_one_way_and_then_the_other() {
        check(&[(10, 5), (30, 5), (10, 5), (30, 5), (10, 5)], 0.0, false);
    }

    #[test]
    fn the_words_have_both_figures() {
        let mut gains = Gains::default();
        let mut note = None;
        for live in [0, 10, 20, 30] {
            note = gains.note(Some(live * MIB), Some(Sampled { bytes: 0, variance: 0.0 }));
            assert_eq!(gains.note(None, None), None);
        }
        let note = note.unwrap();
        assert!(note.contains("+31457280 bytes in 3 readings") && note.contains("+0"), "{note}");
    }
}
