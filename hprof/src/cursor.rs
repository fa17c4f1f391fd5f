//! Reads numbers and identifiers one after the other, up to where the record around them ends.
//! Never reads beyond that end, and names the record in every error.

use std::io::{Read, Seek};

use crate::error::HprofError;
use crate::pages::Pages;

/// A place in a dump that moves forward.
pub(crate) struct Cursor<'a, R> {
    pages: &'a mut Pages<R>,
    /// Where the next byte is read.
    pub(crate) at: u64,
    /// Where the record ends.
    pub(crate) end: u64,
    /// What is being read.
    pub(crate) record: &'static str,
    id_bytes: u8,
}

impl<'a, R: Read + Seek> Cursor<'a, R> {
    pub(crate) fn new(pages: &'a mut Pages<R>, at: u64, end: u64, id_bytes: u8) -> Self {
        Self { pages, at, end, record: "the file", id_bytes }
    }

    pub(crate) fn id_bytes(&self) -> u64 {
        u64::from(self.id_bytes)
    }

    pub(crate) fn cut_off(&self) -> HprofError {
        HprofError::CutOff { offset: self.end.min(self.pages.bytes()), record: self.record }
    }

    pub(crate) fn corrupt(&self, what: &'static str) -> HprofError {
        HprofError::Corrupt { offset: self.at, record: self.record, what }
    }

    #[inline]
    pub(crate) fn fill(&mut self, into: &mut [u8]) -> Result<(), HprofError> {
        let next = self.after(into.len() as u64)?;
        self.pages.read(self.at, into, self.record)?;
        self.at = next;
        Ok(())
    }

    fn after(&self, bytes: u64) -> Result<u64, HprofError> {
        self.at.checked_add(bytes).filter(|next| *next <= self.end).ok_or_else(|| self.cut_off())
    }

    pub(crate) fn skip(&mut self, bytes: u64) -> Result<(), HprofError> {
        self.at = self.after(bytes)?;
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], HprofError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, HprofError> {
        Ok(u8::from_be_bytes(self.take()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, HprofError> {
        Ok(u16::from_be_bytes(self.take()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, HprofError> {
        Ok(u32::from_be_bytes(self.take()?))
    }

    pub(crate) fn id(&mut self) -> Result<u64, HprofError> {
        match self.id_bytes {
            4 => Ok(u64::from(self.u32()?)),
            _ => Ok(u64::from_be_bytes(self.take()?)),
        }
    }

    /// The type of a field or of an array's elements.
    pub(crate) fn kind(&mut self) -> Result<Kind, HprofError> {
        let at = self.at;
        let code = self.u8()?;
        Kind::from_code(code).ok_or(HprofError::Corrupt {
            offset: at,
            record: self.record,
            what: "a type that does not exist",
        })
    }
}

/// The types of fields and elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Boolean,
    Char,
    Float,
    Double,
    Byte,
    Short,
    Int,
    Long,
}

impl Kind {
    pub(crate) const PRIMITIVES: [Self; 8] = [
        Self::Boolean,
        Self::Char,
        Self::Float,
        Self::Double,
        Self::Byte,
        Self::Short,
        Self::Int,
        Self::Long,
    ];

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        match code {
            2 => Some(Self::Object),
            4..=11 => Some(Self::PRIMITIVES[usize::from(code - 4)]),
            _ => None,
        }
    }

    /// Bytes that a value takes in the dump.
    pub(crate) fn bytes(self, id_bytes: u64) -> u64 {
        match self {
            Self::Object => id_bytes,
            Self::Boolean | Self::Byte => 1,
            Self::Char | Self::Short => 2,
            Self::Float | Self::Int => 4,
            Self::Double | Self::Long => 8,
        }
    }

    /// The name of an array of such values.
    pub(crate) fn array_name(self) -> &'static str {
        match self {
            Self::Object => "java.lang.Object[]",
            Self::Boolean => "boolean[]",
            Self::Char => "char[]",
            Self::Float => "float[]",
            Self::Double => "double[]",
            Self::Byte => "byte[]",
            Self::Short => "short[]",
            Self::Int => "int[]",
            Self::Long => "long[]",
        }
    }
}
