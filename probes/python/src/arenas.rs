//! What pymalloc says of its arenas, read from the text in which it says it (`sys._debugmallocstats` shows the same).
//! Pure: takes bytes and gives values; a text that is cut off, damaged or adds up to something else gives nothing.

use serde::{Deserialize, Serialize};

/// Pymalloc's arenas at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ArenaBytes {
    /// All arenas, as they are mapped.
    pub mapped: u64,
    /// In blocks that are handed out, rounded up to their size class.
    pub used: u64,
    /// In free blocks of pools that are in use: each was touched or lies beside one that was.
    pub free_in_pools: u64,
    /// In pools that hold nothing: never touched, or left behind by what was freed.
    pub unused_pools: u64,
}

/// Reads the text; `None` where there are no arenas.
pub fn parse(text: &[u8]) -> Option<ArenaBytes> {
    let text = std::str::from_utf8(text).ok()?;
    let mut found = ArenaBytes::default();
    let (mut has_used, mut has_free, mut has_unused) = (false, false, false);
    for line in text.lines() {
        let Some((what, value)) = line.rsplit_once('=') else { continue };
        let what = what.trim();
        if what.ends_with("bytes/arena") {
            found.mapped = number(value)?;
        } else if what == "# bytes in allocated blocks" {
            (found.used, has_used) = (number(value)?, true);
        } else if what == "# bytes in available blocks" {
            (found.free_in_pools, has_free) = (number(value)?, true);
        } else if what.contains("unused pools *") {
            (found.unused_pools, has_unused) = (number(value)?, true);
        } else if what == "Total" {
            // Headers, rounding and alignment make up the difference.
            let parts = found.used.checked_add(found.free_in_pools)?.checked_add(found.unused_pools)?;
            let is_whole = has_used && has_free && has_unused && number(value)? == found.mapped;
            return (is_whole && found.mapped > 0 && parts <= found.mapped).then_some(found);
        }
    }
    None
}

/// Digits in groups of three, or in none.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    text.bytes().filter(|byte| *byte != b',').try_fold(0_u64, |number, byte| {
        let digit = char::from(byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEWEST: &str = include_str!("../tests/arenas/3.15.txt");

    /// What a version of CPython wrote: mapped, used, free in pools, in unused pools.
    fn check(text: &str, mapped: u64, used: u64, free_in_pools: u64, unused_pools: u64) {
        assert_eq!(parse(text.as_bytes()), Some(ArenaBytes { mapped, used, free_in_pools, unused_pools }));
    }

    #[test]
    fn each_version_is_understood() {
        check(include_str!("../tests/arenas/3.9.txt"), 4_456_448, 4_171_360, 70_080, 139_264);
        check(include_str!("../tests/arenas/3.10.txt"), 5_242_880, 4_236_640, 278_288, 622_592);
        check(include_str!("../tests/arenas/3.11.txt"), 7_340_032, 6_372_032, 323_072, 491_520);
        check(include_str!("../tests/arenas/3.12.txt"), 4_194_304, 3_677_536, 365_520, 65_536);
        check(include_str!("../tests/arenas/3.13.txt"), 5_242_880, 4_248_928, 266_144, 688_128);
        check(include_str!("../tests/arenas/3.14.txt"), 7_340_032, 5_772_352, 1_207_568, 245_760);
        check(NEWEST, 7_340_032, 5_824_592, 1_220_032, 163_840);
    }

    #[test]
    fn nothing_is_no_arenas() {
        assert_eq!(parse(b""), None);
        assert_eq!(parse(&NEWEST.replace("arenas * ", "").replace("bytes/arena", "").into_bytes()), None);
        // What does not add up was damaged.
        assert_eq!(
            parse(
                NEWEST
                    .replacen("Total                              =            ", "Total = 9", 1)
                    .as_bytes()
            ),
            None
        );
    }

    proptest! {
        #[test]
        fn numbers_survive_their_commas(parts in proptest::array::uniform4(0_u64..1 << 40), size in 1_u64..9) {
            let [used, free_in_pools, unused_pools, lost] = parts;
            let mapped = used + free_in_pools + unused_pools + lost + size;
            let text = format!(
                "3 arenas * 7 bytes/arena = {}\n# bytes in allocated blocks = {}\n# bytes in available blocks = {}\n\
                 5 unused pools * 16384 bytes = {}\nTotal = {}\n",
                grouped(mapped), grouped(used), grouped(free_in_pools), grouped(unused_pools), grouped(mapped)
            );
            check(&text, mapped, used, free_in_pools, unused_pools);
        }

        #[test]
        fn any_bytes_are_survived_and_never_claim_more_than_is_mapped(
            noise in proptest::collection::vec(any::<u8>(), 0..40),
            at in 0..NEWEST.len(),
        ) {
            let mut text = NEWEST.as_bytes().to_vec();
            for (byte, noise) in text[at..].iter_mut().zip(noise) {
                *byte = noise;
            }
            if let Some(found) = parse(&text) {
                prop_assert!(found.used + found.free_in_pools + found.unused_pools <= found.mapped);
            }
            // Up to its total, a text that was cut off gives nothing.
            let total = NEWEST.find("Total").unwrap();
            prop_assert_eq!(parse(&NEWEST.as_bytes()[..at.min(total)]), None);
        }
    }

    fn grouped(number: u64) -> String {
        let digits = number.to_string();
        let mut text = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        text
    }
}
