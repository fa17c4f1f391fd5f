//! Memory that the process maps itself: every mapping that is not a file's, with the call path that made it. All of them
//! are kept, because a mapping costs the kernel more than it costs us; parts that are unmapped are taken off.
//!
//! What malloc maps for itself does not come by: C libraries map without asking anybody. Memory that is only reserved
//! (without access) is not counted.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};

use leakline_probing::sampler::estimate::{Sums, Weight, weight};
use leakline_probing::sampler::stacks::Stacks;
use leakline_probing::sampler::thread::Thread;

use super::record::{self, Path};
use crate::unwind::Registers;

/// Most mappings that are kept, and most call paths of theirs.
const MAX_REGIONS: usize = 65_536;
const MAX_STACKS: usize = 8_192;

/// The mappings that are live.
#[derive(Debug)]
pub(super) struct Regions {
    all: BTreeMap<usize, Region>,
    pub(super) stacks: Stacks<Path>,
    /// Mappings that there was no room for.
    pub(super) lost: u64,
    pub(super) epoch: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Region {
    length: usize,
    stack: u32,
    /// At how many readings it was live.
    readings: u8,
}

/// A mapping with its call path, for those who want to know whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) stack: u32,
}

impl Regions {
    pub(super) const fn new() -> Self {
        Self { all: BTreeMap::new(), stacks: Stacks::new(), lost: 0, epoch: 0 }
    }

    /// Begins anew with nothing.
    pub(super) fn start(&mut self) {
        *self = Self { epoch: self.epoch + 1, ..Self::new() };
        self.stacks.add(0, Path::shared());
    }

    /// Forgets everything.
    pub(super) fn stop(&mut self) {
        *self = Self { epoch: self.epoch, ..Self::new() };
    }

    /// Whether the path of `hash` is known, or would not be kept.
    fn needs_no_path(&self, hash: u64) -> bool {
        self.stacks.len() >= MAX_STACKS || self.stacks.find(hash).is_some()
    }

    fn add(&mut self, start: usize, length: usize, hash: u64, path: impl FnOnce() -> Path) {
        self.remove(start, length);
        if self.all.len() >= MAX_REGIONS {
            self.lost += 1;
            return;
        }
        let stack = match self.stacks.find(hash) {
            Some(stack) => stack,
            None if self.stacks.len() < MAX_STACKS => self.stacks.add(hash, path()),
            None => 0,
        };
        self.change(stack, length, Sums::add);
        self.all.insert(start, Region { length, stack, readings: 0 });
    }

    /// Takes off whatever lies in the range.
    fn remove(&mut self, start: usize, length: usize) {
        let end = start.saturating_add(length);
        // The one that begins before the range, and those that begin inside of it.
        while let Some((at, region)) = self.all.range(..end).next_back().map(|(at, region)| (*at, *region)) {
            let region_end = at.saturating_add(region.length);
            if region_end <= start {
                break;
            }
            self.all.remove(&at);
            self.change(region.stack, region.length, Sums::remove);
            let before = start.saturating_sub(at);
            let after = region_end.saturating_sub(end);
            for (at, length) in [(at, before), (end, after)] {
                if length > 0 {
                    self.change(region.stack, length, Sums::add_back);
                    self.all.insert(at, Region { length, ..region });
                }
            }
            if before > 0 {
                break;
            }
        }
    }

    fn change(&mut self, stack: u32, length: usize, how: impl Fn(&mut Sums, Weight)) {
        if let Some(stack) = self.stacks.get_mut(stack) {
            how(&mut stack.sums, weight(length as u64, 0));
        }
    }

    /// All of them, by address.
    pub(super) fn all(&self) -> impl Iterator<Item = Mapped> {
        self.all.iter().map(|(start, region)| Mapped {
            start: *start,
            end: start.saturating_add(region.length),
            stack: region.stack,
        })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// As `Recorder::grow_older`.
    pub(super) fn grow_older(&mut self, survives: u32, survived: &mut Vec<Weight>) {
        survived.clear();
        survived.resize(self.stacks.len(), Weight::default());
        for region in self.all.values_mut() {
            region.readings = region.readings.saturating_add(1);
            if u32::from(region.readings) >= survives
                && let Some(sum) = survived.get_mut(region.stack as usize)
            {
                sum.add(weight(region.length as u64, 0));
            }
        }
    }
}

/// What is asked of `mmap`.
pub(super) struct Request {
    pub(super) address: usize,
    pub(super) length: usize,
    pub(super) access: c_int,
    pub(super) flags: c_int,
}

impl Request {
    fn is_counted(&self) -> bool {
        self.flags & libc::MAP_ANONYMOUS != 0 && self.access != libc::PROT_NONE
    }

    fn replaces(&self) -> bool {
        self.flags & libc::MAP_FIXED != 0
    }
}

/// Maps, and keeps what was mapped.
#[inline(always)]
pub(super) fn map(request: Request, from: Registers, call: impl FnOnce() -> *mut c_void) -> *mut c_void {
    if !is_hosts() || !(request.is_counted() || request.replaces()) {
        return call();
    }
    if request.replaces() {
        // Before the call, as for a free. A failure leaves a hole in what is kept, not in the process.
        forget(request.address, request.length);
    }
    let mapped = call();
    if mapped != libc::MAP_FAILED && request.is_counted() {
        keep(mapped as usize, request.length, from);
    }
    mapped
}

/// Unmaps, and forgets what was unmapped.
#[inline(always)]
pub(super) fn unmap(address: usize, length: usize, call: impl FnOnce() -> c_int) -> c_int {
    if is_hosts() {
        // Before the call: after it another thread may get the same address.
        forget(address, length);
    }
    call()
}

/// Moves or resizes, and keeps what came of it with the path of this call.
#[inline(always)]
pub(super) fn remap(
    (address, length): (usize, usize),
    new_length: usize,
    from: Registers,
    call: impl FnOnce() -> *mut c_void,
) -> *mut c_void {
    if !is_hosts() {
        return call();
    }
    let was_kept = record::guarded(false, || {
        record::with_tables(|tables| {
            let was_kept = tables
                .maps
                .all
                .range(..=address)
                .next_back()
                .is_some_and(|(at, region)| address < at.saturating_add(region.length));
            tables.maps.remove(address, length);
            was_kept
        })
    });
    let mapped = call();
    if was_kept {
        match mapped {
            libc::MAP_FAILED => keep(address, length, from),
            mapped => keep(mapped as usize, new_length, from),
        }
    }
    mapped
}

/// Whether this is the host's doing: not a hook's, nor that of a thread of leakline's.
fn is_hosts() -> bool {
    !record::is_busy() && !Thread::current().is_inside() && !record::is_own_thread()
}

#[cold]
fn keep(address: usize, length: usize, from: Registers) {
    record::guarded((), || {
        let Some(_inside) = Thread::current().enter() else { return };
        let length = length.next_multiple_of(crate::process::page_bytes() as usize);
        record::walk(from, |walk| {
            record::keep(&walk, |tables, path| {
                let known = path.is_some() || tables.maps.needs_no_path(walk.hash);
                if known {
                    tables.maps.add(address, length, walk.hash, || path.take().unwrap_or_default());
                }
                known
            });
        });
    });
}

#[cold]
fn forget(address: usize, length: usize) {
    record::guarded((), || record::with_tables(|tables| tables.maps.remove(address, length)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Map { start: usize, length: usize, path: u64 },
        Unmap { start: usize, length: usize },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let range = (0_usize..64, 1_usize..16);
        let step = (any::<bool>(), range, 1_u64..5).prop_map(|(map, (start, length), path)| {
            if map { Step::Map { start, length, path } } else { Step::Unmap { start, length } }
        });
        proptest::collection::vec(step, 0..100)
    }

    proptest! {
        /// Against a page table: an array with the path of each page.
        #[test]
        fn it_is_what_a_page_table_has(steps in steps()) {
            let mut regions = Regions::new();
            regions.start();
            let mut pages = [0_u64; 80];
            for step in steps {
                let (start, length, path) = match step {
                    Step::Map { start, length, path } => {
                        regions.add(start, length, path, Path::default);
                        (start, length, path)
                    }
                    Step::Unmap { start, length } => {
                        regions.remove(start, length);
                        (start, length, 0)
                    }
                };
                pages[start..start + length].fill(path);
            }
            for path in 1..5 {
                let expected = pages.iter().filter(|page| **page == path).count() as u64;
                let found = regions.stacks.find(path).map_or(0, |stack| regions.stacks.all()[stack as usize].sums.live.bytes);
                prop_assert_eq!(found, expected);
            }
            let mut last = 0;
            for mapped in regions.all() {
                prop_assert!(mapped.start >= last && mapped.end > mapped.start);
                last = mapped.end;
            }
        }
    }
}
