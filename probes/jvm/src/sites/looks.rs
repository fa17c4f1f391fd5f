//! When it is worth its pause to look which samples are garbage (`reach`): as long as no collection has looked at the old
//! generation since the baseline, for then nothing else tells a leak from garbage that was promoted.

use std::time::Duration;

use leakline_core::{Cause, Details, Tick};

use super::Heap;
use super::sampling::drop_garbage;
use crate::env::Frame;
use crate::histogram::HistogramOptions;
use crate::reckoned::Reckoned;
use crate::vm::Vm;

/// At every reading, if the pause is so small a part of the time between two; otherwise as often as objects are counted.
const SMALL_PART: u32 = 100;
/// An object that is live, with what it leads to: 250 to 500 ns on HotSpot 17 and 25.
const AN_OBJECT: Duration = Duration::from_nanos(400);

/// The looks at one JVM's samples.
pub(crate) struct Looks {
    vm: Vm,
    /// Cadence and longest pause.
    options: HistogramOptions,
    cost: Reckoned,
    readings: u32,
    /// When the last regular reading was, nanoseconds.
    last: u64,
    /// Collections of the old generation at the baseline.
    old: Option<u64>,
}

impl Looks {
    pub(crate) fn new(vm: Vm, options: HistogramOptions) -> Self {
        Self { vm, options, cost: Reckoned::guessed(AN_OBJECT), readings: 0, last: 0, old: None }
    }

    /// Looks, if it is worth it; all samples are live then. `left` is the time until the tick's deadline. Gives the bytes of all
    /// objects that are live.
    pub(super) fn look(
        &mut self,
        frame: &Frame<'_>,
        tick: &Tick,
        left: Duration,
        heap: Heap,
        details: &mut Details,
    ) -> Option<u64> {
        let Heap { old, objects, .. } = heap;
        if !matches!(tick.cause, Cause::Baseline | Cause::Tick) {
            return None;
        }
        let since = tick.at.boot_nanos.saturating_sub(std::mem::replace(&mut self.last, tick.at.boot_nanos));
        if matches!(tick.cause, Cause::Baseline) || self.old.is_none() {
            self.old = old;
        }
        let turn = self.readings;
        self.readings = self.readings.wrapping_add(1);
        if self.options.every == 0 || old.is_none() || self.old != old {
            return None;
        }
        // Where counting objects takes too long, this does all the more.
        let objects = objects?;
        let expected = self.cost.reckon(objects);
        if expected * SMALL_PART > Duration::from_nanos(since) && !turn.is_multiple_of(self.options.every) {
            return None;
        }
        // A reading that comes too late is lost: the pause may be twice what was reckoned.
        let most = self.options.max_pause.min(left / 2);
        if expected > most {
            self.cost.left_out();
            details.notes.push(format!(
                "Java's garbage is not told from what is live: with {objects} objects that would stop the program for about \
                 {} ms, and {} ms are left of this reading and of jvm.histogram_pause",
                expected.as_millis(),
                most.as_millis(),
            ));
            return None;
        }
        match drop_garbage(frame, self.vm) {
            Ok((live, pause)) => {
                self.cost.measured(objects, pause);
                details.longest_stall = details.longest_stall.max(pause);
                Some(live)
            }
            Err(error) => {
                details.notes.push(format!("Java's garbage is not told from what is live: {error}"));
                None
            }
        }
    }
}
