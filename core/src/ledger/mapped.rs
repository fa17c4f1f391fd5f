//! The ledger with a memory map: what is resident for each is counted, and its owner tells what of it is in use.
//!
//! A map may be some ticks old. What the anonymous memory grew by since may be anybody's, so everybody may claim that much
//! more than the map counted; all together never take more than there is.

use super::rest::Rest;
use super::{Gauges, PartSource, in_malloc};
use crate::model::names;

/// Resident bytes by the map.
pub(super) struct Map<'a> {
    gauges: &'a Gauges<'a>,
    /// What the memory grew by since the map was read.
    grown: f64,
    source: PartSource,
    /// What has no name, less what was claimed of it.
    unnamed: f64,
}

impl<'a> Map<'a> {
    /// `None` where there is no map.
    pub(super) fn of(gauges: &'a Gauges<'a>) -> Option<Self> {
        let unnamed = gauges.get(names::MAP_UNNAMED)?;
        let then = gauges.get(names::MAP_ANONYMOUS)?;
        let grown = gauges.get(names::ANONYMOUS).map_or(0.0, |now| (now - then).max(0.0));
        let is_fresh = gauges.get(names::MAP_AGE).is_none_or(|age| age == 0.0);
        let source = if is_fresh { PartSource::Measured } else { PartSource::Derived };
        Some(Self { gauges, grown, source, unnamed })
    }

    fn get(&self, name: &str) -> Option<f64> {
        self.gauges.get(name).filter(|bytes| *bytes > 0.0)
    }

    fn or_none(&self, name: &str) -> f64 {
        self.get(name).unwrap_or(0.0)
    }

    /// What the map counts under `name`, up to what is left of what the kernel counted; that is less by it then.
    pub(super) fn cut(&self, name: &str, kernels: &mut f64) -> f64 {
        let bytes = self.or_none(name).min(*kernels);
        *kernels -= bytes;
        bytes
    }

    /// The parts of the kernel's shared memory that are Java's and leakline's.
    pub(super) fn cut_shared(&self, shared: &mut f64) -> SharedParts {
        SharedParts {
            leakline: self.cut(names::MAP_LEAKLINE_SHARED, shared),
            heap: self.cut(names::MAP_JAVA_HEAP_SHARED, shared),
            code: self.cut(names::MAP_JAVA_CODE_SHARED, shared),
            other: self.cut(names::MAP_JAVA_OTHER_SHARED, shared),
        }
    }

    /// The kernel's count of files, by kinds where the map tells some.
    pub(super) fn files(&self, mut files: f64, rest: &mut Rest) {
        let kinds = [
            ("java code files", names::MAP_FILES_JAVA),
            ("app packages", names::MAP_FILES_PACKAGES),
            ("fonts", names::MAP_FILES_FONTS),
        ]
        .map(|(part, name)| (part, self.cut(name, &mut files)));
        let is_whole = kinds.iter().all(|(_, bytes)| *bytes == 0.0);
        let source = if is_whole { PartSource::Measured } else { PartSource::Derived };
        rest.part("files (code, data)", Some(files), source);
        for (part, bytes) in kinds.into_iter().filter(|(_, bytes)| *bytes > 0.0) {
            rest.part(part, Some(bytes), self.source);
        }
    }

    /// What is in use comes first: what is free in a heap or an allocator is known only as far as the map is fresh.
    pub(super) fn fill(&mut self, shared: &SharedParts, rest: &mut Rest) {
        rest.part("library data", self.get(names::MAP_LIBRARIES), self.source);
        rest.part("thread stacks", self.get(names::MAP_STACKS), self.source);
        rest.part("other mappings", self.get(names::MAP_OTHER), self.source);
        let heap_free = self.java(shared, rest);
        let arenas_free = self.python(rest);
        let malloc_free = self.malloc(rest);
        self.leakline(shared, rest);
        for free in [malloc_free, arenas_free, heap_free] {
            match free {
                Free::Nothing => {}
                Free::Known(name, bytes) => rest.part(name, Some(bytes), self.source),
                Free::Unnamed(name, bytes) => self.claim_unnamed(name, bytes, rest),
            }
        }
    }

    /// What lies where leakline mapped it, and what it holds in a heap of its own; a watcher's heap is none of the process's.
    fn leakline(&mut self, shared: &SharedParts, rest: &mut Rest) {
        let known = self.or_none(names::MAP_LEAKLINE) + shared.leakline;
        let is_outside = self.gauges.get(names::MAP_LEAKLINE_SHARED).is_some();
        let held = self.gauges.own_bytes().filter(|_| !is_outside).unwrap_or(0.0);
        let within = held.min(self.unnamed + self.grown);
        self.unnamed = (self.unnamed - within).max(0.0);
        let is_there = known > 0.0 || self.gauges.own_bytes().is_some() && !is_outside;
        let source = source_of(within < held, if known > 0.0 { self.source } else { PartSource::Measured });
        rest.part("leakline", is_there.then_some(known + within), source);
    }

    /// What is in use of something whose resident bytes are known; the answer is what may be free of it, of at most
    /// `most`.
    fn used(&self, name: &'static str, resident: f64, used: f64, most: f64, rest: &mut Rest) -> f64 {
        let within = used.min(resident + self.grown);
        rest.part(name, Some(within), source_of(within < used, PartSource::Measured));
        let grown = if self.source == PartSource::Measured { 0.0 } else { self.grown };
        (resident + grown - within).max(0.0).min(most)
    }

    /// A claim on what has no name.
    fn claim_unnamed(&mut self, name: &'static str, claim: f64, rest: &mut Rest) {
        let within = claim.min(self.unnamed + self.grown);
        self.unnamed = (self.unnamed - within).max(0.0);
        rest.part(name, Some(within), source_of(within < claim, PartSource::Measured));
    }

    fn java(&mut self, shared: &SharedParts, rest: &mut Rest) -> Free {
        let shared_heap = shared.heap;
        let used = self.gauges.get(names::JVM_HEAP_USED);
        let committed = self.gauges.get(names::JVM_HEAP_COMMITTED);
        let mut heap = self.or_none(names::MAP_JAVA_HEAP) + shared_heap;
        // ZGC maps the same memory up to three times, and the kernel counts each.
        let again = committed.map_or(0.0, |committed| (shared_heap - committed).max(0.0));
        heap -= again;
        let not_used = committed.zip(used).map(|(committed, used)| (committed - used).max(0.0));
        let free = match used {
            Some(used) if heap > 0.0 => {
                let most = not_used.unwrap_or(f64::INFINITY).max(heap - used);
                Free::Known("jvm heap free", self.used("jvm heap used", heap, used, most, rest))
            }
            Some(used) => {
                self.claim_unnamed("jvm heap used", used, rest);
                Free::Unnamed("jvm heap free", not_used.unwrap_or(0.0))
            }
            None => {
                rest.part("jvm heap", Some(heap).filter(|heap| *heap > 0.0), self.source);
                Free::Nothing
            }
        };
        rest.part("jvm heap, mapped again", Some(again).filter(|again| *again > 0.0), self.source);
        let some = |bytes: f64| Some(bytes).filter(|bytes| *bytes > 0.0);
        let code = some(self.or_none(names::MAP_JAVA_CODE) + shared.code);
        let other = some(self.or_none(names::MAP_JAVA_OTHER) + shared.other);
        rest.part("jvm code cache", code, self.source);
        match (other, self.gauges.get(names::JVM_METASPACE_COMMITTED)) {
            (Some(other), Some(metaspace)) => {
                let metaspace = metaspace.min(other);
                rest.part("jvm metaspace", Some(metaspace), PartSource::Measured);
                rest.part("jvm other", Some(other - metaspace), PartSource::Derived);
            }
            (Some(other), None) => rest.part("jvm other", Some(other), self.source),
            (None, _) if code.is_none() => {
                if let Some(used) = self.gauges.get(names::JVM_NON_HEAP_USED) {
                    self.claim_unnamed("jvm non-heap", used, rest);
                }
            }
            (None, _) => {}
        }
        free
    }

    fn python(&mut self, rest: &mut Rest) -> Free {
        let mapped = self.gauges.get(names::PYTHON_ARENAS);
        let used = self.gauges.get(names::PYTHON_ARENAS_USED);
        let not_used = mapped.zip(used).map(|(mapped, used)| (mapped - used).max(0.0));
        match (self.get(names::MAP_PYTHON), used) {
            (Some(known), Some(used)) => {
                let most = not_used.unwrap_or(f64::INFINITY).max(known - used);
                Free::Known("python arenas free", self.used("python arenas used", known, used, most, rest))
            }
            (Some(known), None) => {
                rest.part("python arenas", Some(known), self.source);
                Free::Nothing
            }
            (None, Some(used)) => {
                self.claim_unnamed("python arenas used", used, rest);
                not_used.map_or(Free::Nothing, |free| Free::Unnamed("python arenas free", free))
            }
            (None, None) => {
                if let Some(objects) = self.gauges.get(names::PYTHON_TRACED_SMALL) {
                    self.claim_unnamed("python objects", objects, rest);
                }
                Free::Nothing
            }
        }
    }

    fn malloc(&mut self, rest: &mut Rest) -> Free {
        let heaps = self.or_none(names::MAP_MALLOC);
        let found = self.or_none(names::MAP_MALLOC_MAPPED);
        let Some(live) = self.gauges.get(names::MALLOC_LIVE) else {
            // Nobody tells what of it is in use.
            rest.part("malloc", Some(heaps + found).filter(|all| *all > 0.0), self.source);
            return Free::Nothing;
        };
        let mapped = self.gauges.get(names::MALLOC_MAPPED).unwrap_or(0.0).min(live);
        let in_heaps = (live - mapped).min(heaps + self.grown);
        // Blocks whose headers were not found lie somewhere in what has no name.
        let hidden = (mapped - self.or_none(names::MAP_MALLOC_FOUND)).max(0.0).min(self.unnamed);
        self.unnamed -= hidden;
        let in_blocks = (mapped - hidden).min(found + self.grown) + hidden;
        rest.malloc(Some(in_heaps + in_blocks), &in_malloc(self.gauges));
        if in_heaps + in_blocks < live {
            rest.say_derived("malloc in use");
        }
        let free = self.gauges.get(names::MALLOC_FREE).unwrap_or(0.0);
        let grown = if self.source == PartSource::Measured { 0.0 } else { self.grown };
        let not_live = (heaps - in_heaps).max(0.0) + (found - in_blocks).max(0.0);
        if not_live > free {
            rest.part("malloc metadata", Some(not_live - free), PartSource::Derived);
        }
        Free::Known("malloc free", free.min(not_live + grown))
    }
}

/// Java's and leakline's parts of the kernel's shared memory, bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SharedParts {
    heap: f64,
    code: f64,
    other: f64,
    leakline: f64,
}

impl SharedParts {
    pub(super) fn sum(&self) -> f64 {
        self.heap + self.code + self.other + self.leakline
    }
}

/// What of an allocator or a heap is not in use.
enum Free {
    Nothing,
    /// In memory that is known to be its own.
    Known(&'static str, f64),
    /// Somewhere in what has no name.
    Unnamed(&'static str, f64),
}

fn source_of(is_cut: bool, source: PartSource) -> PartSource {
    if is_cut { PartSource::Derived } else { source }
}
