//! Estimates against the truth: live bytes are planted at functions of their own, of known sizes, and the profile is read,
//! in many runs. Alone in its process, whose malloc is hooked by its relocations.
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]
#![expect(
    clippy::unwrap_used,
    clippy::as_conversions,
    reason = "test code, though clippy does not see it in helpers"
)]

mod support;

use std::ffi::c_void;
use std::hint::black_box;

use leakline_core::{Attachment, Probe, Profile, ProfileSource, names};
use leakline_native::{NativeOptions, NativeProbe};
use support::{Driven, MachineClock, value};

/// Bytes of a block, how many there are, and how many of them are freed at once.
const SITES: [(usize, usize, usize); 11] = [
    (48, 4000, 0),
    (64, 8000, 4000),
    (100, 3000, 500),
    (256, 4000, 0),
    (512, 1500, 200),
    (600, 1500, 0),
    (2000, 300, 100),
    (10_000, 100, 0),
    (65_536, 20, 5),
    (300_000, 6, 0),
    (1 << 20, 3, 1),
];
const Z: f64 = 1.96;

/// Allocates at a call of its own.
#[inline(never)]
fn plant<const SITE: usize>(kept: &mut Vec<*mut c_void>) {
    let (size, count, _) = SITES[black_box(SITE)];
    for _ in 0..count {
        // SAFETY: a plain allocation.
        kept.push(black_box(unsafe { libc::malloc(size) }));
    }
}

/// A function of its own, too: a compiler looks `free` up where a function begins, which may be before it is hooked.
#[inline(never)]
fn free(blocks: &[*mut c_void]) {
    // SAFETY: each came from `plant`, and is given back once.
    blocks.iter().for_each(|block| unsafe { libc::free(*block) });
}

const PLANTS: [fn(&mut Vec<*mut c_void>); 11] = [
    plant::<0>,
    plant::<1>,
    plant::<2>,
    plant::<3>,
    plant::<4>,
    plant::<5>,
    plant::<6>,
    plant::<7>,
    plant::<8>,
    plant::<9>,
    plant::<10>,
];

fn truth(site: usize) -> f64 {
    let (size, count, freed) = SITES[site];
    (size * (count - freed)) as f64
}

/// Live bytes of each site and their standard error, after everything was planted in a session of its own.
fn run(mean: u64) -> [Option<(f64, f64)>; 11] {
    let clock = MachineClock::new();
    let options = NativeOptions { mean_sample_bytes: mean, ..NativeOptions::default() };
    let mut native = Driven::new(clock.clone(), NativeProbe::new(clock, options));
    assert!(matches!(native.attach(), Attachment::Attached(_)));
    let kept = PLANTS.map(|plant| {
        let mut kept = Vec::with_capacity(8000);
        plant(&mut kept);
        kept
    });
    kept.iter().zip(SITES).for_each(|(kept, (_, _, freed))| free(kept.get(..freed).unwrap()));
    let live = value(&native.gauges().gauges, names::MALLOC_LIVE).unwrap() as f64;
    assert!(live >= (0..11).map(truth).sum(), "malloc counts the same heap");
    let details = native.details();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(native.probe.detach());
    kept.iter().zip(SITES).for_each(|(kept, (_, _, freed))| free(kept.get(freed..).unwrap()));
    assert!(details.notes.is_empty(), "{:?}", details.notes);
    let profile = details.profiles.iter().find(|profile| profile.source().name == ProfileSource::SAMPLED);
    by_site(profile.unwrap())
}

fn by_site(profile: &Profile) -> [Option<(f64, f64)>; 11] {
    let base = leakline_probing::loader::base_of(PLANTS[0] as *const () as usize).unwrap();
    let starts = PLANTS.map(|plant| (plant as *const () as usize - base) as u64);
    let mut found = [None; 11];
    for stat in profile.sites() {
        let Some(address) = stat.site.frames().first().and_then(|frame| Some(frame.native.as_ref()?.address))
        else {
            continue;
        };
        // The function that begins last before the call, and not long before it.
        let nearest = (0..11).filter(|site| starts[*site] < address).max_by_key(|site| starts[*site]);
        if let Some(site) = nearest.filter(|site| address - starts[*site] < 512) {
            let (bytes, error) = found[site].unwrap_or_default();
            assert_eq!(bytes, 0.0, "one path for each");
            found[site] = Some((stat.live.bytes as f64, f64::hypot(error, stat.standard_error_bytes as f64)));
        }
    }
    found
}

/// The 95 % interval: of a count, as what is sampled is one.
fn interval(estimate: f64, error: f64) -> (f64, f64) {
    if error == 0.0 {
        return (estimate, estimate);
    }
    let n = (estimate / error).powi(2);
    let (middle, half) = (n + Z * Z / 2.0, Z * (n + Z * Z / 4.0).sqrt());
    let scale = error * error / estimate;
    (scale * (middle - half), scale * (middle + half))
}

#[test]
fn estimates_are_unbiased_and_their_intervals_hold_the_truth() {
    // `LEAKLINE_TEST_WHOLE=1`: more runs.
    let runs = if std::env::var_os("LEAKLINE_TEST_WHOLE").is_some() { 400 } else { 40 };
    for mean in [4096, 65_536] {
        check(mean, runs);
    }
}

fn check(mean: u64, runs: u32) {
    let all: f64 = (0..11).map(truth).sum();
    let (mut sums, mut inside, mut pairs) = ([0.0; 11], 0, 0);
    for _ in 0..runs {
        for (site, found) in run(mean).into_iter().enumerate() {
            let (truth, expected) = (truth(site), truth(site) / mean as f64);
            // One in 160,000 is missed by chance.
            assert!(found.is_some() || expected < 12.0 || truth * 100.0 < all, "site {site} was missed");
            let (low, high) = match found {
                Some((estimate, error)) => {
                    sums[site] += estimate;
                    interval(estimate, error)
                }
                None => (0.0, Z * Z * mean as f64),
            };
            if expected >= 1.0 {
                pairs += 1;
                inside += u32::from(low - 0.5 <= truth && truth <= high + 0.5);
            }
        }
    }
    let share = f64::from(inside) / f64::from(pairs);
    // An interval is a little wide for counts that are whole; of a few hundred, by chance, fewer hold it.
    assert!(share >= if runs >= 400 { 0.93 } else { 0.90 }, "{share}");
    // No more than chance explains, at any site and in all: 4.5 standard errors of the mean of so many runs.
    let sites = (0..11).map(|site| (truth(site), sums[site]));
    for (truth, sum) in sites.chain([(all, sums.iter().sum())]) {
        let chance = (truth * mean as f64 / f64::from(runs)).sqrt();
        let estimate = sum / f64::from(runs);
        assert!((estimate - truth).abs() < 4.5 * chance + 1.0, "{estimate}, not {truth}, by chance {chance}");
    }
}
