//! The form of a recording: a file that holds one session's entries, readable up to its last whole entry however it was
//! cut off, and after damage from the next whole one on.
//! Bytes in, values or positions out; opens, reads and writes no file.
//!
//! All numbers are little-endian.
//!
//! | header | bytes |
//! |---|---|
//! | `leakline` | 8 |
//! | format version, 1 | 2 |
//! | zero, for later | 2 |
//! | CRC-32 of the 12 bytes before | 4 |
//!
//! | each entry | bytes |
//! |---|---|
//! | `FF 4C 4B FE`: what to look for after damage | 4 |
//! | length of the payload, at most 1 MiB | 4 |
//! | CRC-32 of length and payload | 4 |
//! | payload: a `leakline.v1.Entry` | length |

mod parser;

use std::fmt;

use prost::Message as _;

pub use self::parser::{Parser, Reader, Summary};
use crate::limits::MAX_ENTRY_BYTES;
use crate::v1;

/// The version of the format that this leakline writes, and the highest that it reads.
pub const FORMAT_VERSION: u16 = 1;

/// Length of the header.
pub const HEADER_BYTES: usize = 16;

/// What an entry takes besides its payload.
pub const FRAME_BYTES: usize = 12;

const MAGIC: &[u8; 8] = b"leakline";
const MARKER: &[u8; 4] = b"\xffLK\xfe";

/// What a recording's file begins with.
pub fn header() -> [u8; HEADER_BYTES] {
    header_of_version(FORMAT_VERSION)
}

fn header_of_version(version: u16) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..10].copy_from_slice(&version.to_le_bytes());
    let checksum = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// How many bytes `entry` takes in a recording.
pub fn len(entry: &v1::Entry) -> u64 {
    (FRAME_BYTES + entry.encoded_len()) as u64
}

/// Adds `entry` to the end of `out`, as a recording holds it.
///
/// `entry` is within [`MAX_ENTRY_BYTES`], as the encoder's are; a reader takes a larger one for damage.
pub fn append(entry: &v1::Entry, out: &mut Vec<u8>) {
    let length = entry.encoded_len();
    debug_assert!(length <= MAX_ENTRY_BYTES, "the encoder splits entries");
    let length_bytes = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    out.reserve(FRAME_BYTES + length);
    out.extend_from_slice(MARKER);
    out.extend_from_slice(&length_bytes);
    let checksum_at = out.len();
    out.extend_from_slice(&[0; 4]);
    entry.encode_raw(out);
    let checksum = frame_checksum(length_bytes, &out[checksum_at + 4..]);
    out[checksum_at..checksum_at + 4].copy_from_slice(&checksum.to_le_bytes());
}

fn frame_checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&length);
    checksum.update(payload);
    checksum.finalize()
}

/// What stands in a recording.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Item {
    /// An entry.
    Entry {
        /// The entry.
        entry: v1::Entry,
        /// Where it begins in the file.
        offset: u64,
        /// Where the next begins.
        end: u64,
    },
    /// Bytes that are no entry. Reading goes on after them.
    Problem {
        /// Where they begin.
        offset: u64,
        /// How many they are.
        bytes: u64,
        /// What is wrong with them.
        what: Problem,
    },
    /// The last entry is not whole: the host was killed while it was written, or is writing it. Nothing follows.
    Truncated {
        /// Where the entry begins that is not whole.
        offset: u64,
    },
}

/// What is wrong with a part of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The header is damaged; entries follow it.
    Header,
    /// No entry begins here, or its checksum does not hold.
    Damaged,
    /// The checksum holds, but it is no entry that this leakline knows.
    Unknown {
        /// What the decoder of messages said.
        reason: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("the header is damaged"),
            Self::Damaged => f.write_str("damaged"),
            Self::Unknown { reason } => write!(f, "not an entry that this leakline knows ({reason})"),
        }
    }
}

/// One line for a user about an item that is no entry.
impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry { entry, offset, .. } => write!(f, "entry {} at byte {offset}", entry.number),
            Self::Problem { offset, bytes, what } => {
                write!(f, "{bytes} bytes at byte {offset} left out: {what}")
            }
            Self::Truncated { offset } => {
                write!(f, "truncated at byte {offset}, everything before is shown")
            }
        }
    }
}

/// Why a file cannot be read as a recording at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// There is nothing in it.
    #[error("an empty file: nothing was recorded yet")]
    Empty,
    /// Not even the header is whole.
    #[error(
        "a leakline recording that was cut off in its header, after {bytes} bytes: nothing was recorded yet"
    )]
    CutOff {
        /// How long the file is.
        bytes: u64,
    },
    /// Something else.
    #[error("not a leakline recording (begins with {})", shown(begins_with))]
    Foreign {
        /// Its first bytes.
        begins_with: Vec<u8>,
    },
    /// Written by a leakline that is newer than this one.
    #[error(
        "recording of a newer format version {version}, this leakline reads up to {FORMAT_VERSION}: use the leakline \
         that wrote it or a newer one"
    )]
    Newer {
        /// The format's version.
        version: u16,
    },
}

/// Bytes as text where they are text, otherwise in hexadecimal.
fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().all(|c| !c.is_control() || c.is_ascii_whitespace()) => format!("{text:?}"),
        _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "),
    }
}

/// What a whole recording in memory comes to, without keeping its entries. The one who appends to it first cuts it to
/// `end`. For a file that is read in pieces: [`Parser::summary`].
pub fn scan(recording: &[u8]) -> Result<Summary, RecordingError> {
    let mut reader = Reader::new(recording)?;
    reader.by_ref().for_each(drop);
    Ok(reader.summary())
}
