//! The words of the design as plain data. Serialisable, comparable, without behaviour that needs a clock or I/O.

mod bridged;
mod fingerprint;
mod gauge;
mod profile;
mod runtime;
mod session;
mod site;
mod snapshot;
#[cfg(any(test, feature = "synthetic"))]
pub(crate) mod testing;

pub use bridged::HOLDERS_OF_PYTHON;
pub use fingerprint::Fingerprint;
pub use gauge::{Gauge, GaugeKind, Unit, names};
pub(crate) use profile::together;
pub use profile::{Amount, Cycle, Holder, Profile, ProfileSource, SURVIVAL_TICKS, SiteStat};
pub use session::{Host, Mark, Origin, RuntimeInfo, Session, SessionId};
pub use site::{Frame, NativePlace, Site, SiteHolder, SiteId};
pub use snapshot::{
    Cause, Layer, Loss, OwnCost, ReadCost, Reading, ReadingStatus, SkewNanos, Snapshot, Tick,
};
