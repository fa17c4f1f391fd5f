//! Says what a mapping is, from its name (`named`), its access and its neighbours, and cuts mappings along claims.
//! Pure: one rule for a JVM's reservations, and arithmetic on ranges. Reads no memory.

use std::collections::BTreeMap;

use super::named;
use super::text::{Access, Line};

/// What the pages of a range of addresses are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Data of the program and its libraries that was written to.
    Libraries,
    /// Threads' stacks.
    Stacks,
    /// Malloc's heaps.
    Malloc,
    /// Blocks that malloc mapped one by one.
    MallocMapped,
    JavaHeap,
    JavaCode,
    /// Metaspace, card tables, marking bitmaps, archives of classes.
    JavaOther,
    /// Pymalloc's arenas, where somebody tells which they are.
    Python,
    Graphics,
    /// A graphics device's, whose pages the kernel counts as a file's.
    GraphicsDevice,
    /// Leakline's own.
    Leakline,
    /// What has a name that says whose it is, or was seen to be mapped by somebody.
    Other,
    /// Anonymous memory without a name.
    Unnamed,
}

impl Class {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::Unnamed as usize + 1;
}

/// What kind of file is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Files {
    /// Compiled and uncompiled Java: .dex, .oat, .art, class archives.
    Java,
    /// .apk and .jar.
    Packages,
    Fonts,
    /// Programs, libraries, and all others.
    Plain,
}

impl Files {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::Plain as usize + 1;
}

/// A mapping, reduced to what is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) access: Access,
    /// What its anonymous pages are; for shared memory, what all are.
    pub(crate) class: Class,
    pub(crate) pages: Pages,
    /// What the other pages are of, where it is a file.
    pub(crate) files: Files,
    /// How many the kernel has here: neighbours that are alike are one.
    pub(crate) count: u32,
}

/// Which of a mapping's pages its class counts. The pages of files are counted by the kernel, all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pages {
    /// Those that are not a file's.
    Anonymous,
    /// Shared memory's: no disk is behind it.
    Shared,
    /// None: the kernel counts them nowhere (device memory, huge pages), or with files.
    Uncounted,
}

impl Mapping {
    pub(crate) fn of(line: &Line<'_>) -> Self {
        let (class, pages) = named::class(line.name);
        let files = named::files(line.name);
        Self { start: line.start, end: line.end, access: line.access, class, pages, files, count: 1 }
    }

    /// Takes `next` in, where it lies behind this and is like it for all that is asked here.
    pub(crate) fn take_in(&mut self, next: &Self) -> bool {
        let is_alike = next.start == self.end
            && (next.class, next.pages, next.files) == (self.class, self.pages, self.files)
            && next.access.is_none() == self.access.is_none()
            && next.access.can_execute() == self.access.can_execute()
            && next.access.is_shared() == self.access.is_shared();
        if is_alike && self.count < MOST_ALIKE {
            self.end = next.end;
            self.count += 1;
            return true;
        }
        false
    }

    fn is_unnamed(&self) -> bool {
        self.class == Class::Unnamed && self.pages == Pages::Anonymous
    }

    /// Memory without a name that may be read: where malloc's blocks and heaps are.
    pub(crate) fn may_hold_blocks(&self) -> bool {
        self.is_unnamed() && !self.access.is_none()
    }
}

/// So that one question about pages is never about many more mappings.
const MOST_ALIKE: u32 = 500;

/// A guard page of a stack, or a few, is not a reservation.
const LARGEST_GUARD: u64 = 64 * 1024;

/// A JVM reserves large ranges and commits parts of them: what lies in one that nobody else claims is its own. Nobody
/// else in such a process does that: malloc's heaps are found by their headers, before.
pub(crate) fn jvm_reservations(mappings: &mut [Mapping]) {
    let is_reserved = |mapping: &Mapping| {
        mapping.is_unnamed() && mapping.access.is_none() && mapping.end - mapping.start > LARGEST_GUARD
    };
    let beside_a_reservation = |mappings: &[Mapping], at: usize| {
        let Some(mapping) = mappings.get(at) else { return false };
        let before = at.checked_sub(1).and_then(|before| mappings.get(before));
        let is_before = before.is_some_and(|before| before.end == mapping.start && is_reserved(before));
        let after = mappings.get(at + 1);
        is_before || after.is_some_and(|after| after.start == mapping.end && is_reserved(after))
    };
    let found: Vec<(usize, Class)> = mappings
        .iter()
        .enumerate()
        .filter(|(_, mapping)| mapping.may_hold_blocks())
        .filter_map(|(at, mapping)| match mapping.access {
            access if access.can_write() && access.can_execute() => Some((at, Class::JavaCode)),
            _ => beside_a_reservation(mappings, at).then_some((at, Class::JavaOther)),
        })
        .collect();
    for (at, class) in found {
        if let Some(mapping) = mappings.get_mut(at) {
            mapping.class = class;
        }
    }
}

/// Ranges that are known to be somebody's, without overlaps: who came first keeps what it has.
#[derive(Debug, Default)]
pub(crate) struct Claims(BTreeMap<u64, (u64, Class)>);

impl Claims {
    pub(crate) fn add(&mut self, start: u64, end: u64, class: Class) {
        let mut at = start;
        // One that begins before may reach into the range.
        if let Some((_, (before, _))) = self.0.range(..=start).next_back() {
            at = at.max(*before);
        }
        while at < end {
            let next = self.0.range(at..end).next().map(|(start, (end, _))| (*start, *end));
            let (gap_end, after) = next.unwrap_or((end, end));
            if at < gap_end {
                self.0.insert(at, (gap_end, class));
            }
            at = after;
        }
    }

    /// Where the claim ends that holds this address, if one does.
    pub(crate) fn end_at(&self, address: u64) -> Option<u64> {
        self.0.range(..=address).next_back().map(|(_, (end, _))| *end).filter(|end| address < *end)
    }
}

/// A piece of a mapping of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) class: Class,
    pub(crate) pages: Pages,
    pub(crate) files: Files,
    /// Of a mapping that is shared: what in it is not a file's page is no memory that the kernel counts.
    pub(crate) is_shared: bool,
    /// Mappings that it is cut from.
    pub(crate) count: u32,
}

/// Cuts the mappings along the claims.
pub(crate) fn segments(mappings: &[Mapping], claims: &Claims) -> Vec<Segment> {
    let mut segments = Vec::with_capacity(mappings.len() + 2 * claims.0.len());
    let mut claims = claims.0.iter().map(|(start, (end, class))| (*start, *end, *class)).peekable();
    // What the kernel does not count is not asked for; one of these lies where it may not be.
    for mapping in mappings.iter().filter(|mapping| mapping.pages != Pages::Uncounted) {
        let mut push = |start, end, class| {
            segments.push(Segment {
                start,
                end,
                class,
                pages: mapping.pages,
                files: mapping.files,
                is_shared: mapping.access.is_shared(),
                count: mapping.count,
            });
        };
        let mut at = mapping.start;
        while let Some((start, end, class)) = claims.peek().copied() {
            if end <= at {
                claims.next();
                continue;
            }
            if start >= mapping.end {
                break;
            }
            if start > at {
                push(at, start, mapping.class);
            }
            let (from, to) = (start.max(at), end.min(mapping.end));
            push(from, to, class);
            at = to;
            if end > mapping.end {
                break;
            }
        }
        if at < mapping.end {
            push(at, mapping.end, mapping.class);
        }
    }
    segments
}

#[cfg(test)]
#[path = "class_tests.rs"]
mod tests;
