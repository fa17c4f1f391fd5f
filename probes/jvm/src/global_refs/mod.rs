//! Counts what native code holds in Java's heap: JNI's global references and weak ones, and of the former those to the
//! classes whose number grows; and class loaders, since all classes are at hand. A bridge between Python and Java has a
//! global reference for each Java object that Python holds.
//!
//! - `handles`: how many there are, at every reading, from the JVM's own counts, where HotSpot shows them;
//! - `roots`, `growing`: by class, and how many where it does not. The world stands still while the JVM tells its roots. The
//!   heap is not walked: the time does not grow with it, but with the number of references and of threads. It has the
//!   histogram's cadence and its longest pause.
//!
//! Never here: weak global references by class, which are no roots; a dump of all threads' stacks, at whose end HotSpot tells
//! their number too: a pause that grows with threads and frames.

mod growing;
mod handles;
mod roots;

use std::time::Duration;

use leakline_core::{Cause, Details, Gauge, Tick, names};

use self::growing::Growing;
use self::handles::{Handles, Unknown};
use crate::env::Frame;
use crate::histogram::HistogramOptions;
use crate::reckoned::Reckoned;
use crate::vm::Vm;

/// Failures in a row after which nobody tries again.
const MAX_FAILURES: u32 = 3;

/// Readings that try to find out where the JVM counts, if the host disturbs it.
const MAX_TRIALS: u32 = 16;

/// A thread with a stack of thirty frames: some 30 microseconds of its roots, and before that as much and more for each
/// thread that HotSpot holds while it undoes optimised allocations.
const A_THREAD: Duration = Duration::from_micros(150);

/// Counts the global references of one JVM.
pub(crate) struct GlobalRefs {
    vm: Vm,
    options: HistogramOptions,
    growing: Growing,
    readings: u32,
    asked: bool,
    cost: Reckoned,
    failures: u32,
    handles: Result<Handles, Unknown>,
    trials: u32,
}

/// References that are leakline's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own {
    pub(crate) global: u64,
    pub(crate) weak: u64,
}

impl GlobalRefs {
    /// Counts nothing yet. The frame is of a thread in `vm`.
    pub(crate) fn new(frame: &Frame<'_>, vm: Vm, options: HistogramOptions) -> Self {
        let (growing, cost) = (Growing::default(), Reckoned::guessed(A_THREAD));
        let handles = Handles::find(frame);
        Self { vm, options, growing, readings: 0, asked: false, cost, failures: 0, handles, trials: 1 }
    }

    /// The JVM's own counts, where it shows them.
    pub(crate) fn gauges(&self, own: Own) -> impl Iterator<Item = Gauge> {
        let counts = self.handles.ok().and_then(Handles::read);
        counts.into_iter().flat_map(move |counts| {
            [
                Gauge::count(names::JVM_GLOBAL_REFS, counts.global.saturating_sub(own.global)),
                Gauge::count(names::JVM_WEAK_GLOBAL_REFS, counts.weak.saturating_sub(own.weak)),
            ]
        })
    }

    /// Tries again to find the JVM's own counts where the host disturbed it, and says when they are not known.
    fn find(&mut self, frame: &Frame<'_>, details: &mut Details) {
        if self.handles == Err(Unknown::Disturbed) && self.trials < MAX_TRIALS {
            self.trials += 1;
            self.handles = Handles::find(frame);
        }
        if let Err(unknown) = self.handles {
            details.notes.push(format!("no number of weak global references: {}", unknown.reason()));
        }
    }

    /// The next reading counts, whatever the cadence.
    pub(crate) fn ask(&mut self) {
        self.asked = true;
    }

    /// Counts by class if it is time to. `left` is the time until the tick's deadline.
    pub(crate) fn read(
        &mut self,
        frame: &Frame<'_>,
        tick: &Tick,
        left: Duration,
        own: Own,
        details: &mut Details,
    ) {
        self.find(frame, details);
        let every = self.options.every;
        let regular = matches!(tick.cause, Cause::Baseline | Cause::Tick);
        let due = every > 0 && regular && self.readings.is_multiple_of(every);
        self.readings = self.readings.wrapping_add(u32::from(regular));
        if !(due || std::mem::take(&mut self.asked)) || self.failures >= MAX_FAILURES {
            return;
        }
        let threads = threads();
        let reckoned = self.cost.reckon(threads);
        // A reading that comes too late is lost: the pause may be twice what was reckoned.
        let most = self.options.max_pause.min(left / 2);
        if reckoned > most {
            details.notes.push(format!(
                "global references were not counted: it would stop the program for about {} ms, and {} ms are left of \
                 this reading and of jvm.histogram_pause",
                reckoned.as_millis(),
                most.as_millis(),
            ));
            self.cost.left_out();
            return;
        }
        match roots::count(frame, self.vm) {
            Ok(counted) => {
                self.failures = 0;
                self.cost.measured(threads, counted.pause);
                details.longest_stall = details.longest_stall.max(counted.pause);
                if self.handles.is_err() {
                    let total = counted.total.saturating_sub(own.global);
                    details.gauges.push(Gauge::count(names::JVM_GLOBAL_REFS, total));
                }
                details.gauges.push(Gauge::count(names::JVM_CLASS_LOADERS, counted.loaders));
                for (class, count) in self.growing.follow(counted.classes) {
                    details.gauges.push(Gauge::count(format!("{}.{class}", names::JVM_GLOBAL_REFS), count));
                }
            }
            Err(error) => {
                self.failures += 1;
                details.notes.push(format!("no global references: {error}"));
            }
        }
    }
}

/// How many threads the process has: most of the time goes into their stacks.
fn threads() -> u64 {
    std::fs::read_dir("/proc/self/task").map_or(1, |threads| threads.count() as u64)
}
