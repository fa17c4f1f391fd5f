//! What a call path holds, and how a list of such numbers crosses between the agent and the Python part: as one string of
//! bytes, because thousands of numbers one by one take longer than everything else in a profile.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

/// A call path and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SiteNumbers {
    /// The call path, by its index.
    pub site: u32,
    /// Live bytes.
    pub bytes: u64,
    /// Live blocks.
    pub blocks: u64,
    /// Standard error of the live bytes.
    pub error: u64,
    /// Bytes allocated in all, freed or not.
    pub allocated_bytes: u64,
    /// Blocks allocated in all.
    pub allocated_blocks: u64,
}

/// Six numbers of eight bytes: lines of a length that is quick to copy.
const WORD: usize = 8;
const LINE: usize = 6 * WORD;

impl SiteNumbers {
    fn to_line(self) -> [u8; LINE] {
        let words = [
            u64::from(self.site),
            self.bytes,
            self.blocks,
            self.error,
            self.allocated_bytes,
            self.allocated_blocks,
        ];
        let mut line = [0; LINE];
        for (bytes, word) in line.chunks_exact_mut(WORD).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        line
    }

    /// `None` for a site that no index can be.
    fn from_line(line: &[u8; LINE]) -> Option<Self> {
        let mut words = [0; LINE / WORD];
        for (word, bytes) in words.iter_mut().zip(line.chunks_exact(WORD)) {
            *word = u64::from_le_bytes(bytes.try_into().ok()?);
        }
        let [site, bytes, blocks, error, allocated_bytes, allocated_blocks] = words;
        Some(Self {
            site: u32::try_from(site).ok()?,
            bytes,
            blocks,
            error,
            allocated_bytes,
            allocated_blocks,
        })
    }
}

pub(crate) fn serialize<S: Serializer>(sites: &[SiteNumbers], serializer: S) -> Result<S::Ok, S::Error> {
    let mut bytes = Vec::with_capacity(sites.len() * LINE);
    for site in sites {
        bytes.extend_from_slice(&site.to_line());
    }
    serializer.serialize_bytes(&bytes)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SiteNumbers>, D::Error> {
    deserializer.deserialize_bytes(Lines)
}

struct Lines;

impl Visitor<'_> for Lines {
    type Value = Vec<SiteNumbers>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "lines of {LINE} bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        let wrong = || E::invalid_length(bytes.len(), &self);
        let (lines, rest) = bytes.as_chunks::<LINE>();
        if !rest.is_empty() {
            return Err(wrong());
        }
        let mut sites = Vec::with_capacity(lines.len());
        for line in lines {
            sites.push(SiteNumbers::from_line(line).ok_or_else(wrong)?);
        }
        Ok(sites)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{SitesAnswer, decode, encode};

    #[test]
    fn what_was_packed_comes_out_again() {
        let largest = SiteNumbers {
            site: u32::MAX,
            bytes: u64::MAX,
            blocks: 1,
            error: 2,
            allocated_bytes: 1 << 40,
            allocated_blocks: 3,
        };
        for sites in [vec![], vec![largest], vec![SiteNumbers::default(), largest]] {
            let answer = SitesAnswer { sites, epoch: 7, held_nanos: 8, ..SitesAnswer::default() };
            assert_eq!(decode::<SitesAnswer>(&encode(&answer).unwrap()).unwrap(), answer);
        }
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        let visit = |bytes: &[u8]| Lines.visit_bytes::<postcard::Error>(bytes);
        assert_eq!(visit(&[0; 2 * LINE]), Ok(vec![SiteNumbers::default(); 2]));
        for wrong in [&[0; LINE - 1][..], &[0; LINE + 1], &[0xff; LINE]] {
            visit(wrong).unwrap_err();
        }
    }
}
