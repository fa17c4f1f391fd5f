//! Finds the entries in a recording's bytes, which may come in pieces, and finds them again after damage.
//! Never holds more than one entry and the piece that it was given last; reads no file.

use prost::Message as _;

use super::{
    FORMAT_VERSION, FRAME_BYTES, HEADER_BYTES, Item, MAGIC, MARKER, Problem, RecordingError, frame_checksum,
};
use crate::limits::MAX_ENTRY_BYTES;
use crate::v1;

/// What was found so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Whole entries.
    pub entries: u64,
    /// The number of the last whole entry; `None` where there is none.
    pub last_number: Option<u64>,
    /// Where the last whole entry ends, or else the header: what is written from here on is read.
    pub end: u64,
    /// Damaged places.
    pub problems: u64,
    /// Whether the last entry is not whole.
    pub truncated: bool,
}

/// Reads a recording that comes in pieces: [`feed`](Self::feed) one, take [`next_item`](Self::next_item) until there is
/// none, feed the next; after the last, [`finish`](Self::finish) and take the rest.
#[derive(Debug, Default)]
pub struct Parser {
    bytes: Vec<u8>,
    /// How far `bytes` were read.
    read: usize,
    finished: bool,
    state: State,
}

impl Parser {
    /// A parser at the beginning of a file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the file.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Says that there are no more bytes. To follow a file that grows, leave it out.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// The next item; `None` where more bytes must come first, or after `finish` where there is no more.
    /// After an error there is nothing to be had of this file.
    pub fn next_item(&mut self) -> Result<Option<Item>, RecordingError> {
        let (used, item) = self.state.next(&self.bytes[self.read..], self.finished)?;
        self.read += used;
        Ok(item)
    }

    /// What was found so far.
    pub fn summary(&self) -> Summary {
        self.state.summary
    }
}

/// Reads a recording that is in memory as a whole.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    state: State,
}

impl<'a> Reader<'a> {
    /// A reader of `recording`, which begins with its header.
    pub fn new(recording: &'a [u8]) -> Result<Self, RecordingError> {
        let mut state = State::default();
        let used = state.header(recording, true)?.unwrap_or(0);
        Ok(Self { rest: &recording[used..], state })
    }

    /// What was found so far.
    pub fn summary(&self) -> Summary {
        self.state.summary
    }
}

impl Iterator for Reader<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        // The header was read, and nothing after it is an error.
        let (used, item) = self.state.next(self.rest, true).ok()?;
        self.rest = &self.rest[used..];
        item
    }
}

/// Where a reader is in the file, and what it has to say before it goes on.
#[derive(Debug, Default)]
struct State {
    /// Of the next byte.
    offset: u64,
    began: bool,
    ended: bool,
    header_problem: bool,
    /// Where the damage began that the reader is in.
    damage: Option<u64>,
    summary: Summary,
}

/// What the bytes at one place are.
enum Frame {
    Whole {
        payload_end: usize,
    },
    /// It would be longer than what is there.
    Cut,
    None,
}

impl State {
    /// Reads on in `bytes`, which begin at `self.offset`: how many were used, and what was found in them.
    fn next(&mut self, bytes: &[u8], finished: bool) -> Result<(usize, Option<Item>), RecordingError> {
        let mut used = 0;
        if !self.began {
            match self.header(bytes, finished)? {
                Some(header) => used = header,
                None => return Ok((0, None)),
            }
        }
        if std::mem::take(&mut self.header_problem) {
            self.summary.problems += 1;
            let what = Problem::Header;
            return Ok((used, Some(Item::Problem { offset: 0, bytes: HEADER_BYTES as u64, what })));
        }
        let item = loop {
            let rest = &bytes[used..];
            match frame(rest) {
                Frame::Whole { payload_end } => {
                    // What comes before a whole entry is told first; the entry is found again.
                    if let Some(problem) = self.damage_ends() {
                        break Some(problem);
                    }
                    let payload = &rest[FRAME_BYTES..payload_end];
                    used += payload_end;
                    break Some(self.entry(payload));
                }
                Frame::Cut if !finished => break None,
                Frame::Cut if self.ended => break None,
                _ if rest.is_empty() => break if finished { self.at_end() } else { None },
                Frame::Cut if self.damage.is_none() && !any_frame(&rest[1..]) => {
                    self.ended = true;
                    self.summary.truncated = true;
                    let item = Item::Truncated { offset: self.offset };
                    self.offset += rest.len() as u64;
                    return Ok((bytes.len(), Some(item)));
                }
                Frame::Cut | Frame::None => {
                    self.damage.get_or_insert(self.offset);
                    let skipped = next_marker(rest);
                    used += skipped;
                    self.offset += skipped as u64;
                }
            }
        };
        Ok((used, item))
    }

    /// Reads the header: its length, or `None` where more bytes must come first.
    fn header(&mut self, bytes: &[u8], finished: bool) -> Result<Option<usize>, RecordingError> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            let known = bytes.len().min(MAGIC.len());
            return match bytes {
                _ if !finished => Ok(None),
                [] => Err(RecordingError::Empty),
                _ if bytes[..known] == MAGIC[..known] => {
                    Err(RecordingError::CutOff { bytes: bytes.len() as u64 })
                }
                _ => Err(foreign(bytes)),
            };
        };
        let version = u16::from_le_bytes([header[8], header[9]]);
        // The two bytes for later are under the checksum, so a later version 1 may use them.
        let intact =
            header.starts_with(MAGIC) && crc32fast::hash(&header[..12]).to_le_bytes() == header[12..];
        if intact && version > FORMAT_VERSION {
            return Err(RecordingError::Newer { version });
        }
        if !intact {
            let after = &bytes[HEADER_BYTES..];
            if after.len() < MARKER.len() && !finished {
                return Ok(None);
            }
            if !after.starts_with(MARKER) && !header.starts_with(MAGIC) {
                return Err(foreign(bytes));
            }
            self.header_problem = true;
        }
        self.began = true;
        self.offset = HEADER_BYTES as u64;
        self.summary.end = self.offset;
        Ok(Some(HEADER_BYTES))
    }

    fn entry(&mut self, payload: &[u8]) -> Item {
        let offset = self.offset;
        let bytes = (FRAME_BYTES + payload.len()) as u64;
        self.offset += bytes;
        match v1::Entry::decode(payload) {
            Ok(entry) => {
                self.summary.entries += 1;
                self.summary.last_number = Some(entry.number);
                self.summary.end = self.offset;
                Item::Entry { entry, offset, end: self.offset }
            }
            Err(error) => {
                self.summary.problems += 1;
                Item::Problem { offset, bytes, what: Problem::Unknown { reason: error.to_string() } }
            }
        }
    }

    fn damage_ends(&mut self) -> Option<Item> {
        let offset = self.damage.take()?;
        self.summary.problems += 1;
        Some(Item::Problem { offset, bytes: self.offset - offset, what: Problem::Damaged })
    }

    /// The file ends without a cut entry.
    fn at_end(&mut self) -> Option<Item> {
        self.ended = true;
        self.damage_ends()
    }
}

/// What begins at the first of `bytes`.
fn frame(bytes: &[u8]) -> Frame {
    let known = bytes.len().min(MARKER.len());
    if bytes[..known] != MARKER[..known] {
        return Frame::None;
    }
    let Some([_, _, _, _, l0, l1, l2, l3, c0, c1, c2, c3]) = bytes.first_chunk::<FRAME_BYTES>() else {
        return Frame::Cut;
    };
    let length_bytes = [*l0, *l1, *l2, *l3];
    let length = u32::from_le_bytes(length_bytes) as usize;
    if length > MAX_ENTRY_BYTES {
        return Frame::None;
    }
    let payload_end = FRAME_BYTES + length;
    match bytes.get(FRAME_BYTES..payload_end) {
        None => Frame::Cut,
        Some(payload) if frame_checksum(length_bytes, payload).to_le_bytes() == [*c0, *c1, *c2, *c3] => {
            Frame::Whole { payload_end }
        }
        Some(_) => Frame::None,
    }
}

/// How far it is to the next place after the first byte where an entry may begin.
fn next_marker(bytes: &[u8]) -> usize {
    (1..bytes.len())
        .find(|at| {
            let here = &bytes[*at..];
            let known = here.len().min(MARKER.len());
            here[..known] == MARKER[..known]
        })
        .unwrap_or(bytes.len())
}

/// Whether a whole entry begins anywhere in `bytes`.
fn any_frame(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        if matches!(frame(bytes), Frame::Whole { .. }) {
            return true;
        }
        bytes = &bytes[next_marker(bytes)..];
    }
    false
}

fn foreign(bytes: &[u8]) -> RecordingError {
    RecordingError::Foreign { begins_with: bytes[..bytes.len().min(8)].to_vec() }
}
