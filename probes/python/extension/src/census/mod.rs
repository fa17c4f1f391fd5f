//! A census: how many objects of each type the garbage collector knows, how many bytes they are, which types grow, and
//! who holds what they grew by. Taken in short stretches under the GIL, by walking the collector's own lists (see
//! [`lists`]); no reference is made to any object but types, and nothing of the host's is run.
//!
//! Reads the main interpreter only: subinterpreters have lists of their own. Untracked objects (numbers, strings, bytes,
//! and tuples and dicts of nothing else) are not in any list, and so not in a census.
//!
//! In versions that nobody has seen, those with an incremental collector (3.14.0 to 3.14.4), and builds that keep objects
//! differently, there is no census, and a note says why. `gc.get_objects()` would hold up everybody for 13 to 33 ms with a million objects, and run the
//! host's finalisers here if it were read in pieces; what is done here takes as long in all, in pieces of 2 ms.

mod across;
mod count;
mod layout;
mod lists;
mod place;
mod release;
mod search;
mod seen;

use std::time::{Duration, Instant};

use leakline_python::wire::{CensusAnswer, CensusCost, CensusOutcome, CensusRequest, TypeCount};
use pyo3::prelude::*;
use rustc_hash::FxHashMap;

pub(crate) use self::across::across;
use self::count::{Counts, Named};
use self::layout::Known;
use self::lists::{Flow, Progress, Walk};
use self::release::Held;
use self::search::{Search, Target};
use self::seen::Seen;
use crate::gate::{GATE, Inside};
use crate::runtime::{Collector, is_finalizing};
use crate::stretch::Stretches;

/// Objects between two looks at the clock.
const STEPS: u64 = 64;
/// How often a count is begun anew because a full collection has changed the order of the objects.
const MAX_RESTARTS: u32 = 2;

/// What is kept from one census to the next: numbers and names, and references that could not be given back yet.
#[derive(Default)]
pub(crate) struct State {
    known: Option<Known>,
    previous: Option<Previous>,
    held: Held,
}

/// What the census before counted.
struct Previous {
    /// Count and bytes by type.
    types: FxHashMap<String, (u64, u64)>,
    visited: u64,
    seen: Seen,
}

/// Why a census ends early.
enum End {
    Gone,
    TooMany,
    Unsupported(String),
}

/// One census.
struct Census<'a> {
    request: &'a CensusRequest,
    inside: &'a Inside<'a>,
    collector: &'a Collector,
    known: &'a Known,
    held: &'a mut Held,
    begun: Instant,
    stretches: Stretches,
}

/// Takes a census, in as many stretches as it needs.
pub(crate) fn take(
    state: &mut State,
    collector: &Collector,
    request: &CensusRequest,
    inside: &Inside<'_>,
) -> PyResult<CensusAnswer> {
    let begun = Instant::now();
    let mut answer = CensusAnswer::default();
    let known = match &mut state.known {
        Some(known) => known,
        empty => empty.insert(Stretches::default().run(inside, |py, _| Known::new(py))),
    };
    let stretches = Stretches::default();
    let mut census = Census { request, inside, collector, known, held: &mut state.held, begun, stretches };
    let outcome = census.take(&mut state.previous, &mut answer);
    answer.cost = CensusCost {
        gil_held_nanos: census.stretches.held.as_nanos() as u64,
        longest_stretch_nanos: census.stretches.longest.as_nanos() as u64,
        stretches: census.stretches.count,
    };
    answer.outcome = match outcome? {
        Ok(()) => CensusOutcome::Taken,
        Err(End::Gone) => CensusOutcome::Interrupted,
        Err(End::TooMany) => CensusOutcome::TooMany,
        Err(End::Unsupported(reason)) => CensusOutcome::Unsupported { reason },
    };
    Ok(answer)
}

impl Census<'_> {
    fn take(
        &mut self,
        previous: &mut Option<Previous>,
        answer: &mut CensusAnswer,
    ) -> PyResult<Result<(), End>> {
        let begun = self.stretch(|census, py, _| {
            census.held.give_back(py);
            match layout::check(py)? {
                Ok(()) => Walk::begin(py, census.collector.collections(py)?),
                Err(reason) => Ok(Err(reason)),
            }
        })?;
        let mut walk = match begun {
            Ok(walk) => walk,
            Err(reason) => return Ok(Err(End::Unsupported(reason))),
        };
        let done = self.all(&mut walk, previous, answer)?;
        if !matches!(done, Err(End::Gone)) {
            self.pause();
            if is_readable() {
                self.stretch(|census, py, _| {
                    walk.end(py);
                    census.held.give_back(py);
                    Ok(())
                })?;
            }
        }
        Ok(done)
    }

    fn all(
        &mut self,
        walk: &mut Walk,
        previous: &mut Option<Previous>,
        answer: &mut CensusAnswer,
    ) -> PyResult<Result<(), End>> {
        let mut counts = Counts::default();
        let mut seen = Seen::for_objects(previous.as_ref().map(|previous| previous.visited));
        if let Err(end) = self.count(walk, &mut counts, &mut seen, answer)? {
            return Ok(Err(end));
        }
        answer.wrappers = self.stretch(|_, py, _| Ok(across::is_bridged(py)))?.then_some(counts.wrappers);
        answer.visited = counts.totals.iter().map(|total| total.count).sum();
        answer.distinct_types = counts.totals.len() as u32;
        answer.bytes = counts.totals.iter().map(|total| total.bytes).sum();
        let targets = targets(&counts, previous.as_ref(), self.request.holder_types as usize);
        answer.types = types(&counts, previous.as_ref(), self.request.max_types as usize, targets.len());
        let now = counts.totals.iter().map(|total| (total.name.clone(), (total.count, total.bytes)));
        let now = Previous { types: now.collect(), visited: counts.visited, seen };
        let before = previous.replace(now);
        if targets.is_empty() {
            return Ok(Ok(()));
        }
        let types = counts.types().filter_map(|(address, name)| {
            Some((address, targets.iter().position(|target| *target == name)? as u32))
        });
        let types = types.collect();
        let targets = targets.iter().filter_map(|name| counts.totals.get(*name as usize));
        let targets = targets.map(|total| Target::new(total.name.clone(), total.count, grown(total, answer)));
        let mut search = Search::new(targets.collect(), types, self.request.samples as usize);
        let end = match self.search(walk, &mut search, before.as_ref().map(|before| &before.seen))? {
            Ok(()) => Ok(()),
            // What was counted is whole all the same.
            Err(End::TooMany | End::Unsupported(_)) => {
                answer.holders_cut = true;
                Ok(())
            }
            Err(End::Gone) => Err(End::Gone),
        };
        answer.edges = search.edges;
        answer.holders = search.holders(self.request.max_holders as usize, answer.holders_cut);
        Ok(end)
    }

    /// Counts all objects, then names their types.
    fn count(
        &mut self,
        walk: &mut Walk,
        counts: &mut Counts,
        seen: &mut Seen,
        answer: &mut CensusAnswer,
    ) -> PyResult<Result<(), End>> {
        let mut restarts = 0;
        loop {
            let mut collections = None;
            let mut may_come_again = false;
            let max = self.request.max_objects;
            let done = self.pieces(|census, py, is_over| {
                let before = *collections.get_or_insert_with(|| walk.full_collections(py));
                // A full collection moves some objects to the end, where they come again.
                may_come_again |= walk.full_collections(py) != before || walk.may_meet_again(py);
                let may_come_again = may_come_again;
                let progress = walk.go_on(py, |object| {
                    let kind = object.kind().address();
                    if may_come_again && seen.contains(object.address(), kind) {
                        counts.visited += 1;
                        return if counts.visited.is_multiple_of(STEPS) && is_over() {
                            Flow::PauseAfter
                        } else {
                            Flow::GoOn
                        };
                    }
                    counts.add(object, census.known, census.held);
                    seen.insert(object.address(), kind);
                    if counts.visited.is_multiple_of(STEPS) && (is_over() || counts.visited > max) {
                        return Flow::PauseAfter;
                    }
                    Flow::GoOn
                });
                let since = walk.full_collections(py) - before;
                Ok(match progress {
                    Progress::Broken => Some(Err(broken())),
                    Progress::Paused if counts.visited > max => Some(Err(End::TooMany)),
                    Progress::Paused if since > 0 && restarts < MAX_RESTARTS => Some(Ok(since)),
                    Progress::Paused => None,
                    Progress::Done => Some(Ok(since)),
                })
            })?;
            match done {
                Ok(0) => break,
                Ok(since) => {
                    answer.full_collections += since;
                    if restarts == MAX_RESTARTS {
                        break;
                    }
                    restarts += 1;
                    walk.rewind();
                    counts.reset();
                    seen.clear();
                }
                Err(end) => return Ok(Err(end)),
            }
        }
        self.pieces(|_, py, is_over| Ok(counts.name_types(py, is_over).then_some(Ok(()))))
    }

    /// Takes samples of what the growing types gained, and looks for their holders.
    fn search(
        &mut self,
        walk: &mut Walk,
        search: &mut Search,
        seen: Option<&Seen>,
    ) -> PyResult<Result<(), End>> {
        walk.rewind();
        let mut met = 0_u64;
        let sampled = self.pieces(|_, py, is_over| {
            let progress = walk.go_on(py, |object| {
                search.sample(object, seen);
                met += 1;
                if met.is_multiple_of(STEPS) && is_over() { Flow::PauseAfter } else { Flow::GoOn }
            });
            Ok(ended(progress))
        })?;
        if let Err(end) = sampled {
            return Ok(Err(end));
        }
        while search.next_level() {
            walk.rewind();
            let max = self.request.max_edges;
            let looked = self.pieces(|census, py, is_over| {
                let progress = walk.go_on(py, |object| search.look(object, census.known, is_over));
                Ok(if search.edges > max { Some(Err(End::TooMany)) } else { ended(progress) })
            })?;
            if let Err(end) = looked {
                return Ok(Err(end));
            }
        }
        Ok(Ok(()))
    }

    /// Runs `work` in one stretch after another until it has a result.
    fn pieces<T>(
        &mut self,
        mut work: impl FnMut(&mut Self, Python<'_>, &dyn Fn() -> bool) -> PyResult<Option<Result<T, End>>>,
    ) -> PyResult<Result<T, End>> {
        let stretch = Duration::from_micros(u64::from(self.request.max_stretch_micros.max(100)));
        loop {
            self.pause();
            if !is_readable() {
                return Ok(Err(End::Gone));
            }
            if self.stretches.held > Duration::from_micros(self.request.max_total_micros)
                || self.begun.elapsed() > Duration::from_micros(self.request.max_wall_micros)
            {
                return Ok(Err(End::TooMany));
            }
            let done = self.stretch(|census, py, begun| work(census, py, &|| begun.elapsed() > stretch))?;
            if let Some(done) = done {
                return Ok(done);
            }
        }
    }

    /// One stretch, without collections: on our thread one would run the host's finalisers.
    fn stretch<T>(
        &mut self,
        work: impl FnOnce(&mut Self, Python<'_>, Instant) -> PyResult<T>,
    ) -> PyResult<T> {
        let (inside, collector) = (self.inside, self.collector);
        let mut stretches = std::mem::take(&mut self.stretches);
        let done =
            stretches.run(inside, |py, begun| collector.without_collections(py, || work(self, py, begun)));
        self.stretches = stretches;
        done
    }

    fn pause(&self) {
        std::thread::sleep(Duration::from_micros(u64::from(self.request.pause_micros)));
    }
}

fn is_readable() -> bool {
    GATE.why_shut().is_none() && !is_finalizing()
}

fn broken() -> End {
    End::Unsupported("its garbage collector's lists do not hold together".to_owned())
}

fn ended(progress: Progress) -> Option<Result<(), End>> {
    match progress {
        Progress::Paused => None,
        Progress::Done => Some(Ok(())),
        Progress::Broken => Some(Err(broken())),
    }
}

fn growth(total: &Named, previous: &Previous) -> (i64, i64) {
    let (count, bytes) = previous.types.get(&total.name).copied().unwrap_or_default();
    (total.count.wrapping_sub(count) as i64, total.bytes.wrapping_sub(bytes) as i64)
}

/// By how many a type grew, as the answer says.
fn grown(total: &Named, answer: &CensusAnswer) -> u64 {
    let of_it = answer.types.iter().find(|one| one.name == total.name).and_then(|one| one.grown);
    of_it.map_or(0, |(count, _)| u64::try_from(count).unwrap_or(0))
}

/// The types that grew by most bytes, as indices of their names.
fn targets(counts: &Counts, previous: Option<&Previous>, max: usize) -> Vec<u32> {
    let Some(previous) = previous else { return Vec::new() };
    let grown =
        counts.totals.iter().enumerate().map(|(index, total)| (growth(total, previous), index as u32));
    let mut grown: Vec<_> = grown.filter(|((count, bytes), _)| *count > 0 && *bytes > 0).collect();
    grown.sort_by_key(|((count, bytes), index)| (std::cmp::Reverse((*bytes, *count)), *index));
    grown.into_iter().take(max).map(|(_, index)| index).collect()
}

/// The growing types first, then those with most bytes.
fn types(counts: &Counts, previous: Option<&Previous>, max: usize, growing: usize) -> Vec<TypeCount> {
    let targets = targets(counts, previous, growing.max(max / 2));
    let mut others: Vec<u32> =
        (0..counts.totals.len() as u32).filter(|index| !targets.contains(index)).collect();
    others
        .sort_by_key(|index| std::cmp::Reverse(counts.totals.get(*index as usize).map(|total| total.bytes)));
    others.truncate(max);
    let all = targets.into_iter().chain(others);
    let all = all.filter_map(|index| counts.totals.get(index as usize));
    all.map(|total| TypeCount {
        name: total.name.clone(),
        count: total.count,
        bytes: total.bytes,
        grown: previous.map(|previous| growth(total, previous)),
    })
    .collect()
}
