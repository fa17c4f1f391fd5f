//! The characters of a Python string (PEP 393) as UTF-8. What has no place in UTF-8, a lone surrogate, is replaced.

/// Longer texts are cut: a file's or a function's name is never that long by itself.
pub const MAX_CHARACTERS: usize = 4096;

/// The characters of a string, one to four bytes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text<'a> {
    /// Latin-1.
    One(&'a [u8]),
    /// UCS-2.
    Two(&'a [u16]),
    /// UCS-4.
    Four(&'a [u32]),
}

impl Text<'_> {
    /// At most [`MAX_CHARACTERS`] of it.
    pub fn decode(self) -> Box<str> {
        match self {
            Self::One(text) => text.iter().take(MAX_CHARACTERS).map(|unit| char::from(*unit)).collect(),
            Self::Two(text) => {
                text.iter().map(|unit| character(u32::from(*unit))).take(MAX_CHARACTERS).collect()
            }
            Self::Four(text) => text.iter().map(|unit| character(*unit)).take(MAX_CHARACTERS).collect(),
        }
    }
}

fn character(unit: u32) -> char {
    char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)
}
