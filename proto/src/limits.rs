//! The bounds that hold for what is sent and written. The encoder keeps them, the decoder refuses what does not.

use crate::error::DecodeError;

/// No entry is larger than this when encoded. gRPC refuses messages from 4 MiB on, and a reader of a recording must
/// know how far a damaged length may lead it astray.
pub const MAX_ENTRY_BYTES: usize = 1 << 20;

/// What can be split is split into entries of about this size, so that damage and resending cost little.
pub(crate) const SPLIT_BYTES: usize = 256 << 10;

/// Longer strings are cut to this, at a character, and end with `…`. Linux's longest path has 4,096 bytes.
pub const MAX_STRING_BYTES: usize = 4096;

/// Call paths with more frames lose the outer ones and are marked as truncated. tracemalloc's and the JVM's own depth
/// limits are configured far below this.
pub const MAX_FRAMES: usize = 256;

/// Readings in one snapshot: one per probe.
pub const MAX_READINGS: usize = 256;

/// Sources with a profile in one reading. Python has four.
pub const MAX_SOURCES: usize = 8;

/// A source's name is cut to this: all of a snapshot's are in one entry.
pub const MAX_SOURCE_NAME_BYTES: usize = 64;

/// Profiles that are followed in one epoch, of all probes and all their sources.
pub const MAX_PROFILES: usize = 512;

/// What the interned strings, frames and sites of one epoch may take in a reader's memory, by an estimate that both ends share.
/// Room for about 400,000 call paths of 10 frames.
pub const MAX_TABLE_BYTES: u64 = 64 << 20;

/// Bytes of text that the identities of one epoch's sites are computed from: it bounds the time that a message with
/// long strings can cost a reader, to about a second.
pub const MAX_SITE_TEXT_BYTES: u64 = 1 << 30;

/// Sites in all profiles of a session together, at one time.
pub const MAX_AMOUNTS: usize = 1 << 20;

/// Every so many snapshots the encoder begins an epoch, so that a reader of a damaged recording, who knows the gauges
/// but not the profiles after the damage, knows all again: an hour later at the interval of 5 minutes. A keyframe is
/// some hundred KiB for some thousand sites, which makes this the larger part of a recording; with less than an hour
/// between them it would be nearly all of it.
pub const KEYFRAME_EVERY: u64 = 12;

/// The encoder begins an epoch when its table has grown past this and to twice of what the epoch began with: what
/// no longer lives leaves the table, and a profile that is that large every time is still sent as its changes.
pub const EPOCH_TABLE_BYTES: u64 = 4 << 20;

/// Counts what one epoch's table takes, the same way at both ends.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Budget {
    pub(crate) table_bytes: u64,
    pub(crate) site_text_bytes: u64,
}

impl Budget {
    pub(crate) fn string(&mut self, bytes: usize) -> Result<(), DecodeError> {
        if bytes > MAX_STRING_BYTES {
            return Err(too_large(bytes as u64, MAX_STRING_BYTES as u64, "Intern.strings"));
        }
        self.table(48 + bytes as u64, "Intern.strings")
    }

    pub(crate) fn frame(&mut self, is_native: bool) -> Result<(), DecodeError> {
        self.table(if is_native { 120 } else { 80 }, "Intern.frames")
    }

    /// `text_bytes`: of all its functions, files and build ids, or of its class.
    pub(crate) fn site(&mut self, frames: usize, text_bytes: u64) -> Result<(), DecodeError> {
        if frames > MAX_FRAMES {
            return Err(too_large(frames as u64, MAX_FRAMES as u64, "CallPath.frames"));
        }
        let text = self.site_text_bytes.saturating_add(text_bytes);
        if text > MAX_SITE_TEXT_BYTES {
            return Err(too_large(text, MAX_SITE_TEXT_BYTES, "Intern.sites"));
        }
        self.table(64 + 8 * frames as u64, "Intern.sites")?;
        self.site_text_bytes = text;
        Ok(())
    }

    fn table(&mut self, bytes: u64, field: &'static str) -> Result<(), DecodeError> {
        let table = self.table_bytes.saturating_add(bytes);
        if table > MAX_TABLE_BYTES {
            return Err(too_large(table, MAX_TABLE_BYTES, field));
        }
        self.table_bytes = table;
        Ok(())
    }
}

pub(crate) fn too_large(size: u64, limit: u64, field: &'static str) -> DecodeError {
    DecodeError::TooLarge { size, limit, field }
}
