//! Live bytes and counts per call path, out of tracemalloc's traces.
//!
//! tracemalloc copies all its traces into a list in one go, which nothing can cut up; everything after that is done in
//! short stretches: traces with the same call path share one tuple, so they are added up by its address, and freed as
//! they are read; then each call path is decoded once. Never keeps a trace, or a reference to any object, beyond a call.

use std::time::{Duration, Instant};

use leakline_python::kept::names::{Interner, Room};
use leakline_python::wire::{Outcome, ProfileAnswer, ProfileRequest};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};
use rustc_hash::FxHashMap;

use crate::gate::{GATE, Inside};
use crate::raw::{self, Address};
use crate::runtime::{Runtime, is_finalizing};
use crate::stretch::Stretches;

/// Largest request that pymalloc serves from its arenas.
const SMALL: usize = 512;
/// Steps between two looks at the clock.
const STEPS: usize = 256;
/// How long the copy takes per byte of tracemalloc's tables, until one was measured.
const FIRST_GUESS_NANOS_PER_BYTE: u64 = 5;

/// All traces with one call path.
struct Group {
    call_path: Py<PyTuple>,
    /// Frames there were, of which the tuple may have fewer.
    depth: usize,
    bytes: u64,
    blocks: u64,
}

/// Takes a profile, in as many stretches as it needs.
pub(crate) fn take(
    runtime: &mut Runtime,
    request: &ProfileRequest,
    inside: &Inside<'_>,
) -> PyResult<ProfileAnswer> {
    let mut stretches = Stretches::default();
    let mut answer = ProfileAnswer::default();
    let copied = stretches.run(inside, |py, _| copy(runtime, py, request))?;
    let (traces, copy_took) = match copied {
        Copied::Not(outcome) => {
            answer.outcome = outcome;
            answer.cost = stretches.cost(Duration::ZERO);
            return Ok(answer);
        }
        Copied::All(traces, took) => (traces, took),
    };
    runtime.interner.prepare(&request.filters, Room::of(request.max_sites, request.max_name_bytes));
    let mut work = Work::new(traces, &mut runtime.interner);
    let stretch = Duration::from_micros(u64::from(request.max_stretch_micros.max(100)));
    let pause = Duration::from_micros(u64::from(request.pause_micros));
    loop {
        std::thread::sleep(pause);
        if GATE.why_shut().is_some() || is_finalizing() {
            work.leave();
            answer.outcome = Outcome::Interrupted;
            answer.cost = stretches.cost(copy_took);
            return Ok(answer);
        }
        let done = stretches.run(inside, |py, begun| {
            work.go_on(py, &mut runtime.interner, &mut answer, &|| begun.elapsed() > stretch)
        });
        if done {
            break;
        }
    }
    answer.outcome = Outcome::Taken;
    answer.merged_names = runtime.interner.merged();
    answer.additions = runtime.interner.additions(request.known);
    answer.stats = work.sites.into_iter().map(|(site, (bytes, blocks))| (site, bytes, blocks)).collect();
    answer.cost = stretches.cost(copy_took);
    Ok(answer)
}

enum Copied {
    Not(Outcome),
    All(Py<PyList>, Duration),
}

/// tracemalloc's own copy of all traces, if it traces and the copy will not take too long.
fn copy(runtime: &mut Runtime, py: Python<'_>, request: &ProfileRequest) -> PyResult<Copied> {
    let Ok(tracer) = runtime.tracer() else { return Ok(Copied::Not(Outcome::NotTracing)) };
    if !tracer.is_tracing(py)? {
        return Ok(Copied::Not(Outcome::NotTracing));
    }
    let tracer_bytes = tracer.tracer_bytes(py)?;
    let expected = expected_copy(runtime.last_copy, tracer_bytes);
    if expected > Duration::from_micros(request.max_copy_micros) {
        return Ok(Copied::Not(Outcome::TooMany { expected_micros: expected.as_micros() as u64 }));
    }
    let begun = Instant::now();
    let traces = runtime.gc.without_collections(py, || {
        let traces = tracer.get_traces.bind(py).call0()?.cast_into::<PyList>()?;
        untrack(&traces);
        Ok(traces)
    })?;
    let took = begun.elapsed();
    runtime.last_copy = Some((took, tracer_bytes));
    Ok(Copied::All(traces.unbind(), took))
}

fn expected_copy(last: Option<(Duration, u64)>, tracer_bytes: u64) -> Duration {
    match last {
        Some((took, bytes)) if bytes > 0 => took.mul_f64(tracer_bytes as f64 / bytes as f64),
        _ => Duration::from_nanos(tracer_bytes.saturating_mul(FIRST_GUESS_NANOS_PER_BYTE)),
    }
}

/// Takes the copy out of the garbage collector's view: its next young collection would otherwise hold up a thread of the
/// host for as long as it takes to walk through all of it, three times.
fn untrack(traces: &Bound<'_, PyList>) {
    let py = traces.py();
    for index in 0..traces.len() {
        let Some(trace) = raw::list_item(traces, index) else { return };
        if let Some(call_path) = raw::tuple_item(py, trace, 2)
            && raw::is_tracked(py, call_path)
        {
            for index in 0..raw::tuple_size(py, call_path) {
                raw::tuple_item(py, call_path, index).into_iter().for_each(|frame| raw::untrack(py, frame));
            }
            raw::untrack(py, call_path);
        }
        raw::untrack(py, trace);
    }
}

/// Of a call path.
enum Found {
    Path(u32),
    LeftOut,
}

/// What is still to be done, and what came out of it so far.
struct Work {
    traces: Option<Py<PyList>>,
    groups: Vec<Group>,
    by_address: FxHashMap<Address, usize>,
    files: FxHashMap<Address, (Py<PyAny>, Option<u32>)>,
    /// tracemalloc does not tell functions.
    no_function: Option<u32>,
    path: Vec<u32>,
    sites: FxHashMap<u32, (u64, u64)>,
}

// SAFETY: the addresses are only compared, and the objects behind them are held by `groups` and `files`.
unsafe impl Send for Work {}

impl Work {
    fn new(traces: Py<PyList>, interner: &mut Interner) -> Self {
        Self {
            traces: Some(traces),
            groups: Vec::new(),
            by_address: FxHashMap::default(),
            files: FxHashMap::default(),
            no_function: interner.text(""),
            path: Vec::new(),
            sites: FxHashMap::default(),
        }
    }

    /// Goes on until everything is done (true) or `is_over` says that the stretch is.
    fn go_on(
        &mut self,
        py: Python<'_>,
        interner: &mut Interner,
        answer: &mut ProfileAnswer,
        is_over: &dyn Fn() -> bool,
    ) -> bool {
        if let Some(traces) = self.traces.take() {
            let traces = traces.into_bound(py);
            while !traces.is_empty() {
                if is_over() {
                    self.traces = Some(traces.unbind());
                    return false;
                }
                self.add_up(&traces, answer);
            }
            self.by_address = FxHashMap::default();
        }
        loop {
            if is_over() {
                return false;
            }
            let rest = self.groups.len().saturating_sub(STEPS / 8);
            for group in self.groups.split_off(rest) {
                self.decode(py, group, interner, answer);
            }
            if self.groups.is_empty() {
                self.files = FxHashMap::default();
                return true;
            }
        }
    }

    /// Adds up some traces from the end of the list, and frees them.
    fn add_up(&mut self, traces: &Bound<'_, PyList>, answer: &mut ProfileAnswer) {
        let length = traces.len();
        let rest = length.saturating_sub(STEPS);
        for index in rest..length {
            if let Some(trace) = raw::list_item(traces, index) {
                self.add(traces.py(), trace, answer);
            }
        }
        raw::cut(traces, rest);
    }

    /// Adds one trace: (domain, size, call path, frames in all).
    fn add(&mut self, py: Python<'_>, trace: Address, answer: &mut ProfileAnswer) -> Option<()> {
        let size = raw::size(py, raw::tuple_item(py, trace, 1)?)?;
        let address = raw::tuple_item(py, trace, 2)?;
        let index = match self.by_address.get(&address) {
            Some(index) => *index,
            None => {
                let depth = raw::tuple_item(py, trace, 3).and_then(|depth| raw::size(py, depth)).unwrap_or(0);
                self.groups.push(Group {
                    call_path: raw::own_tuple(py, address)?,
                    depth,
                    bytes: 0,
                    blocks: 0,
                });
                self.by_address.insert(address, self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        let group = self.groups.get_mut(index)?;
        group.bytes += size as u64;
        group.blocks += 1;
        answer.traces += 1;
        if size <= SMALL {
            answer.small_bytes += size as u64;
        }
        Some(())
    }

    /// Decodes a call path, innermost frame first, and frees it.
    fn decode(&mut self, py: Python<'_>, group: Group, interner: &mut Interner, answer: &mut ProfileAnswer) {
        let call_path = group.call_path.into_bound(py);
        let found = self.find_path(py, &call_path, group.depth, interner);
        let site = match found {
            Some(Found::Path(site)) => site,
            Some(Found::LeftOut) => {
                answer.filtered.0 += group.bytes;
                answer.filtered.1 += group.blocks;
                return;
            }
            None => interner.shared(),
        };
        let live = self.sites.entry(site).or_default();
        live.0 += group.bytes;
        live.1 += group.blocks;
    }

    /// `None`: there is no room for its names.
    fn find_path(
        &mut self,
        py: Python<'_>,
        call_path: &Bound<'_, PyTuple>,
        depth: usize,
        interner: &mut Interner,
    ) -> Option<Found> {
        let frames = raw::tuple_size(py, call_path.as_ptr());
        self.path.clear();
        self.path.push(u32::from(depth > frames));
        for index in 0..frames {
            let Some((file, line)) = self.frame(py, call_path.as_ptr(), index, interner) else { continue };
            let file = file?;
            if index == 0 && interner.leaves_out(file) {
                return Some(Found::LeftOut);
            }
            self.path.push(interner.frame(self.no_function?, file, line)?);
        }
        interner.path(&self.path).map(Found::Path)
    }

    fn frame(
        &mut self,
        py: Python<'_>,
        call_path: Address,
        index: usize,
        interner: &mut Interner,
    ) -> Option<(Option<u32>, u32)> {
        let frame = raw::tuple_item(py, call_path, index)?;
        let name = raw::tuple_item(py, frame, 0)?;
        let line = raw::tuple_item(py, frame, 1).and_then(|line| raw::size(py, line)).unwrap_or(0);
        let line = u32::try_from(line).unwrap_or(0);
        if let Some((_, file)) = self.files.get(&name) {
            return Some((*file, line));
        }
        let name = raw::own(py, name)?;
        // Without room for its name, no path through it is told of; it is asked about once all the same.
        let file = interner.text(&name.cast::<PyString>().ok()?.to_string_lossy());
        // Held until the end, so that no other text can come to lie at the same address.
        self.files.insert(name.as_ptr(), (name.unbind(), file));
        Some((file, line))
    }

    /// Leaves everything as it is: the interpreter is ending, and what is freed in it now only delays that.
    fn leave(self) {
        std::mem::forget(self);
    }
}
