//! Understands `maps` and `smaps`, in pieces of any size: bytes in, mappings out.
//! Opens no file, and takes any bytes without a panic.

/// One mapping, as the kernel describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) access: Access,
    /// Where in its file it begins.
    pub(crate) offset: u64,
    /// Empty where it has none; ends with ` (deleted)` where its file is gone.
    pub(crate) name: &'a [u8],
}

/// What may be done with a mapping's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Access(u8);

impl Access {
    const READ: u8 = 1;
    const WRITE: u8 = 2;
    const EXECUTE: u8 = 4;
    const SHARED: u8 = 8;

    fn parse(word: &[u8]) -> Option<Self> {
        let [read, write, execute, shared] = *word else { return None };
        let bit = |byte, letter, bit| if byte == letter { bit } else { 0 };
        Some(Self(
            bit(read, b'r', Self::READ)
                | bit(write, b'w', Self::WRITE)
                | bit(execute, b'x', Self::EXECUTE)
                | bit(shared, b's', Self::SHARED),
        ))
    }

    /// Reserved, and not to be touched.
    pub(crate) fn is_none(self) -> bool {
        self.0 & (Self::READ | Self::WRITE | Self::EXECUTE) == 0
    }

    pub(crate) fn can_write(self) -> bool {
        self.0 & Self::WRITE != 0
    }

    pub(crate) fn is_shared(self) -> bool {
        self.0 & Self::SHARED != 0
    }

    pub(crate) fn can_execute(self) -> bool {
        self.0 & Self::EXECUTE != 0
    }
}

/// What `smaps` counts of one mapping, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counted {
    pub(crate) resident: u64,
    pub(crate) anonymous: u64,
    pub(crate) swapped: u64,
}

/// A mapping's line of `maps`; `None` for anything else, such as a field of `smaps`.
pub(crate) fn line(text: &[u8]) -> Option<Line<'_>> {
    let mut rest = text;
    let range = word(&mut rest)?;
    let dash = range.iter().position(|byte| *byte == b'-')?;
    let start = hexadecimal(range.get(..dash)?)?;
    let end = hexadecimal(range.get(dash + 1..)?)?;
    let access = Access::parse(word(&mut rest)?)?;
    let (offset, _device, _inode) = (hexadecimal(word(&mut rest)?)?, word(&mut rest)?, word(&mut rest)?);
    (start < end).then_some(Line { start, end, access, offset, name: rest.trim_ascii() })
}

/// Cuts a text that comes in pieces into lines. What is longer than `MOST` loses its end.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    line: Vec<u8>,
}

/// Longer than the longest path that the kernel shows.
const MOST: usize = 8192;

impl Lines {
    /// Gives each line that `piece` completes.
    pub(crate) fn feed(&mut self, piece: &[u8], mut each: impl FnMut(&[u8])) {
        let mut lines = piece.split_inclusive(|byte| *byte == b'\n');
        for part in &mut lines {
            let (part, is_whole) = part.strip_suffix(b"\n").map_or((part, false), |part| (part, true));
            if is_whole && self.line.is_empty() {
                each(part);
                continue;
            }
            let room = MOST.saturating_sub(self.line.len());
            self.line.extend_from_slice(part.get(..room).unwrap_or(part));
            if is_whole {
                each(&self.line);
                self.line.clear();
            }
        }
    }
}

/// Puts the lines of `smaps` together, mapping by mapping.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    open: Option<(u64, u64, Counted)>,
}

impl Entries {
    /// The mapping before, once another begins.
    pub(crate) fn line(&mut self, text: &[u8]) -> Option<(u64, u64, Counted)> {
        // Fields are far more than mappings.
        if let Some((_, _, counted)) = &mut self.open {
            let slot = [
                (&b"Rss:"[..], &mut counted.resident),
                (b"Anonymous:", &mut counted.anonymous),
                (b"Swap:", &mut counted.swapped),
            ]
            .into_iter()
            .find_map(|(key, slot)| Some((slot, text.strip_prefix(key)?)));
            if let Some((slot, value)) = slot {
                *slot = super::super::parse::kibibytes(value).unwrap_or(0);
                return None;
            }
        }
        let Line { start, end, .. } = line(text)?;
        self.open.replace((start, end, Counted::default()))
    }

    /// The last one.
    pub(crate) fn finish(&mut self) -> Option<(u64, u64, Counted)> {
        self.open.take()
    }
}

fn word<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let text = rest.trim_ascii_start();
    let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
    let (word, after) = text.split_at_checked(end)?;
    *rest = after;
    (!word.is_empty()).then_some(word)
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits
        .iter()
        .try_fold(0_u64, |value, digit| Some(value << 4 | u64::from(char::from(*digit).to_digit(16)?)))
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
