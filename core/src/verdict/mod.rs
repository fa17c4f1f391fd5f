//! Decides whether a series of live bytes is a leak.
//! Pure: no clock, no I/O, no threads; knows no wire types.
//!
//! `engine` follows a session; `layers` says which series a layer is judged by; `judge` says what one series looks like,
//! with `trend` (does it rise?), `segments` (where does it change?), `shapes` (what is no straight line), `slope` (how fast, with
//! an interval) and `lasting` (what noise that lasts leaves of that). `parts` judges the ledger's parts, and `explained` says
//! which layer causes which.
//! It says of a heap that a generational collector has only cleaned in part that it grows, when it does; and what rises
//! straight for longer than it is looked at is a leak to it, whether or not it would have stopped.

mod closer;
mod engine;
mod explained;
mod fragmentation;
mod judge;
mod lasting;
mod layers;
mod marks;
mod parts;
mod reached;
mod resources;
mod segments;
mod series;
mod shapes;
mod sites;
mod slope;
mod sources;
mod trend;
mod words;

pub use closer::CloserLook;
pub use engine::VerdictEngine;
pub use explained::{ExplainedBy, Explanation, Share, explanations};
pub use fragmentation::{Fragmentation, FragmentationWatch, Remedy};
pub use marks::{GrowthPerMark, growth_per_mark};
pub use parts::{PartVerdict, PartWatch};
pub use resources::{GrowingResource, ResourceWatch};
pub use words::{interval_per_minute, verdict_line};

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Layer, Site};

/// What a verdict is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A whole layer.
    Layer(Layer),
    /// One site of a layer's profile.
    Site(Layer, Arc<Site>),
}

/// What the series looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It leaks, about as fast all the time.
    #[serde(rename = "steady")]
    SteadyLeak,
    /// It leaks, ever faster.
    #[serde(rename = "accelerating")]
    AcceleratingLeak,
    /// It leaks, in jumps with rest between them: a table that is doubled, an arena at a time.
    #[serde(rename = "steps")]
    LeakInSteps,
    /// It rose for a while and does so no more: a warm-up, a cache that filled.
    Plateau,
    /// It rises and falls again and again, and comes back to where it was.
    Sawtooth,
    /// It grows by what is free inside the allocator, and not by what is live.
    Fragmentation,
    /// It jumped once, and stayed.
    OneOff,
    /// It shrinks, and the interval of its rate lies below zero.
    Shrinking,
    /// Nothing of all this, beyond its noise.
    Quiet,
    /// Too few readings, or too short a time, to say.
    NotEnoughData,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::SteadyLeak,
        Self::AcceleratingLeak,
        Self::LeakInSteps,
        Self::Plateau,
        Self::Sawtooth,
        Self::Fragmentation,
        Self::OneOff,
        Self::Shrinking,
        Self::Quiet,
        Self::NotEnoughData,
    ];

    /// Whether memory is lost for as long as this goes on.
    pub fn leaks(self) -> bool {
        matches!(self, Self::SteadyLeak | Self::AcceleratingLeak | Self::LeakInSteps)
    }
}

/// A rate with its 95 % interval, bytes per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// The estimate.
    pub bytes_per_second: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Rate {
    /// Both together, of series that err apart.
    pub fn plus(self, other: Self) -> Self {
        let bytes_per_second = self.bytes_per_second + other.bytes_per_second;
        let below = (self.bytes_per_second - self.low).hypot(other.bytes_per_second - other.low);
        let above = (self.high - self.bytes_per_second).hypot(other.high - other.bytes_per_second);
        Self { bytes_per_second, low: bytes_per_second - below, high: bytes_per_second + above }
    }

    /// With an error of the ends' own in the interval, too: its standard error, bytes per second.
    fn with_error(self, error: f64) -> Self {
        let wider = |half: f64| half.hypot(slope::NORMAL_QUANTILE * error);
        Self {
            low: self.bytes_per_second - wider(self.bytes_per_second - self.low),
            high: self.bytes_per_second + wider(self.high - self.bytes_per_second),
            ..self
        }
    }
}

/// What leakline says of one layer or site, with the numbers that it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What it is about.
    pub subject: Subject,
    /// The gauge that a layer's series begins from; for a site, empty. For `native` and `process` what other layers
    /// explain is taken off it, and for `jvm` direct buffers and metaspace are added, so `rate` is what this layer
    /// alone is to blame for.
    pub gauge: String,
    /// What the series looks like.
    pub kind: Kind,
    /// How fast; `None` where there is not enough data.
    pub rate: Option<Rate>,
    /// How many readings it rests on: for `jvm` only those with a collection since the one before.
    pub points: u32,
    /// The share of its layer's growth that a site explains, from 0 to 1; `None` for layers.
    pub share: Option<f64>,
    /// Seconds until memory ends: the estimate, the soonest, the latest. The host's limit at the rate of the whole
    /// resident size, or the Java heap's maximum at the heap's own rate, whichever comes first. Only of layers that leak;
    /// `None` without a limit, and where the resident size does not surely rise.
    pub seconds_to_limit: Option<(f64, f64, f64)>,
    /// What `kind` rests on.
    pub evidence: Evidence,
}

/// The numbers behind a verdict's kind.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// The chance that what does not grow looks like this: of the stretch that the rate is about, with an unknown share of its
    /// noise lasting from one reading to the next. `None` where there is not enough data.
    pub chance: Option<f64>,
    /// Seconds for which it has been as it is now; `None`: for as long as it was watched. Before that, it grew otherwise.
    pub lasting_seconds: Option<f64>,
    /// The share of a leaking layer's rate that the leaking sites named below it make up, from 0 to 1; `None` of sites, and of
    /// layers that do not leak.
    pub explained: Option<f64>,
    /// Of a Java heap: no collection has looked at its old generation since it was first read (or the baseline was reset), nor
    /// could leakline follow its references, so garbage may be part of what grows.
    pub uncollected: bool,
}
