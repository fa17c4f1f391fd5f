//! What CPython's code objects know of their source: the line of an instruction, in each of the three encodings that
//! CPython has had since 3.9.
//!
//! Pure: reads copied bytes, and knows no Python object. Never panics, whatever the bytes are.

mod lnotab;
mod locations;
mod ranges;
mod text;

pub use text::{MAX_CHARACTERS, Text};

/// Set in an instruction that is a line number already.
pub const IS_LINE: u32 = 1 << 31;

/// Where instructions that precede the code begin: a frame that has not run its first instruction is before it.
const BEFORE_THE_CODE: u32 = u32::MAX - 0xff;

/// How a line table is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFormat {
    /// 3.9: `co_lnotab`, pairs of steps.
    Lnotab,
    /// 3.10: `co_linetable`, pairs of a length and a step (PEP 626).
    Ranges,
    /// From 3.11 on: `co_linetable`, entries of lines and columns (PEP 657).
    Locations,
}

impl LineFormat {
    /// What CPython 3.`minor` uses.
    pub fn of_minor(minor: u32) -> Self {
        match minor {
            0..=9 => Self::Lnotab,
            10 => Self::Ranges,
            _ => Self::Locations,
        }
    }
}

/// Copied out of a code object; owns everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeInfo {
    /// `co_qualname` where there is one (from 3.11 on), else `co_name`.
    pub function: Box<str>,
    /// `co_filename`.
    pub file: Box<str>,
    /// `co_firstlineno`.
    pub first_line: u32,
    /// The line table.
    pub lines: Box<[u8]>,
    /// How it is encoded.
    pub format: LineFormat,
}

impl CodeInfo {
    /// The line of the instruction that begins (or has a part) at byte `instruction`; 0 where it is unknown.
    pub fn line(&self, instruction: u32) -> u32 {
        if instruction >= BEFORE_THE_CODE {
            return self.first_line;
        }
        if instruction & IS_LINE != 0 {
            return instruction & !IS_LINE;
        }
        let line = match self.format {
            LineFormat::Lnotab => lnotab::line(&self.lines, self.first_line, instruction),
            LineFormat::Ranges => ranges::line(&self.lines, self.first_line, instruction),
            LineFormat::Locations => locations::line(&self.lines, self.first_line, instruction),
        };
        line.unwrap_or(0)
    }
}

/// A line number that steps can lead below zero in a table that is damaged.
fn in_range(line: i64) -> Option<u32> {
    u32::try_from(line).ok()
}

#[cfg(test)]
mod tests;
