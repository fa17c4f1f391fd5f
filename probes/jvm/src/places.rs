//! Where HotSpot has its heap and its compiled code: it describes its own fields to debuggers, in tables that it exports.
//! Never follows anything that the tables do not name, reads through the kernel, and takes a missing table for an answer.

use leakline_probing::loader;
use leakline_probing::memory::{text, words};
use leakline_probing::regions::{self, Region, kinds};

/// Under this name the ranges are published.
const SOURCE: &str = "jvm";
/// More fields than HotSpot describes.
const MOST_FIELDS: u64 = 10_000;
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
        let library = loader::loaded_object(&["libjvm.so"])?;
        let exported = |name| words::<1>(library.symbol(name)?.as_ptr() as u64).map(|[value]| value);
        let table = exported(c"gHotSpotVMStructs")?;
        let stride = exported(c"gHotSpotVMStructEntryArrayStride")?;
        let type_name = exported(c"gHotSpotVMStructEntryTypeNameOffset")?;
        let field_name = exported(c"gHotSpotVMStructEntryFieldNameOffset")?;
        let offset = exported(c"gHotSpotVMStructEntryOffsetOffset")?;
        let address = exported(c"gHotSpotVMStructEntryAddressOffset")?;
        let mut fields = Self::default();
        for number in 0..MOST_FIELDS {
            let entry = table.checked_add(number.checked_mul(stride)?)?;
            let value = |at: u64| words::<1>(entry.checked_add(at)?).map(|[value]| value);
            let owner = value(type_name)?;
            if owner == 0 {
                break;
            }
            let Some(owner) = text(owner) else { continue };
            if ![&b"Universe"[..], b"CollectedHeap", b"MemRegion", b"CodeCache"].contains(&owner.as_slice()) {
                continue;
            }
            let Some(name) = value(field_name).and_then(text) else { continue };
            let (slot, place) = match (owner.as_slice(), name.as_slice()) {
                (b"Universe", b"_collectedHeap") => (&mut fields.collected_heap, address),
                (b"CollectedHeap", b"_reserved") => (&mut fields.reserved, offset),
                (b"MemRegion", b"_start") => (&mut fields.start, offset),
                (b"MemRegion", b"_word_size") => (&mut fields.word_size, offset),
                (b"CodeCache", b"_low_bound") => (&mut fields.code_low, address),
                (b"CodeCache", b"_high_bound") => (&mut fields.code_high, address),
                _ => continue,
            };
            *slot = value(place);
        }
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
