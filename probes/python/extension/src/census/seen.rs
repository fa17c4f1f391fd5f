//! Which objects were there at the census before, so that new ones can be told from old ones: one bit for each, at a
//! place that its address and type give. One that was there is never taken for new while it lives; a new one is taken
//! for old if its bit happens to be set, about one in eight.
//! Never holds more than 8 MiB, and knows no object any more but by that bit.

/// Bits for each object.
const BITS_EACH: u64 = 8;
/// When nothing is known yet: 1 MiB.
const FIRST_BITS: u64 = 1 << 23;
const MIN_BITS: u64 = 1 << 16;
const MAX_BITS: u64 = 1 << 26;

pub(super) struct Seen {
    words: Vec<u64>,
    shift: u32,
}

impl Seen {
    /// For about as many objects as the last census counted.
    pub(super) fn for_objects(expected: Option<u64>) -> Self {
        let wanted = expected.map_or(FIRST_BITS, |count| count.saturating_mul(BITS_EACH));
        let bits = wanted.clamp(MIN_BITS, MAX_BITS).next_power_of_two();
        Self { words: vec![0; (bits / 64) as usize], shift: 64 - bits.trailing_zeros() }
    }

    pub(super) fn clear(&mut self) {
        self.words.fill(0);
    }

    pub(super) fn insert(&mut self, object: usize, kind: usize) {
        let (word, bit) = self.place(object, kind);
        if let Some(word) = self.words.get_mut(word) {
            *word |= bit;
        }
    }

    pub(super) fn contains(&self, object: usize, kind: usize) -> bool {
        let (word, bit) = self.place(object, kind);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    fn place(&self, object: usize, kind: usize) -> (usize, u64) {
        let mixed = (object as u64 >> 4) ^ (kind as u64).rotate_left(40);
        let place = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift;
        ((place >> 6) as usize, 1 << (place & 63))
    }
}
