//! Where HotSpot has its heap and its compiled code: it describes its own fields to debuggers, in tables that it exports.
//! Never follows anything that the tables do not name, reads through the kernel, and takes a missing table for an answer.

use leakline_probing::java::structs;
use leakline_probing::memory::words;
use leakline_probing::regions::{self, Region, kinds};

/// Under this name the ranges are published.
const SOURCE: &str = "jvm";
/// No JVM has a larger heap.
const LARGEST: u64 = 1 << 46;

/// Tells where heap and code are, from now on.
pub(crate) fn publish() {
    regions::set(SOURCE, find().unwrap_or_default());
}

/// The JVM has ended.
pub(crate) fn forget() {
    regions::set(SOURCE, Vec::new());
}

fn find() -> Option<Vec<Region>> {
    let fields = Fields::read()?;
    Some(
        [
            fields.heap().and_then(|(start, end)| region(start, end, kinds::JAVA_HEAP)),
            fields.code().and_then(|(start, end)| region(start, end, kinds::JAVA_CODE)),
        ]
        .into_iter()
        .flatten()
        .collect(),
    )
}

fn region(start: u64, end: u64, kind: &'static str) -> Option<Region> {
    let size = end.checked_sub(start)?;
    (start > 0 && (1..=LARGEST).contains(&size)).then_some(Region { start, end, kind })
}

/// Where the fields are that lead there: addresses of static ones, offsets of the others.
#[derive(Debug, Default)]
struct Fields {
    collected_heap: Option<u64>,
    reserved: Option<u64>,
    start: Option<u64>,
    word_size: Option<u64>,
    code_low: Option<u64>,
    code_high: Option<u64>,
}

impl Fields {
    fn read() -> Option<Self> {
        let mut fields = Self::default();
        structs::fields(&[b"Universe", b"CollectedHeap", b"MemRegion", b"CodeCache"], |field| {
            let (slot, place) = match (field.owner, field.name) {
                (b"Universe", b"_collectedHeap") => (&mut fields.collected_heap, field.address),
                (b"CollectedHeap", b"_reserved") => (&mut fields.reserved, field.offset),
                (b"MemRegion", b"_start") => (&mut fields.start, field.offset),
                (b"MemRegion", b"_word_size") => (&mut fields.word_size, field.offset),
                (b"CodeCache", b"_low_bound") => (&mut fields.code_low, field.address),
                (b"CodeCache", b"_high_bound") => (&mut fields.code_high, field.address),
                _ => return,
            };
            *slot = Some(place);
        })?;
        Some(fields)
    }

    /// What is reserved for the heap. ZGC leaves it empty; its heap has a name in the memory map.
    fn heap(&self) -> Option<(u64, u64)> {
        let [heap] = words::<1>(self.collected_heap?)?;
        let reserved = heap.checked_add(self.reserved?)?;
        let [start] = words::<1>(reserved.checked_add(self.start?)?)?;
        let [size] = words::<1>(reserved.checked_add(self.word_size?)?)?;
        Some((start, start.checked_add(size.checked_mul(8)?)?))
    }

    fn code(&self) -> Option<(u64, u64)> {
        let [low] = words::<1>(self.code_low?)?;
        let [high] = words::<1>(self.code_high?)?;
        Some((low, high))
    }
}
