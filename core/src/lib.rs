//! The words of leakline as types, the two traits that everything plugs into, the scheduler that aligns them,
//! and the verdict.
//!
//! Never here: a wire format, JNI, Python, files, sockets, or anything that runs on one operating system only.

mod clock;
mod command;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod descriptors;
mod fanout;
mod growth;
mod interval;
#[cfg(unix)]
mod kept;
mod lane;
mod ledger;
mod model;
mod probe;
mod request;
mod scheduler;
mod sink;
#[cfg(any(test, feature = "synthetic"))]
pub mod synthetic;
pub mod text;
mod verdict;

pub use clock::{Clock, Timestamp};
pub use command::{Command, CommandReceiver, CommandSender, command_channel};
pub use descriptors::{OwnDescriptor, own_descriptors};
pub use growth::{Growth, GrowthTracker, ProfileGrowth, SiteGrowth};
pub use interval::interval_95;
#[cfg(unix)]
pub use kept::KeptFile;
pub use lane::room_for_a_thread;
pub use ledger::{Ledger, LedgerPart, PartSource};
pub use model::{
    Amount, Cause, Cycle, Fingerprint, Frame, Gauge, GaugeKind, HOLDERS_OF_PYTHON, Holder, Host, Layer, Loss,
    Mark, NativePlace, Origin, OwnCost, Profile, ProfileSource, ReadCost, Reading, ReadingStatus,
    RuntimeInfo, SURVIVAL_TICKS, Session, SessionId, Site, SiteHolder, SiteId, SiteStat, SkewNanos, Snapshot,
    Tick, Unit, names,
};
pub use probe::{Attachment, Details, GaugeReading, Probe, ProbeError};
pub use request::{Asked, ProbeRequest, Window, WindowSource};
pub use scheduler::{Ending, Own, Scheduler, SchedulerHandle, SchedulerOptions, StartError, Stopped};
pub use sink::{Record, Sink, SinkError, SinkStats};
pub use verdict::{
    CloserLook, Evidence, ExplainedBy, Explanation, Fragmentation, FragmentationWatch, GrowingResource,
    GrowthPerMark, Kind, PartVerdict, PartWatch, Rate, Remedy, ResourceWatch, Share, Subject, Verdict,
    VerdictEngine, explanations, growth_per_mark, interval_per_minute, verdict_line,
};
