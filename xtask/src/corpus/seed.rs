//! Draws the parameters of a program's run from a seed, so that nothing can be tuned to known ones.
//! The same seed and name give the same parameters, whichever programs run beside.

use super::truth::Truth;

/// How a program is run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parameters {
    /// Bytes per second.
    pub(super) rate: f64,
    /// Bytes that it holds for a moment, at most.
    pub(super) noise: u64,
    /// Share of the time that it computes.
    pub(super) load: f64,
    /// For what the program draws itself.
    pub(super) seed: u64,
}

impl Parameters {
    /// Those of `truth` under `seed`.
    pub(super) fn draw(truth: &Truth, seed: u64) -> Self {
        let mut state = truth
            .name
            .bytes()
            .fold(seed ^ 0x9e37_79b9_7f4a_7c15, |state, byte| next(&mut (state ^ u64::from(byte))));
        let mut uniform = || (next(&mut state) >> 11) as f64 / (1_u64 << 53) as f64;
        let (low, high) = truth.kib_per_second;
        Self {
            // The same chance for each factor, not for each difference.
            rate: 1024.0 * low * (high / low).powf(uniform()),
            noise: (uniform() * 512.0 * 1024.0) as u64,
            load: uniform() * 0.3,
            seed: (uniform() * 1e9) as u64,
        }
    }
}

/// splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::truth;

    #[test]
    fn parameters_depend_on_seed_and_name_and_keep_their_bounds() {
        let all = truth::read().expect("the table can be read");
        for seed in 0..50 {
            for truth in &all {
                let drawn = Parameters::draw(truth, seed);
                let (low, high) = truth.kib_per_second;
                assert!((low..=high).contains(&(drawn.rate / 1024.0)), "{drawn:?}");
                assert!(drawn.load < 0.3 && drawn.noise <= 512 << 10, "{drawn:?}");
                assert_eq!(drawn, Parameters::draw(truth, seed));
                assert_ne!(drawn, Parameters::draw(truth, seed + 1));
            }
            assert_ne!(Parameters::draw(&all[0], seed), Parameters::draw(&all[1], seed));
        }
    }
}
