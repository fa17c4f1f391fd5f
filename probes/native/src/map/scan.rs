//! Asks the kernel which pages of the process are there: `PAGEMAP_SCAN` (Linux 6.7), otherwise the sums of `smaps`.
//! Never holds the map's lock over more than some 64 MiB of pages or a thousand mappings at a time.

use std::io;
use std::os::fd::AsRawFd;

use super::class::{Class, Files, Pages, Segment};
use super::text::{Counted, Entries, Lines};
use crate::error::NativeError;
use crate::procfs::ProcFile;

/// What was counted, bytes by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    pub(crate) anonymous: [u64; Class::COUNT],
    /// Shared memory's.
    pub(crate) shared: [u64; Class::COUNT],
    pub(crate) swapped: [u64; Class::COUNT],
    /// The pages of files, by their kind.
    pub(crate) files: [u64; Files::COUNT],
}

impl Totals {
    pub(crate) fn anonymous_sum(&self) -> u64 {
        self.anonymous.iter().sum()
    }
}

/// Where the pages of a map are counted from, piece by piece.
#[derive(Debug)]
pub(crate) struct Count {
    segments: Vec<Segment>,
    /// The first segment that ends behind what was counted so far.
    next: usize,
    pub(super) totals: Totals,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// The address to go on from.
    Scan(u64),
    Smaps {
        at: u64,
        lines: Lines,
        entries: Entries,
    },
}

/// Pages in a row that are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Alike {
    start: u64,
    end: u64,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Anonymous,
    /// A file's, or shared memory's.
    Backed,
    Swapped,
}

impl Count {
    pub(crate) fn new(segments: Vec<Segment>, has_scan: bool) -> Self {
        let way = if has_scan {
            Way::Scan(0)
        } else {
            Way::Smaps { at: 0, lines: Lines::default(), entries: Entries::default() }
        };
        Self { segments, next: 0, totals: Totals::default(), way }
    }

    /// Counts until `goes_on` says no; the totals once all is counted.
    pub(crate) fn step(
        &mut self,
        pagemap: &mut ProcFile,
        smaps: &mut ProcFile,
        mut goes_on: impl FnMut() -> bool,
    ) -> Result<Option<Totals>, NativeError> {
        let mut way = std::mem::replace(&mut self.way, Way::Scan(0));
        let outcome = match &mut way {
            Way::Scan(at) => self.scan(at, pagemap, &mut goes_on),
            Way::Smaps { at, lines, entries } => {
                let whole = smaps.read_on(at, |piece| {
                    lines.feed(piece, |line| {
                        if let Some((start, end, counted)) = entries.line(line) {
                            self.spread(start, end, counted);
                        }
                    });
                    goes_on()
                });
                if let (Ok(true), Some((start, end, counted))) = (&whole, entries.finish()) {
                    self.spread(start, end, counted);
                }
                whole
            }
        };
        self.way = way;
        outcome.map(|whole| whole.then_some(self.totals))
    }

    fn scan(
        &mut self,
        at: &mut u64,
        pagemap: &mut ProcFile,
        goes_on: &mut impl FnMut() -> bool,
    ) -> Result<bool, NativeError> {
        let mut answer = [PageRegion::default(); 512];
        loop {
            // Nothing is asked of the gaps between mappings.
            while self.segments.get(self.next).is_some_and(|segment| segment.end <= *at) {
                self.next += 1;
            }
            let Some(first) = self.segments.get(self.next) else { return Ok(true) };
            let start = first.start.max(*at);
            let mut mappings = 0;
            let within = self.segments.iter().skip(self.next).take_while(|segment| {
                mappings += segment.count;
                mappings <= MOST_MAPPINGS.max(segment.count)
            });
            let end = within.last().map_or(first.end, |segment| segment.end);
            let (regions, walked) = pagemap.with_file(|file| scan(file, start, end, &mut answer))?;
            for alike in answer.iter().take(regions).filter_map(PageRegion::alike) {
                self.add(alike);
            }
            // The kernel says how far it came; the end, where it does not.
            *at = if walked > start { walked.min(end) } else { end };
            if !goes_on() {
                return Ok(self.segments.last().is_none_or(|segment| segment.end <= *at));
            }
        }
    }

    /// Counts pages, in ascending order of their addresses.
    fn add(&mut self, alike: Alike) {
        let mut at = alike.start;
        while at < alike.end {
            let Some(segment) = self.segments.get(self.next) else { return };
            if segment.end <= at {
                self.next += 1;
                continue;
            }
            let end = segment.end.min(alike.end);
            let bytes = end.saturating_sub(segment.start.max(at));
            let class = segment.class as usize;
            let totals = &mut self.totals;
            let slot = match (alike.kind, segment.pages) {
                (Kind::Swapped, _) => totals.swapped.get_mut(class),
                (Kind::Anonymous, Pages::Uncounted) => None,
                (Kind::Anonymous, _) if segment.is_shared => None,
                (Kind::Anonymous, _) => totals.anonymous.get_mut(class),
                (Kind::Backed, Pages::Shared) => totals.shared.get_mut(class),
                (Kind::Backed, _) if segment.class == Class::JavaHeap && segment.is_shared => {
                    totals.shared.get_mut(class)
                }
                (Kind::Backed, Pages::Anonymous) => totals.files.get_mut(segment.files as usize),
                (Kind::Backed, Pages::Uncounted) => None,
            };
            if let Some(slot) = slot {
                *slot += bytes;
            }
            at = end;
        }
    }

    /// Counts what `smaps` says of one mapping, over the segments that it was cut into, by their sizes.
    pub(super) fn spread(&mut self, start: u64, end: u64, counted: Counted) {
        let backed = counted.resident.saturating_sub(counted.anonymous);
        while self.segments.get(self.next).is_some_and(|segment| segment.end <= start) {
            self.next += 1;
        }
        let size = u128::from((end - start).max(1));
        let mut at = self.next;
        while let Some(segment) = self.segments.get(at).copied().filter(|segment| segment.start < end) {
            let inside = segment.end.min(end).saturating_sub(segment.start.max(start));
            // At most `bytes`, so it fits.
            let share = |bytes: u64| (u128::from(bytes) * u128::from(inside) / size) as u64;
            let class = segment.class as usize;
            let add = |slot: Option<&mut u64>, bytes: u64| {
                if let Some(slot) = slot {
                    *slot += share(bytes);
                }
            };
            let totals = &mut self.totals;
            add(totals.swapped.get_mut(class), counted.swapped);
            if segment.pages != Pages::Uncounted {
                add(totals.anonymous.get_mut(class), counted.anonymous);
            }
            match segment.pages {
                Pages::Shared => add(totals.shared.get_mut(class), backed),
                Pages::Anonymous => add(totals.files.get_mut(segment.files as usize), backed),
                Pages::Uncounted => {}
            }
            at += 1;
        }
    }
}

/// Mappings in one question: 0.4 ms.
const MOST_MAPPINGS: u32 = 1000;
/// Pages in one question: 0.6 ms.
const MOST_PAGES: u64 = 16_384;

/// `struct page_region`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

const IS_FILE: u64 = 1 << 2;
const IS_PRESENT: u64 = 1 << 3;
const IS_SWAPPED: u64 = 1 << 4;
/// The page of zeros that stands for what was only read; the kernel does not count it.
const IS_ZERO: u64 = 1 << 5;

impl PageRegion {
    fn alike(&self) -> Option<Alike> {
        let kind = match self.categories {
            is if is & IS_SWAPPED != 0 => Kind::Swapped,
            is if is & IS_PRESENT == 0 || is & IS_ZERO != 0 => return None,
            is if is & IS_FILE != 0 => Kind::Backed,
            _ => Kind::Anonymous,
        };
        Some(Alike { start: self.start, end: self.end, kind })
    }
}

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Debug, Default)]
struct ScanArguments {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: u32 = 0xC060_6610;

/// How many of `answer` were filled, and up to where.
fn scan(
    pagemap: &std::fs::File,
    start: u64,
    end: u64,
    answer: &mut [PageRegion],
) -> io::Result<(usize, u64)> {
    let mut arguments = ScanArguments {
        size: size_of::<ScanArguments>() as u64,
        start,
        end,
        vec: answer.as_mut_ptr() as u64,
        vec_len: answer.len() as u64,
        max_pages: MOST_PAGES,
        category_anyof_mask: IS_PRESENT | IS_SWAPPED,
        return_mask: IS_FILE | IS_PRESENT | IS_SWAPPED | IS_ZERO,
        ..ScanArguments::default()
    };
    // SAFETY: the kernel writes at most `vec_len` regions into `answer`, and `walk_end` into the arguments; both are
    // ours and outlive the call.
    let count = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN as _, &raw mut arguments) };
    match usize::try_from(count) {
        Ok(count) => Ok((count, arguments.walk_end)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Whether this kernel can be asked for pages.
pub(crate) fn has_scan(pagemap: &mut ProcFile) -> bool {
    pagemap.with_file(|file| scan(file, 0, 4096, &mut [PageRegion::default()])).is_ok()
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
