//! From the Python objects that Java holds to the wrappers of Java objects that can be reached from there: Python's half of
//! a cycle across the two heaps (see [`leakline_probing::across`]).
//!
//! Those that Java holds are found by the walk of a census. From each one goes on breadth first, by the types' own
//! functions for the collector; all of one in one stretch under the GIL, so that addresses stay those of objects. What was
//! found is held by references of our own until it was handed over, and given back as a census does.
//!
//! Never here: an attribute of the host's, a reference given back that may be the last, a wrapper's memory. JPype's own
//! functions are called to hand over; they let go of the GIL for what takes long.

mod bridges;
mod path;
mod reach;

use std::time::{Duration, Instant};

use leakline_probing::across::{Bridge, Pair, Reached, Wanted};
use leakline_python::wire::CensusRequest;
use pyo3::prelude::*;
use rustc_hash::FxHashSet;

use self::bridges::{Kinds, Leaving};
pub(super) use self::bridges::{is_bridged, is_wrappers};
use self::reach::Reach;
use super::layout::{self, Known, Object};
use super::lists::{Flow, Progress, Walk};
use super::release::Held;
use super::{Census, End, STEPS, broken, is_readable};
use crate::gate::Inside;
use crate::runtime::Collector;
use crate::stretch::Stretches;

/// Time without the GIL between two stretches.
const PAUSE_MICROS: u32 = 200;
/// Objects among which those that Java holds are looked for.
const MAX_OBJECTS: u64 = 20_000_000;

/// A pair by its addresses, both of which are held.
struct Link {
    held: usize,
    wrapper: usize,
}

/// Searches, in as many stretches as it takes. Needs nothing of the interpreter but what it gets hold of itself.
pub(crate) fn across(wanted: &Wanted, inside: &Inside<'_>) -> PyResult<Result<Reached, String>> {
    let mut stretches = Stretches::default();
    let (known, collector) =
        stretches.run(inside, |py, _| Ok::<_, PyErr>((Known::new(py), Collector::new(py)?)))?;
    let request = CensusRequest {
        max_stretch_micros: wanted.max_stretch_micros,
        max_total_micros: wanted.max_total_micros,
        max_wall_micros: wanted.max_wall_micros,
        pause_micros: PAUSE_MICROS,
        ..CensusRequest::default()
    };
    let mut kept = Held::default();
    let census = Census {
        request: &request,
        inside,
        collector: &collector,
        known: &known,
        held: &mut kept,
        begun: Instant::now(),
        stretches,
    };
    let mut search = Search { census, wanted, reached: Reached::default(), links: Vec::new() };
    let done = search.run();
    let Search { census, reached, .. } = search;
    let stretches = census.stretches;
    if is_readable() {
        Stretches::default().run(inside, |py, _| {
            kept.give_back(py);
            drop(collector);
        });
    } else {
        // The interpreter is going, and takes with it what is referred to.
        std::mem::forget(collector);
    }
    Ok(done?.map(|()| Reached {
        held_nanos: stretches.held.as_nanos() as u64,
        longest_nanos: stretches.longest.as_nanos() as u64,
        ..reached
    }))
}

struct Search<'a> {
    census: Census<'a>,
    wanted: &'a Wanted,
    reached: Reached,
    links: Vec<Link>,
}

impl Search<'_> {
    fn run(&mut self) -> PyResult<Result<(), String>> {
        let bridge = &self.wanted.bridge;
        let begun = self.census.stretch(|census, py, _| {
            if let Err(reason) = layout::check(py)? {
                return Ok(Err(reason));
            }
            let kinds = match Kinds::find(py, bridge) {
                Ok(kinds) => kinds,
                Err(reason) => return Ok(Err(reason)),
            };
            let walk = Walk::begin(py, census.collector.collections(py)?)?;
            Ok(walk.map(|walk| (kinds, walk)))
        })?;
        let (mut kinds, mut walk) = match begun {
            Ok(begun) => begun,
            Err(reason) => return Ok(Err(reason)),
        };
        let held = self.held(&mut kinds, &mut walk);
        if is_readable() {
            self.census.stretch(|_, py, _| {
                walk.end(py);
                Ok(())
            })?;
        }
        let held = match held? {
            Ok(held) => held,
            Err(reason) => return Ok(Err(reason)),
        };
        self.reached.held = held.len() as u64;
        if let Err(reason) = self.reach(&mut kinds, &held)? {
            return Ok(Err(reason));
        }
        self.hand_over()
    }

    /// What Java holds, with a reference of our own to each.
    fn held(&mut self, kinds: &mut Kinds, walk: &mut Walk) -> PyResult<Result<Vec<usize>, String>> {
        let most = self.wanted.most_held as usize;
        let (mut found, mut met, mut too_many) = (FxHashSet::default(), 0_u64, false);
        let mut order = Vec::new();
        let done = self.census.pieces(|census, py, is_over| {
            let progress = walk.go_on(py, |object| {
                met += 1;
                if !object.is_dying() && kinds.is_held(object) {
                    if order.len() == most {
                        too_many = true;
                    } else if found.insert(object.address()) {
                        census.held.hold(object);
                        order.push(object.address());
                    }
                }
                let pauses = met.is_multiple_of(STEPS) && (is_over() || met > MAX_OBJECTS);
                if pauses { Flow::PauseAfter } else { Flow::GoOn }
            });
            Ok(match progress {
                Progress::Broken => Some(Err(broken())),
                Progress::Paused if met > MAX_OBJECTS => Some(Err(End::TooMany)),
                Progress::Paused => None,
                Progress::Done => Some(Ok(())),
            })
        })?;
        if too_many {
            self.bound(format!("only {most} of the Python objects that Java holds were looked at"));
        }
        Ok(self.end(done).map(|()| order))
    }

    /// From each on to wrappers.
    fn reach(&mut self, kinds: &mut Kinds, held: &[usize]) -> PyResult<Result<(), String>> {
        let wanted = self.wanted;
        let mut reach = Reach::new(wanted.most_of_one as usize);
        let mut next = held.iter();
        let (links, pairs) = (&mut self.links, &mut self.reached.pairs);
        let (most, mut too_many) = (wanted.most_pairs as usize, false);
        let done = self.census.pieces(|census, py, is_over| {
            reach.begin_stretch(py, kinds, census.known);
            for address in next.by_ref() {
                // SAFETY: a reference of ours keeps it alive.
                let object = unsafe { Object::at(py, *address) };
                for (wrapper, path) in reach.from(object, kinds, census.known) {
                    if pairs.len() == most {
                        too_many = true;
                        return Ok(Some(Ok(())));
                    }
                    census.held.hold(wrapper);
                    links.push(Link { held: *address, wrapper: wrapper.address() });
                    pairs.push(Pair { held: *address as u64, path });
                }
                if is_over() {
                    return Ok(None);
                }
            }
            Ok(Some(Ok(())))
        })?;
        self.reached.objects = reach.visited;
        if reach.cut > 0 {
            let (count, most) = (reach.cut, wanted.most_of_one);
            self.bound(format!("from {count} of them only {most} Python objects each were visited"));
        }
        if too_many {
            self.bound(format!("only {most} ways from Java through Python to Java were followed"));
        }
        Ok(self.end(done))
    }

    fn hand_over(&mut self) -> PyResult<Result<(), String>> {
        if self.links.is_empty() {
            return Ok(Ok(()));
        }
        if !is_readable() {
            return Ok(Err("the interpreter is ending".to_owned()));
        }
        let (links, wanted) = (&self.links, self.wanted);
        match wanted.bridge {
            Bridge::Jpype => {
                let count = links.len();
                let begun =
                    self.census.stretch(|_, py, _| Ok(Leaving::begin(py, count).map_err(words(py))))?;
                let leaving = match begun {
                    Ok(leaving) => leaving,
                    Err(reason) => return Ok(Err(reason)),
                };
                let mut left = links.iter().enumerate();
                let done = self.census.pieces(|_, py, is_over| {
                    for (index, link) in left.by_ref() {
                        if let Err(error) = leaving.put(py, index, link) {
                            return Ok(Some(Err(End::Unsupported(words(py)(error)))));
                        }
                        if is_over() {
                            return Ok(None);
                        }
                    }
                    Ok(Some(Ok(())))
                })?;
                // What was not put in has no object, and is passed over.
                let done = self.end(done);
                if !is_readable() {
                    return Ok(Err("the interpreter is ending".to_owned()));
                }
                let left = self.census.stretch(|_, py, _| Ok(leaving.end(py).map_err(words(py))))?;
                Ok(done.and(left))
            }
            Bridge::Jep { hand_over, context, .. } => {
                let mut left = links.iter();
                let done = self.census.pieces(|_, py, is_over| {
                    for link in left.by_ref() {
                        bridges::hand_over(py, hand_over, context, link);
                        if is_over() {
                            return Ok(None);
                        }
                    }
                    Ok(Some(Ok(())))
                })?;
                let all = links.len() - left.len();
                self.reached.pairs.truncate(all);
                Ok(self.end(done))
            }
        }
    }

    /// What ended early is told; what came to nothing is why.
    fn end(&mut self, done: Result<(), End>) -> Result<(), String> {
        match done {
            Ok(()) => Ok(()),
            Err(End::Gone) => Err("the interpreter is ending".to_owned()),
            Err(End::Unsupported(reason)) => Err(reason),
            Err(End::TooMany) => {
                let total = Duration::from_micros(self.wanted.max_total_micros);
                self.bound(format!(
                    "Python's part of the search took as long as it may ({total:?} of its lock)"
                ));
                Ok(())
            }
        }
    }

    fn bound(&mut self, words: String) {
        self.reached.bounds.push(words);
    }
}

fn words(py: Python<'_>) -> impl Fn(PyErr) -> String {
    move |error| error.value(py).to_string()
}
