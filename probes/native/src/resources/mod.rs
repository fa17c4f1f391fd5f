//! What the host holds beside memory: descriptors by kind, threads by name. Mappings are counted with the memory map.
//! Never keeps a descriptor of its own open, asks no file system, and allocates nothing in the host's malloc.

mod descriptors;
mod entries;
mod threads;

use leakline_core::{Clock, Details, Gauge};

use crate::error::NativeError;
use crate::pace::Pace;
use crate::process::{Instants, ProcessOptions};
use crate::target::Target;

/// More threads are not asked for their names: some 25 ms.
const MOST_THREADS: u32 = 5_000;

/// Reads each resource, and less often when that is slow.
pub(crate) struct Resources {
    target: Target,
    kinds: Pace,
    threads: Pace,
    most_descriptors: u32,
}

impl Resources {
    /// Has read nothing yet.
    pub(crate) fn new(target: Target, options: &ProcessOptions) -> Self {
        let pace = || Pace::new(options.quick, options.rest_factor);
        Self { target, kinds: pace(), threads: pace(), most_descriptors: options.max_descriptors }
    }

    /// Adds the gauges that are due, and a note for each that could not be read.
    pub(crate) fn read(&mut self, clock: &dyn Clock, details: &mut Details) {
        let (most, target) = (self.most_descriptors, &self.target);
        paced(&mut self.kinds, clock, details, "descriptors' kinds", || descriptors::by_kind(target, most));
        paced(&mut self.threads, clock, details, "threads' names", || threads::by_name(target, MOST_THREADS));
    }
}

/// `Ok(None)` is "more than are counted".
fn paced(
    pace: &mut Pace,
    clock: &dyn Clock,
    details: &mut Details,
    what: &str,
    count: impl FnOnce() -> Result<Option<Vec<Gauge>>, NativeError>,
) {
    let started = Instants::now(clock);
    if let Err(took) = pace.due(started.boot_nanos) {
        details.notes.push(format!("{what} not counted this tick: the last count took {took:.1?}"));
        return;
    }
    let outcome = count();
    let (ended, cost) = started.cost(clock);
    pace.took(ended.boot_nanos, cost);
    match outcome {
        Ok(Some(gauges)) => details.gauges.extend(gauges),
        Ok(None) => details.notes.push(format!("{what} not counted: too many")),
        Err(error) => details.notes.push(format!("{what} not counted: {error}")),
    }
}
