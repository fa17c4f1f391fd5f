//! Reading anywhere in a file of any size through a cache of fixed size.
//! Never holds more than `PAGES` pages, whatever the file says of itself.

use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use crate::error::HprofError;

/// Objects that were allocated together stand together, so a page serves many.
const PAGE_BYTES: usize = 16 << 10;
/// 16 MiB in all.
const PAGES: usize = 1024;

/// A file, and the pages of it that were read last. Each page has one slot where it can be.
pub(crate) struct Pages<R> {
    input: R,
    bytes: u64,
    slots: Vec<Option<Page>>,
}

struct Page {
    number: u64,
    bytes: Vec<u8>,
}

impl<R: Read + Seek> Pages<R> {
    pub(crate) fn new(mut input: R) -> Result<Self, HprofError> {
        let bytes = input.seek(SeekFrom::End(0)).map_err(|source| HprofError::Read { offset: 0, source })?;
        Ok(Self { input, bytes, slots: Vec::new() })
    }

    /// The file's size when it was opened.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Fills `into` with what stands at `at`. `record` is named in the error.
    #[inline]
    pub(crate) fn read(&mut self, at: u64, into: &mut [u8], record: &'static str) -> Result<(), HprofError> {
        let cut_off = HprofError::CutOff { offset: self.bytes, record };
        if at.checked_add(into.len() as u64).is_none_or(|end| end > self.bytes) {
            return Err(cut_off);
        }
        let mut done = 0;
        while done < into.len() {
            let here = at + done as u64;
            let page = self.page(here / PAGE_BYTES as u64)?;
            let from = (here % PAGE_BYTES as u64) as usize;
            // The file can have become shorter since.
            let Some(there) = page.get(from..).filter(|there| !there.is_empty()) else { return Err(cut_off) };
            let count = there.len().min(into.len() - done);
            into[done..done + count].copy_from_slice(&there[..count]);
            done += count;
        }
        Ok(())
    }

    fn page(&mut self, number: u64) -> Result<&[u8], HprofError> {
        if self.slots.is_empty() {
            self.slots.resize_with(PAGES, || None);
        }
        let slot = &mut self.slots[(number % PAGES as u64) as usize];
        if slot.as_ref().is_none_or(|page| page.number != number) {
            let mut bytes = slot.take().map_or_else(|| Vec::with_capacity(PAGE_BYTES), |page| page.bytes);
            bytes.clear();
            let offset = number * PAGE_BYTES as u64;
            fill(&mut self.input, offset, &mut bytes)
                .map_err(|source| HprofError::Read { offset, source })?;
            *slot = Some(Page { number, bytes });
        }
        Ok(slot.as_ref().map_or(&[], |page| &page.bytes))
    }
}

fn fill(input: &mut (impl Read + Seek), offset: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    input.seek(SeekFrom::Start(offset))?;
    bytes.resize(PAGE_BYTES, 0);
    let mut filled = 0;
    while filled < PAGE_BYTES {
        match input.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(())
}
