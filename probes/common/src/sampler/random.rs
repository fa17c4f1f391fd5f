//! Random numbers: xorshift64*, whose low bits are thrown away. Cheap, small, const; not for secrets.

/// A sequence.
#[derive(Debug, Clone, Copy)]
pub struct Random(u64);

impl Random {
    /// Begins at `seed`; 0, which the sequence never leaves, stands for one that has not begun.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Whether it was given a seed.
    pub const fn has_begun(self) -> bool {
        self.0 != 0
    }

    /// Above 0, at most 1.
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11;
        (high + 1) as f64 / (1_u64 << 53) as f64
    }
}
