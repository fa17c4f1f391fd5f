//! Counts the objects of the Java heap by class, now and then, by the cheapest means that the JVM has: each implements
//! [`Means`], and what each costs is measured whenever it is used.
//!
//! Counting stops the world. So it has a cadence of its own, and a longest pause: how long it will take is reckoned from
//! the heap's size and from what it took before, and over that it is left out, and the reading says so.
//!
//! Never here: a collection that somebody asks for. What is only not collected yet is told apart by time (`floor`).

mod classes;
mod command;
mod cost;
mod floor;
mod iteration;
pub(crate) mod names;
mod parse;

use std::sync::Arc;
use std::time::{Duration, Instant};

use leakline_core::{Cause, Details, Profile, ProfileSource, Tick};

use self::classes::Classes;
use self::command::Command;
use self::cost::Cost;
use self::iteration::Iteration;
use crate::env::{Frame, Globals, Method};
use crate::error::JvmError;
use crate::vm::Vm;

/// How often objects are counted, and what that may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistogramOptions {
    /// At every so many readings, the first among them; 0: only when somebody asks.
    pub every: u32,
    /// The longest pause that is reckoned with.
    pub max_pause: Duration,
}

impl Default for HistogramOptions {
    fn default() -> Self {
        Self { every: 3, max_pause: Duration::from_millis(100) }
    }
}

/// The objects of one class.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Counted {
    /// As Java's source would have it: `byte[]`, `java.util.HashMap$Node`.
    name: String,
    count: u64,
    bytes: u64,
}

/// A way to count the objects of the heap by class.
trait Means: Send {
    /// In words for a user.
    fn name(&self) -> &'static str;

    /// Counts, on the lane's thread, which is in the JVM. The world stands still for about as long as it takes. After an
    /// error it may be tried again.
    fn count(&mut self, frame: &Frame<'_>) -> Result<Vec<Counted>, JvmError>;
}

/// Readings in a row at which a means may fail before it is given up.
const MAX_FAILURES: u32 = 3;

struct Way {
    means: Box<dyn Means>,
    cost: Cost,
    failures: u32,
}

/// Counts objects in one JVM.
pub(crate) struct Histogram {
    options: HistogramOptions,
    ways: Vec<Way>,
    heap: Heap,
    classes: Classes,
    /// Objects when they were counted last, garbage included; `None`: that failed, or was left out.
    objects: Option<u64>,
    readings: u32,
    asked: bool,
}

impl Histogram {
    /// Looks up what this JVM has. Counts nothing.
    pub(crate) fn find(
        frame: &Frame<'_>,
        vm: Vm,
        options: HistogramOptions,
        globals: &mut Globals,
    ) -> Result<Self, JvmError> {
        let mut ways = Vec::new();
        if let Ok(command) = Command::find(frame, globals) {
            let cost = Cost::of_command(command.threads());
            ways.push(Way { means: Box::new(command), cost, failures: 0 });
        }
        ways.push(Way { means: Box::new(Iteration::new(vm)), cost: Cost::of_iteration(), failures: 0 });
        let heap = Heap::find(frame, globals)?;
        Ok(Self {
            options,
            ways,
            heap,
            classes: Classes::default(),
            objects: None,
            readings: 0,
            asked: false,
        })
    }

    /// The next reading counts, whatever the cadence.
    pub(crate) fn ask(&mut self) {
        self.asked = true;
    }

    /// Counts if it is time to. `left` is the time until the tick's deadline, `collections` how many there were so far.
    pub(crate) fn read(
        &mut self,
        frame: &Frame<'_>,
        tick: &Tick,
        left: Duration,
        collections: Option<u64>,
        details: &mut Details,
    ) {
        let every = self.options.every;
        let regular = matches!(tick.cause, Cause::Baseline | Cause::Tick);
        let due = every > 0 && regular && self.readings.is_multiple_of(every);
        self.readings = self.readings.wrapping_add(u32::from(regular));
        if !(due || std::mem::take(&mut self.asked)) {
            return;
        }
        self.asked = false;
        match self.count(frame, left) {
            Ok((counted, pause)) => {
                self.objects = Some(counted.iter().map(|class| class.count).sum());
                details.longest_stall = details.longest_stall.max(pause);
                let stats = self.classes.stats(counted, collections);
                let source = ProfileSource::exact(ProfileSource::TYPES);
                details.profiles.push(Arc::new(Profile::new(source, stats)));
            }
            Err(reason) => details.notes.push(format!("no histogram of Java's classes: {reason}")),
        }
    }

    /// How many objects there were when they were counted last, garbage included; `None` where they never were.
    pub(crate) fn objects(&self) -> Option<u64> {
        self.objects
    }

    /// Counts by the means that is reckoned to be the cheapest; by the next, if it fails.
    fn count(&mut self, frame: &Frame<'_>, left: Duration) -> Result<(Vec<Counted>, Duration), String> {
        let used = self.heap.used(frame).map_err(|error| error.to_string())?;
        // A reading that comes too late is lost: the pause may be twice what was reckoned.
        let most = self.options.max_pause.min(left / 2);
        self.ways.sort_by_key(|way| way.cost.reckon(used));
        let mut failure = "every means of this JVM failed again and again".to_owned();
        for way in self.ways.iter_mut().filter(|way| way.failures < MAX_FAILURES) {
            let expected = way.cost.reckon(used);
            if expected > most {
                way.cost.left_out();
                return Err(too_long(way.means.name(), expected, used, most, self.options.max_pause));
            }
            let begun = Instant::now();
            match way.means.count(frame) {
                Ok(counted) => {
                    let pause = begun.elapsed();
                    way.cost.measured(used, pause);
                    way.failures = 0;
                    return Ok((counted, pause));
                }
                Err(error) => {
                    way.failures += 1;
                    failure = format!("{}: {error}", way.means.name());
                }
            }
        }
        Err(failure)
    }
}

fn too_long(means: &str, expected: Duration, used: u64, most: Duration, setting: Duration) -> String {
    let limit = if most < setting {
        format!("{} ms are left of this reading", most.as_millis())
    } else {
        format!("{} ms are allowed (jvm.histogram_pause)", most.as_millis())
    };
    format!(
        "with {} MiB in use, {means} would stop the program for about {} ms, and {limit}",
        used >> 20,
        expected.as_millis()
    )
}

/// How much of the heap is in use, garbage included: what has to be walked.
struct Heap {
    runtime: crate::env::Global,
    total: Method,
    free: Method,
}

impl Heap {
    fn find(frame: &Frame<'_>, globals: &mut Globals) -> Result<Self, JvmError> {
        let class = frame.class("java.lang.Runtime")?;
        let runtime = frame.static_object(class, "getRuntime", "Ljava/lang/Runtime;")?;
        Ok(Self {
            runtime: frame.keep(runtime, globals)?,
            total: frame.method(class, "totalMemory", "()J", globals)?,
            free: frame.method(class, "freeMemory", "()J", globals)?,
        })
    }

    fn used(&self, frame: &Frame<'_>) -> Result<u64, JvmError> {
        let total = frame.number(self.runtime, &self.total)?;
        let free = frame.number(self.runtime, &self.free)?;
        Ok(u64::try_from(total.saturating_sub(free)).unwrap_or(0))
    }
}
