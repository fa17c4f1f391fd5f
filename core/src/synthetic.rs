//! Made-up series whose truth is known, for tests and benchmarks: not in a shipped agent.
//! The same series for the same seed; never a clock.

use crate::model::{Cause, Gauge, Layer, Snapshot, names, testing};

/// How a series is made. All of it is added up; bytes and ticks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Recipe {
    /// Growth at each tick.
    pub per_tick: f64,
    /// Growth of the growth at each tick.
    pub faster_per_tick: f64,
    /// The leak begins at this tick.
    pub begins: u32,
    /// Growth is held back and comes all at once at each so-many-th tick; 0: as it comes.
    pub in_steps_of: u32,
    /// Standard deviation of the noise.
    pub noise: f64,
    /// What of the noise lasts to the next tick, from 0 to 1.
    pub lasts: f64,
    /// A jump that stays: at this tick, by so many bytes.
    pub jump: Option<(u32, f64)>,
    /// A start-up that levels off: so many bytes, with this time constant in ticks.
    pub warm_up: Option<(f64, f64)>,
    /// Rises by so many bytes over so many ticks, and falls back.
    pub sawtooth: Option<(f64, u32)>,
    /// The share of readings that are off, by ten times `outlier`.
    pub outliers: f64,
    /// How far outliers are off, bytes.
    pub outlier: f64,
    /// The share of ticks that are missed.
    pub missed: f64,
}

/// A source of random numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl Random {
    /// The same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        // Mixed, or the stream of the next seed would be this one's, a number later.
        Self(mix(seed ^ 0x5851_f42d_4c95_7f2d))
    }

    /// From 0 to 1.
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (mix(self.0) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Normal, with mean 0 and standard deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

impl Recipe {
    /// Numbers of the ticks that were not missed, up to `ticks`, each with its bytes. The first is the baseline.
    pub fn series(&self, ticks: u32, random: &mut Random) -> Vec<(u32, f64)> {
        let mut noise = random.normal() * self.noise;
        let mut series = Vec::new();
        for tick in 0..=ticks {
            if tick > 0 {
                let fresh = random.normal() * self.noise;
                noise = self.lasts * noise + (1.0 - self.lasts * self.lasts).sqrt() * fresh;
            }
            let is_off = random.uniform() < self.outliers;
            let off = if is_off { self.outlier * random.normal().signum() } else { 0.0 };
            if tick > 0 && random.uniform() < self.missed {
                continue;
            }
            series.push((tick, self.level(tick) + noise + off));
        }
        series
    }

    /// What is there at `tick` without noise.
    pub fn level(&self, tick: u32) -> f64 {
        let since = tick.saturating_sub(self.begins);
        let every = self.in_steps_of.max(1);
        let steps = since / every * every;
        let leaked = f64::from(steps) * self.per_tick + f64::from(steps).powi(2) / 2.0 * self.faster_per_tick;
        let jumped = self.jump.map_or(0.0, |(at, bytes)| if tick >= at { bytes } else { 0.0 });
        let warmed =
            self.warm_up.map_or(0.0, |(bytes, constant)| bytes * (1.0 - (-f64::from(tick) / constant).exp()));
        let tooth = self
            .sawtooth
            .map_or(0.0, |(bytes, every)| f64::from(tick % every.max(1)) / f64::from(every.max(1)) * bytes);
        leaked + jumped + warmed + tooth
    }
}

/// A snapshot at `tick` ticks of `interval_seconds` with one gauge of traced Python bytes, around 200 MiB.
pub fn snapshot(tick: u32, interval_seconds: f64, bytes: f64) -> Snapshot {
    let bytes = (bytes + 209_715_200.0).max(0.0) as u64;
    let mut snapshot = testing::snapshot_of(u64::from(tick), vec![Gauge::bytes(names::PYTHON_TRACED, bytes)]);
    snapshot.tick.cause = if tick == 0 { Cause::Baseline } else { Cause::Tick };
    snapshot.tick.at.boot_nanos = (f64::from(tick) * interval_seconds * 1e9) as u64;
    for reading in &mut snapshot.readings {
        reading.layer = Layer::Python;
    }
    snapshot
}
