//! Where each object stands in the file, by its identifier: 16 bytes for each, and half a byte for finding it fast.
//! Never compares identifiers for more than being the same or lower: they need not be addresses.

/// Objects for each entry of the table that narrows a search.
const OBJECTS_PER_BUCKET: u64 = 8;

/// An object's identifier, and the offset of its record.
type Entry = (u64, u64);

/// All objects, ordered by identifier.
#[derive(Debug, Default)]
pub(crate) struct Index {
    entries: Vec<Entry>,
    /// The first entry of each stretch of `1 << shift` identifiers, from the lowest identifier on.
    buckets: Vec<u32>,
    shift: u32,
}

impl Index {
    /// Of an object that was dumped twice, the record that comes first in the file counts.
    pub(crate) fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable();
        entries.dedup_by_key(|(id, _)| *id);
        let mut index = Self { entries, ..Self::default() };
        let (Some((low, _)), Some((high, _))) = (index.entries.first(), index.entries.last()) else {
            return index;
        };
        let (low, span) = (*low, high - low);
        let wanted = (index.entries.len() as u64 / OBJECTS_PER_BUCKET).max(1);
        while span >> index.shift > wanted {
            index.shift += 1;
        }
        let count = (span >> index.shift) as usize + 1;
        index.buckets = Vec::with_capacity(count + 1);
        for (position, (id, _)) in index.entries.iter().enumerate() {
            let bucket = ((id - low) >> index.shift) as usize;
            while index.buckets.len() <= bucket {
                index.buckets.push(position as u32);
            }
        }
        index.buckets.push(index.entries.len() as u32);
        index
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The object's number, if the dump has it.
    #[inline]
    pub(crate) fn find(&self, id: u64) -> Option<u32> {
        let low = self.entries.first()?.0;
        let bucket = usize::try_from(id.checked_sub(low)? >> self.shift).ok()?;
        let (from, to) = (*self.buckets.get(bucket)?, *self.buckets.get(bucket + 1)?);
        let stretch = self.entries.get(from as usize..to as usize)?;
        let found = stretch.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(from + found as u32)
    }

    /// Identifier and offset of the object with this number.
    #[inline]
    pub(crate) fn entry(&self, number: u32) -> Option<Entry> {
        self.entries.get(number as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ids: &[u64]) {
        let index = Index::new(ids.iter().map(|id| (*id, id ^ 1)).collect());
        for id in ids {
            let number = index.find(*id).expect("it is in there");
            assert_eq!(index.entry(number), Some((*id, id ^ 1)));
            for other in [id.wrapping_sub(1), id.wrapping_add(1)] {
                assert_eq!(index.find(other).is_some(), ids.contains(&other), "{other}");
            }
        }
    }

    #[test]
    fn what_is_in_it_is_found_and_nothing_else() {
        check(&[]);
        check(&[0]);
        check(&[u64::MAX]);
        check(&[0, u64::MAX]);
        check(&[7, 7, 7]);
        check(&(0..1000).map(|n| n * 16).collect::<Vec<_>>());
        check(&(0..1000).map(|n| (n * n * n) << 20 | 3).collect::<Vec<_>>());
        check(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, u64::MAX]);
    }
}
