//! Ranges of addresses that a probe knows to be somebody's: the Java heap, a runtime's mappings. Whoever reads the
//! process's memory map names what lies in them.
//! Never called from inside a hook: it takes a lock and this library's own heap. Says nothing of what is resident.

use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Release};
use std::sync::{Mutex, PoisonError};

/// More ranges than this of one source are not kept: the map must stay cheap to read.
pub const MOST_REGIONS: usize = 16_384;

/// What is kept of one source.
type Published = (&'static str, Vec<Region>);

static SOURCES: Mutex<Vec<Published>> = Mutex::new(Vec::new());
/// How often somebody's list was replaced by another one.
static CHANGES: AtomicU64 = AtomicU64::new(0);

/// What the kinds of regions are called. Any other kind is shown as its own.
pub mod kinds {
    /// The Java heap, committed or not.
    pub const JAVA_HEAP: &str = "java heap";
    /// Compiled code.
    pub const JAVA_CODE: &str = "java code";
    /// What else a JVM mapped: metaspace, card tables, marking bitmaps.
    pub const JAVA_OTHER: &str = "java other";
    /// Pymalloc's arenas, and what else the interpreter mapped.
    pub const PYTHON: &str = "python";
    /// Malloc's heaps.
    pub const MALLOC: &str = "malloc";
    /// Leakline's own memory.
    pub const LEAKLINE: &str = "leakline";
    /// Mapped by the program or one of its libraries itself, past malloc.
    pub const MAPPED: &str = "mapped";

    /// All of them.
    pub const ALL: [&str; 7] = [JAVA_HEAP, JAVA_CODE, JAVA_OTHER, PYTHON, MALLOC, LEAKLINE, MAPPED];
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// Where it begins.
    pub start: u64,
    /// Where it ends; the first address that is not part of it.
    pub end: u64,
    /// What it is; one of [`kinds`].
    pub kind: &'static str,
}

/// Replaces what `source` knows. An empty list forgets the source. Ranges may overlap those of other sources: the
/// source that was first keeps them.
pub fn set(source: &'static str, mut regions: Vec<Region>) {
    regions.truncate(MOST_REGIONS);
    let mut sources = SOURCES.lock().unwrap_or_else(PoisonError::into_inner);
    let known = sources.iter().find(|(name, _)| *name == source).map_or(&[][..], |(_, known)| known);
    if known == regions {
        return;
    }
    CHANGES.fetch_add(1, Release);
    match sources.iter().position(|(name, _)| *name == source) {
        Some(at) if regions.is_empty() => drop(sources.remove(at)),
        Some(at) => {
            if let Some(known) = sources.get_mut(at) {
                known.1 = regions;
            }
        }
        None if regions.is_empty() => {}
        None => sources.push((source, regions)),
    }
}

/// How often what the sources know has changed: as long as the number is the same, so are they.
pub fn changes() -> u64 {
    CHANGES.load(Acquire)
}

/// What each source knows, by its name.
pub fn by_source() -> Vec<(&'static str, Vec<Region>)> {
    SOURCES.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// What all sources know, in the order in which they came first.
pub fn all() -> Vec<Region> {
    let sources = SOURCES.lock().unwrap_or_else(PoisonError::into_inner);
    sources.iter().flat_map(|(_, regions)| regions.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_replaces_and_forgets_only_its_own() {
        let region = |start, kind| Region { start, end: start + 1, kind };
        set("first", vec![region(1, kinds::PYTHON)]);
        set("second", vec![region(2, kinds::JAVA_HEAP)]);
        set("first", vec![region(3, kinds::PYTHON), region(4, kinds::PYTHON)]);
        let changes = super::changes();
        set("first", vec![region(3, kinds::PYTHON), region(4, kinds::PYTHON)]);
        assert_eq!(super::changes(), changes);
        let starts = || all().iter().map(|region| region.start).collect::<Vec<_>>();
        assert_eq!(starts(), [3, 4, 2]);
        set("first", Vec::new());
        assert_eq!(starts(), [2]);
        set("third", vec![region(7, kinds::MALLOC); MOST_REGIONS + 1]);
        assert_eq!(all().len(), MOST_REGIONS + 1);
        set("third", Vec::new());
        set("second", Vec::new());
        set("nobody", Vec::new());
        assert!(all().is_empty());
    }
}
