//! The garbage collector's lists of objects, walked under the GIL in pieces.
//!
//! CPython keeps the objects that its collector knows in four doubly linked lists: the young, middle and old generation,
//! and what was frozen. What is offered for reading them is `gc.get_objects()`, one long stall that makes a reference to
//! every object, so that a host's finaliser may come to run on our thread when the list is dropped; and from 3.12 on
//! `PyUnstable_GC_VisitObjects`, a stall as long. So the lists are walked here:
//!
//! - An empty list of our own is the place marker: an object that the collector knows, so it is moved with its
//!   neighbours by collections, `gc.freeze()` and merges; and one that is referred to from outside, so no collection
//!   takes it for garbage: when the GIL is let go of it is in one of the four lists, never in one on a collector's stack.
//! - A new object goes to the end of the young generation, so what comes after the marker is that list's head. From
//!   there the others are at distances that the exact version decides ([`leakline_python::layouts`]); `gc.get_stats()` and
//!   a pointer of the structure to its own beginning are compared before anything is written. An incremental collector
//!   (3.14.0 to 3.14.4) moves objects back and forth between lists, and is refused.
//! - Lists are walked from the oldest to the youngest: objects only ever move to older ones, to the end of them, so
//!   those moved are met there or have been met. Each link is checked in both directions.
//!
//! Makes no reference to any object of the host, and writes to nothing but the links around its own marker.

use leakline_python::layouts::{self, Collections, Collector};
use pyo3::ffi;
use pyo3::prelude::*;

use super::layout::{GC_HEADER, Object};
use crate::frames;

/// Bits of the backward link that are flags.
const FLAGS: usize = 3;

/// What to do after an object was looked at.
pub(super) enum Flow {
    GoOn,
    /// The stretch is over, and this object is done.
    PauseAfter,
    /// The stretch is over, and this object is to come again.
    PauseBefore,
}

/// Where a walk stands after a piece of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Paused,
    Done,
    /// Two neighbours do not refer to each other.
    Broken,
}

/// A walk through all objects. Its marker stays behind, as an empty list that nobody refers to, unless [`Walk::end`] is
/// called.
pub(super) struct Walk {
    lists: Collector,
    young: usize,
    marker: usize,
    is_under_way: bool,
    /// Which list it was in when it paused, and what was first and last then in the oldest ones.
    paused: (usize, [usize; 3]),
}

/// A link in one of the lists: the collector's header of an object, or a list's head.
#[derive(Clone, Copy)]
struct Link<'py> {
    py: Python<'py>,
    address: usize,
}

impl PartialEq for Link<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

impl Walk {
    /// Finds the lists, or says why they are not where they should be. To be called with the collector switched off.
    /// `collections` is what `gc.get_stats()` says, youngest generation first.
    pub(super) fn begin(py: Python<'_>, collections: [u64; 3]) -> PyResult<Result<Self, String>> {
        let lists = match layouts::collector(frames::version(py)) {
            Ok(lists) => lists,
            Err(reason) => return Ok(Err(reason.to_owned())),
        };
        // SAFETY: the GIL is held; an empty list calls nobody.
        let marker = unsafe { ffi::PyList_New(0) };
        // SAFETY: a new reference, or null with an exception set.
        let marker = unsafe { Bound::from_owned_ptr_or_err(py, marker) }?;
        let mine = Link { py, address: marker.as_ptr() as usize - GC_HEADER };
        // SAFETY: any object may be asked.
        let is_tracked = unsafe { ffi::PyObject_GC_IsTracked(marker.as_ptr()) } != 0;
        if !is_tracked || mine.previous().next() != mine || mine.next().previous() != mine {
            return Ok(Err("a new object is not in a list of its garbage collector's".to_owned()));
        }
        let walk = Self {
            lists,
            young: mine.next().address,
            marker: mine.address,
            is_under_way: false,
            paused: (0, [0; 3]),
        };
        let young = Link { py, address: walk.young };
        if young.word(lists.to_young as usize) != walk.young {
            return Ok(Err("its garbage collector's lists are laid out differently".to_owned()));
        }
        let counted = [0, 1, 2].map(|generation| walk.collections(py, generation));
        if counted != collections.map(Some) || walk.heads(py).iter().any(|head| !head.is_linked()) {
            return Ok(Err("its garbage collector keeps its books differently".to_owned()));
        }
        // The walk holds the reference.
        std::mem::forget(marker);
        Ok(Ok(walk))
    }

    fn heads<'py>(&self, py: Python<'py>) -> [Link<'py>; 4] {
        let [old, middle, young] = Collector::GENERATIONS;
        [self.lists.frozen, old, middle, young]
            .map(|distance| Link { py, address: self.young + distance as usize })
    }

    /// How often a generation was collected; the youngest is 0. `None` where that is not where it should be.
    fn collections(&self, py: Python<'_>, generation: u32) -> Option<u64> {
        let young = Link { py, address: self.young };
        match self.lists.collections {
            Collections::Here(at) => Some(young.word((at + generation * Collections::STEP) as usize) as u64),
            Collections::Behind(at) => {
                let (ring, records) = *Collections::RINGS.get(generation as usize)?;
                let rings = Link { py, address: young.word(at as usize) };
                // The collector's own structure was found by a pointer of its own, so this is what follows in it.
                let latest = rings.word((ring + records * Collections::RECORD) as usize) as u8;
                let record = ring + u32::from(latest) * Collections::RECORD;
                (u32::from(latest) < records)
                    .then(|| rings.word((record + Collections::COUNT) as usize) as u64)
            }
        }
    }

    /// Full collections so far.
    pub(super) fn full_collections(&self, py: Python<'_>) -> u64 {
        self.collections(py, 2).unwrap_or(0)
    }

    /// Whether what has been met in the old generation may now be behind the marker in a younger one: both were put into
    /// one list (by a collection, or by `gc.freeze()` and `gc.unfreeze()`) since the walk paused.
    pub(super) fn may_meet_again(&self, py: Python<'_>) -> bool {
        let (list, ends) = self.paused;
        self.is_under_way && list >= 2 && ends != self.ends(py)
    }

    fn ends(&self, py: Python<'_>) -> [usize; 3] {
        let [frozen, old, ..] = self.heads(py);
        [frozen.previous().address, old.next().address, old.previous().address]
    }

    /// Begins anew.
    pub(super) fn rewind(&mut self) {
        self.is_under_way = false;
    }

    /// Looks at objects until `look` says that the stretch is over. `look` must run nothing of the host's, make no
    /// object that the collector knows, and drop no reference that may be the last.
    pub(super) fn go_on<'py>(
        &mut self,
        py: Python<'py>,
        mut look: impl FnMut(Object<'py>) -> Flow,
    ) -> Progress {
        let heads = self.heads(py);
        let marker = Link { py, address: self.marker };
        let mut at = if self.is_under_way { marker } else { heads[0] };
        let mut current = if self.is_under_way { self.paused.0 } else { 0 };
        self.is_under_way = true;
        loop {
            let next = at.next();
            if next.previous() != at {
                return Progress::Broken;
            }
            if let Some(list) = heads.iter().position(|head| *head == next) {
                match heads.get(list + 1) {
                    Some(head) => (at, current) = (*head, list + 1),
                    None => return Progress::Done,
                }
                continue;
            }
            if next == marker {
                at = next;
                continue;
            }
            // SAFETY: what is linked is alive, and `look` frees nothing.
            let flow = look(unsafe { Object::at(py, next.address + GC_HEADER) });
            match flow {
                Flow::GoOn => at = next,
                Flow::PauseAfter => {
                    marker.move_after(next);
                    self.paused = (current, self.ends(py));
                    return Progress::Paused;
                }
                Flow::PauseBefore => {
                    marker.move_after(at);
                    self.paused = (current, self.ends(py));
                    return Progress::Paused;
                }
            }
        }
    }

    /// Takes the marker out.
    pub(super) fn end(self, py: Python<'_>) {
        let marker = (self.marker + GC_HEADER) as *mut ffi::PyObject;
        // SAFETY: our own reference, given up here; an empty list's end calls nobody.
        drop(unsafe { Bound::from_owned_ptr(py, marker) });
    }
}

impl Link<'_> {
    fn word(self, offset: usize) -> usize {
        // The token in a link shows that the GIL is held.
        let _: Python<'_> = self.py;
        let place = (self.address + offset) as *const usize;
        // SAFETY: a link that another link refers to is alive under the GIL, and so is the structure around the heads.
        unsafe { place.read() }
    }

    fn set(self, offset: usize, value: usize) {
        let place = (self.address + offset) as *mut usize;
        // SAFETY: as in `word`; nobody else changes links while this thread holds the GIL.
        unsafe { place.write(value) }
    }

    fn next(self) -> Self {
        Self { address: self.word(0), ..self }
    }

    fn previous(self) -> Self {
        Self { address: self.word(8) & !FLAGS, ..self }
    }

    fn is_linked(self) -> bool {
        self.next().previous() == self && self.previous().next() == self
    }

    fn join(self, next: Self) {
        self.set(0, next.address);
        next.set(8, self.address | (next.word(8) & FLAGS));
    }

    /// Moves this link to behind `place`, as the collector itself moves objects between its lists.
    fn move_after(self, place: Self) {
        if place == self || place.next() == self {
            return;
        }
        self.previous().join(self.next());
        let next = place.next();
        place.join(self);
        self.join(next);
    }
}
