//! How sure an estimate from samples is.
//! Pure: arithmetic on one site's numbers; knows no sampler.

/// Of a normal distribution, 95 % lie within so many standard deviations.
const Z: f64 = 1.96;

/// The 95 % interval of a site's bytes, of which `bytes` is the estimate and `standard_error` its standard error.
///
/// Samples come as a Poisson process does, so the estimate stands for `n = (bytes / standard_error)²` samples, each worth
/// `standard_error² / bytes`. The interval is that of Poisson's score test: unlike `± 1.96 standard errors` it holds for a
/// handful of samples, too, and never reaches below zero. An estimate that is exact (no error) is its own interval.
pub fn interval_95(bytes: f64, standard_error: f64) -> (f64, f64) {
    let is_estimate = bytes > 0.0 && bytes.is_finite() && standard_error > 0.0 && standard_error.is_finite();
    if !is_estimate {
        return (bytes, bytes);
    }
    let samples = (bytes / standard_error).powi(2);
    let worth = standard_error * (standard_error / bytes);
    let middle = samples + Z * Z / 2.0;
    let reach = Z * (samples + Z * Z / 4.0).sqrt();
    // Their product is `samples` squared: the lower end by a quotient does not lose its digits.
    (worth * (samples * (samples / (middle + reach))), worth * (middle + reach))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends rounded to one digit.
    fn check(bytes: f64, standard_error: f64, expected: &str) {
        let (low, high) = interval_95(bytes, standard_error);
        assert_eq!(format!("{low:.1} {high:.1}"), expected, "{bytes} ± {standard_error}");
    }

    #[test]
    fn an_exact_number_is_its_own_interval() {
        check(4096.0, 0.0, "4096.0 4096.0");
        check(0.0, 0.0, "0.0 0.0");
        check(0.0, 10.0, "0.0 0.0");
    }

    #[test]
    fn one_sample_may_be_nearly_nothing_or_six() {
        check(1000.0, 1000.0, "176.5 5665.1");
    }

    #[test]
    fn many_samples_come_near_to_two_standard_errors_either_way() {
        check(100.0, 10.0, "82.2 121.6");
        check(10_000.0, 100.0, "9805.9 10197.9");
    }

    #[test]
    fn nothing_makes_it_anything_but_a_number_around_the_estimate() {
        for bytes in [1.0, 4096.0, 1e18, u64::MAX as f64] {
            for error in [1.0, 300.0, 1e9, u64::MAX as f64] {
                let (low, high) = interval_95(bytes, error);
                assert!(!low.is_nan() && !high.is_nan() && low >= 0.0, "{bytes} {error}: {low} {high}");
                assert!(
                    low <= bytes * 1.000_001 && high >= bytes * 0.999_999,
                    "{bytes} {error}: {low} {high}"
                );
            }
        }
    }

    /// Truth is covered in 95 of 100 runs, with few samples as with many. The samples are counted off a fixed generator.
    #[test]
    fn it_covers_the_truth_about_as_often_as_it_says() {
        for (truth, least, most) in [(5.0, 0.93, 0.98), (20.0, 0.93, 0.97), (200.0, 0.94, 0.96)] {
            let mut state = 0x9e37_79b9_7f4a_7c15_u64;
            let mut uniform = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 11) as f64 / (1_u64 << 53) as f64
            };
            let runs = 20_000;
            let covered = (0..runs).filter(|_| {
                let (mut samples, mut at) = (0_u32, 0.0);
                loop {
                    at -= (1.0 - uniform()).ln();
                    if at > truth {
                        break;
                    }
                    samples += 1;
                }
                let (low, high) = interval_95(f64::from(samples), f64::from(samples).sqrt());
                (low..=high).contains(&truth)
            });
            let share = covered.count() as f64 / f64::from(runs);
            assert!((least..=most).contains(&share), "{truth}: {share}");
        }
    }
}
