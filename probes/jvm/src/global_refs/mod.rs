//! Counts what native code holds in Java's heap: JNI's global references, all of them and those to the classes whose
//! number grows. A bridge between Python and Java has one for each Java object that Python holds.
//!
//! The world stands still while the JVM tells its roots. The heap is not walked: the time does not grow with it, but with
//! the number of references and of threads. It has the histogram's cadence and its longest pause.
//!
//! Never here: weak global references, which are no roots; the JVM tells those in words only.

mod growing;
mod roots;

use std::time::{Duration, Instant};

use leakline_core::{Cause, Details, Gauge, Tick, names};

use self::growing::Growing;
use crate::env::Frame;
use crate::histogram::HistogramOptions;
use crate::vm::Vm;

/// What is reckoned with before it was measured: most JVMs take less than a millisecond.
const GUESS: Duration = Duration::from_millis(5);
/// Failures in a row after which nobody tries again.
const MAX_FAILURES: u32 = 3;

/// Counts the global references of one JVM.
pub(crate) struct GlobalRefs {
    vm: Vm,
    options: HistogramOptions,
    growing: Growing,
    readings: u32,
    asked: bool,
    /// What the next count will take.
    reckoned: Duration,
    failures: u32,
}

impl GlobalRefs {
    /// Counts nothing yet.
    pub(crate) fn new(vm: Vm, options: HistogramOptions) -> Self {
        let growing = Growing::default();
        Self { vm, options, growing, readings: 0, asked: false, reckoned: GUESS, failures: 0 }
    }

    /// The next reading counts, whatever the cadence.
    pub(crate) fn ask(&mut self) {
        self.asked = true;
    }

    /// Counts if it is time to.
    pub(crate) fn read(&mut self, frame: &Frame<'_>, tick: &Tick, details: &mut Details) {
        let every = self.options.every;
        let regular = matches!(tick.cause, Cause::Baseline | Cause::Tick);
        let due = every > 0 && regular && self.readings.is_multiple_of(every);
        self.readings = self.readings.wrapping_add(u32::from(regular));
        if !(due || std::mem::take(&mut self.asked)) || self.failures >= MAX_FAILURES {
            return;
        }
        if self.reckoned > self.options.max_pause {
            details.notes.push(format!(
                "global references were not counted: it would stop the program for about {} ms, and {} ms are \
                 allowed (jvm.histogram_pause)",
                self.reckoned.as_millis(),
                self.options.max_pause.as_millis(),
            ));
            // That may have been a bad moment.
            self.reckoned = self.reckoned * 9 / 10;
            return;
        }
        let begun = Instant::now();
        match roots::count(frame, self.vm) {
            Ok(counted) => {
                self.failures = 0;
                self.reckoned = counted.pause;
                details.longest_stall = details.longest_stall.max(counted.pause);
                details.gauges.push(Gauge::count(names::JVM_GLOBAL_REFS, counted.total));
                for (class, count) in self.growing.follow(counted.classes) {
                    details.gauges.push(Gauge::count(format!("{}.{class}", names::JVM_GLOBAL_REFS), count));
                }
            }
            Err(error) => {
                self.failures += 1;
                self.reckoned = begun.elapsed();
                details.notes.push(format!("no global references: {error}"));
            }
        }
    }
}
