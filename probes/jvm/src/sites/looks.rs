//! When it is worth its pause to count what is live, and to look which samples are garbage (`reach`): as long as no collection has
//! looked at the old generation since the baseline, for then nothing else tells a leak from garbage that was promoted.

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
/// An object that is garbage, of which HotSpot looks at the mark only. What is live takes 150 to 400 ns; but nobody knows
/// beforehand how much that is, and a walk may be broken off.
const AN_OBJECT: Duration = Duration::from_nanos(10);
/// A walk that was broken off would have taken so many times as long, for all that is known.
const BROKEN_OFF: u32 = 2;

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
        let objects = objects?;
        let expected = self.cost.reckon(objects);
        if expected * SMALL_PART > Duration::from_nanos(since) && !turn.is_multiple_of(self.options.every) {
            return None;
        }
        // A reading that comes too late is lost: the pause may be twice what was reckoned.
        let most = self.options.max_pause.min(left / 2);
        if expected > most {
            self.cost.left_out();
            details.notes.push(too_long(objects, expected, most));
            return None;
        }
        // The marks of garbage come after the walk.
        let marks = AN_OBJECT.saturating_mul(u32::try_from(objects).unwrap_or(u32::MAX));
        match drop_garbage(frame, self.vm, most.saturating_sub(marks)) {
            Ok((live, pause)) => {
                details.longest_stall = details.longest_stall.max(pause);
                let whole = if live.is_some() { pause } else { pause.max(most) * BROKEN_OFF };
                self.cost.measured(objects, whole);
                if live.is_none() {
                    details.notes.push(too_long(objects, whole, most));
                }
                live
            }
            Err(error) => {
                details.notes.push(format!("Java's garbage is not told from what is live: {error}"));
                None
            }
        }
    }
}

fn too_long(objects: u64, expected: Duration, most: Duration) -> String {
    format!(
        "Java's garbage is not told from what is live: with {objects} objects that would stop the program for about {} ms, and {} \
         ms are left of this reading and of jvm.histogram_pause",
        expected.as_millis(),
        most.as_millis(),
    )
}
