//! How many bytes objects take on the heap, which no dump of HotSpot says: it tells only what the fields need.
//! Reckons from how far apart objects stand that follow one another; never asks the virtual machine.

use crate::cursor::Kind;

/// How a virtual machine lays objects out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Before an instance's fields.
    header: u64,
    /// Before an array's elements, those of one byte.
    array_header: u64,
    reference: u64,
}

/// How many there are of `LAYOUTS`.
pub(crate) const COUNT: usize = 6;

/// What is known to exist, the usual one first.
pub(crate) const LAYOUTS: [Layout; COUNT] = [
    Layout { header: 12, array_header: 16, reference: 4 },
    // Compact headers, and every machine of 32 bits.
    Layout { header: 8, array_header: 12, reference: 4 },
    // Heaps from 32 GB on, and ZGC.
    Layout { header: 12, array_header: 16, reference: 8 },
    Layout { header: 8, array_header: 12, reference: 8 },
    // Without compressed class pointers; then as JDK 22 and later do it.
    Layout { header: 16, array_header: 24, reference: 8 },
    Layout { header: 16, array_header: 20, reference: 8 },
];

/// Which of `LAYOUTS` machines with identifiers of four bytes have.
pub(crate) const OF_32_BITS: usize = 1;

const ALIGNMENT: u64 = 8;

impl Layout {
    /// An instance with so many references and so many bytes of other fields, over all its classes.
    pub(crate) fn instance(self, references: u64, primitive_bytes: u64) -> u64 {
        (self.header + references.saturating_mul(self.reference).saturating_add(primitive_bytes))
            .checked_next_multiple_of(ALIGNMENT)
            .unwrap_or(u64::MAX)
    }

    pub(crate) fn array(self, kind: Kind, length: u32) -> u64 {
        let element = kind.bytes(self.reference);
        let base = self.array_header.next_multiple_of(element);
        (base + u64::from(length) * element).next_multiple_of(ALIGNMENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(layout: usize, kind: Kind, length: u32, expected: u64) {
        assert_eq!(LAYOUTS[layout].array(kind, length), expected);
    }

    #[test]
    fn arrays_are_as_large_as_hotspot_makes_them() {
        check(0, Kind::Byte, 0, 16);
        check(0, Kind::Byte, 9, 32);
        check(0, Kind::Object, 10, 56);
        check(1, Kind::Byte, 4, 16);
        check(1, Kind::Long, 1, 24);
        check(4, Kind::Object, 1, 32);
        check(5, Kind::Byte, 4, 24);
        check(5, Kind::Object, 1, 32);
    }
}
