//! What can be wrong with a heap dump, and where in it.

use std::io;

/// Why a heap dump cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HprofError {
    /// The file cannot be read.
    #[error("cannot read at offset {offset}: {source}")]
    Read {
        /// Where in the file.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The file begins otherwise.
    #[error("not a heap dump: it begins with {begins}, not with JAVA PROFILE")]
    Foreign {
        /// The first bytes, or what they are known to be.
        begins: String,
    },
    /// Identifiers of a size that no virtual machine writes.
    #[error("identifiers of {size} bytes; 4 or 8 are known")]
    IdentifierSize {
        /// As the header says.
        size: u32,
    },
    /// The file, or the record around it, ends within a record.
    #[error("cut off at offset {offset}, in {record}")]
    CutOff {
        /// Where it ends.
        offset: u64,
        /// What was being read.
        record: &'static str,
    },
    /// A record that is not known, so that what follows cannot be found either.
    #[error("unknown tag {tag:#04x} at offset {offset}, in {record}")]
    UnknownTag {
        /// Where the tag is.
        offset: u64,
        /// The tag.
        tag: u8,
        /// What was being read.
        record: &'static str,
    },
    /// Something is said that cannot be.
    #[error("{what} at offset {offset}, in {record}")]
    Corrupt {
        /// Where it is said.
        offset: u64,
        /// What was being read.
        record: &'static str,
        /// What cannot be.
        what: &'static str,
    },
    /// More of them than the tables are made for.
    #[error("more than {limit} {what}, from offset {offset} on")]
    TooMany {
        /// Where the first is that has no room.
        offset: u64,
        /// What there is too much of.
        what: &'static str,
        /// How many there can be.
        limit: u64,
    },
}
