//! Cycles across the two heaps, which neither collector can free: Java holds a Python object, from which a Python wrapper
//! of a Java object is reached, from which Java's hold on that Python object is reached. Searched for on request only.
//!
//! - Python's half is found by the probe of Python (`leakline_probing::across`), which is asked while this thread is in the
//!   JVM: it takes the GIL in short stretches, and hands the wrappers' Java objects over by what JPype or jep offer.
//! - Java's half is found by reading fields one by one, without the GIL, while the program runs.
//!
//! - The thread is no daemon meanwhile: who destroys the JVM waits for it, for otherwise HotSpot would stop it for good in
//!   the middle of a stretch under the GIL. Where the JVM's end has begun, nothing is searched for (`ending`).
//!
//! Never here: a pause of either runtime, a finaliser of the host's, a wrapper's memory. The JVM is called under the GIL in
//! one place, where jep is asked for the object behind a wrapper: that reads a reference, and takes no lock.

mod ending;
mod graph;
mod handed;
mod java_half;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use leakline_core::Cycle;
use leakline_probing::across::{self, Reached, Wanted};

use self::graph::Graph;
use self::handed::Handed;
use self::java_half::{Bounds, Outcome};
use crate::error::BridgeError;
use crate::java::Frame;
use crate::tables::Bridge;

/// Bounds of a search. Each has its reason.
mod bound {
    use std::time::Duration;

    /// Python objects that Java holds, looked at: a leak shows in the first few.
    pub(super) const MOST_HELD: u32 = 20_000;
    /// Python objects visited from one of them: about a millisecond under the GIL.
    pub(super) const MOST_PYTHON: u32 = 5000;
    /// Ways that are followed into Java: a local reference or two each.
    pub(super) const MOST_PAIRS: u32 = 4000;
    /// Java objects visited from one of them, each some microseconds.
    pub(super) const MOST_JAVA: usize = 5000;
    /// All of them together.
    pub(super) const MOST_JAVA_IN_ALL: u64 = 200_000;
    /// Under the GIL, all stretches together.
    pub(super) const GIL: Duration = Duration::from_millis(250);
    /// Longest stretch.
    pub(super) const STRETCH: Duration = Duration::from_millis(2);
    /// The whole, from beginning to end.
    pub(super) const WALL: Duration = Duration::from_secs(10);
    /// Kinds of cycles that are told.
    pub(super) const MOST_KINDS: usize = 50;
}

/// What a search found, and cost.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Most frequent first.
    pub(crate) cycles: Vec<Cycle>,
    /// In words for a user.
    pub(crate) notes: Vec<String>,
    pub(crate) gil_held: Duration,
    pub(crate) longest_stall: Duration,
}

/// Searches within `left`, on a thread that is in the JVM, in a frame with tools.
pub(crate) fn search(frame: &Frame<'_>, bridge: Bridge, left: Duration) -> Result<Found, BridgeError> {
    let begun = Instant::now();
    let not_looked = |reason: &str| Ok(Found { notes: vec![reason.to_owned()], ..Found::default() });
    if bridge == Bridge::Chaquopy {
        return not_looked("cycles are looked for through JPype and jep only");
    }
    let wall = bound::WALL.min(left * 7 / 10);
    let Some(ask) = across::search() else {
        return not_looked(
            "cycles are looked for only together with the probe of Python, which is not at work",
        );
    };
    ending::check(frame)?;
    let mut handed = Handed::prepare(frame, bridge)?;
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let wanted = Wanted {
        bridge: handed.bridge()?,
        most_held: bound::MOST_HELD,
        most_of_one: bound::MOST_PYTHON,
        most_pairs: bound::MOST_PAIRS,
        max_stretch_micros: u32::try_from(micros(bound::STRETCH)).unwrap_or(u32::MAX),
        max_total_micros: micros(bound::GIL),
        max_wall_micros: micros(wall / 2),
    };
    let reached = match ask(&wanted) {
        Ok(reached) => reached,
        Err(reason) => {
            frame.forget_thrown();
            let notes = vec![format!("cycles could not be looked for: {reason}")];
            return Ok(Found { notes, ..Found::default() });
        }
    };
    frame.forget_thrown();
    handed.take(&reached)?;
    Ok(join(frame, &handed, reached, begun + wall))
}

/// Follows each pair through Java, and adds up what is found.
fn join(frame: &Frame<'_>, handed: &Handed<'_>, reached: Reached, until: Instant) -> Found {
    let mut notes = reached.bounds;
    let mut kinds: HashMap<(String, String), u64> = HashMap::new();
    let (mut java_objects, mut cut, mut last_found) = (0, 0_u64, None);
    if let Some(tools) = frame.tools() {
        let mut graph = Graph::new(frame, tools);
        let mut bounds = Bounds { most_of_one: bound::MOST_JAVA, left: bound::MOST_JAVA_IN_ALL, until };
        for (index, pair) in reached.pairs.into_iter().enumerate() {
            // Each Python object that is held counts once.
            if last_found == Some(pair.held) {
                continue;
            }
            let Some(from) = handed.wrapped(index) else { continue };
            let is_wanted = |object, class: &str| handed.is_hold(frame, object, class, index, pair.held);
            match java_half::search(frame, &mut graph, from, &mut bounds, is_wanted) {
                Outcome::Found(java) => {
                    last_found = Some(pair.held);
                    *kinds.entry((pair.path, java)).or_default() += 1;
                }
                Outcome::Cut => cut += 1,
                Outcome::Nothing => {}
            }
        }
        java_objects = bound::MOST_JAVA_IN_ALL - bounds.left;
    }
    if cut > 0 {
        notes
            .push(format!("{cut} searches through Java's objects ended early, at as many as may be visited"));
    }
    let mut cycles: Vec<Cycle> =
        kinds.into_iter().map(|((python, java), count)| Cycle { python, java, count }).collect();
    cycles.sort_by(|a, b| {
        b.count.cmp(&a.count).then_with(|| a.python.cmp(&b.python)).then_with(|| a.java.cmp(&b.java))
    });
    let count: u64 = cycles.iter().map(|cycle| cycle.count).sum();
    let found = if count == 0 { "no cycle".to_owned() } else { format!("{count} Python objects in cycles") };
    let looked = format!(
        "{found} across the two heaps: {} Python objects that Java holds, {} objects of Python and {java_objects} of \
         Java visited",
        reached.held, reached.objects
    );
    notes.insert(0, looked);
    if cycles.len() > bound::MOST_KINDS {
        notes.push(format!("{} further kinds of cycles are not told", cycles.len() - bound::MOST_KINDS));
        cycles.truncate(bound::MOST_KINDS);
    }
    Found {
        cycles,
        notes,
        gil_held: Duration::from_nanos(reached.held_nanos),
        longest_stall: Duration::from_nanos(reached.longest_nanos),
    }
}
