//! Understands what the kernel writes: bytes in, values out.
//! Opens no file, allocates nothing on the way to a number, and takes any bytes without a panic.

use std::path::{Path, PathBuf};

/// `/proc/self/statm`, in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Statm {
    pub(crate) resident: u64,
    pub(crate) shared: u64,
}

/// The fields of `/proc/self/status` that leakline reads; bytes, except `threads`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Status {
    /// Absent before Linux 4.5, as are the next two.
    pub(crate) anonymous: Option<u64>,
    pub(crate) file_backed: Option<u64>,
    pub(crate) shared: Option<u64>,
    pub(crate) swapped: Option<u64>,
    pub(crate) resident_peak: Option<u64>,
    pub(crate) threads: Option<u64>,
}

/// The fields of `/proc/meminfo` that leakline reads, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Meminfo {
    /// Absent before Linux 3.14.
    pub(crate) available: Option<u64>,
    pub(crate) swap_free: Option<u64>,
}

/// Sums over the entries of `smaps`, or the one entry of `smaps_rollup`, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Proportional {
    pub(crate) resident: Option<u64>,
    /// Absent before Linux 4.3.
    pub(crate) swapped: Option<u64>,
}

/// `None` for anything that is not a line of numbers with at least three of them.
pub(crate) fn statm(text: &[u8]) -> Option<Statm> {
    let mut words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let _size = number(words.next()?)?;
    Some(Statm { resident: number(words.next()?)?, shared: number(words.next()?)? })
}

/// Takes the fields that are there; a host without memory of its own (a zombie) has none.
pub(crate) fn status(text: &[u8]) -> Status {
    let mut status = Status::default();
    for line in text.split(|byte| *byte == b'\n') {
        let Some((key, value)) = field(line) else { continue };
        let slot = match key {
            b"RssAnon" => &mut status.anonymous,
            b"RssFile" => &mut status.file_backed,
            b"RssShmem" => &mut status.shared,
            b"VmSwap" => &mut status.swapped,
            b"VmHWM" => &mut status.resident_peak,
            b"Threads" => {
                status.threads = number(value.trim_ascii());
                continue;
            }
            _ => continue,
        };
        *slot = kibibytes(value);
    }
    status
}

/// Takes the fields that are there.
pub(crate) fn meminfo(text: &[u8]) -> Meminfo {
    let mut meminfo = Meminfo::default();
    for (key, value) in text.split(|byte| *byte == b'\n').filter_map(field) {
        match key {
            b"MemAvailable" => meminfo.available = kibibytes(value),
            b"SwapFree" => meminfo.swap_free = kibibytes(value),
            _ => {}
        }
    }
    meminfo
}

/// Sums `Pss` and `SwapPss` over text that comes in pieces of any size.
#[derive(Debug)]
pub(crate) struct SmapsSum {
    sum: Proportional,
    /// The beginning of the line that the last piece ended in. The lines that count are shorter than this.
    line: [u8; 64],
    line_bytes: usize,
}

impl SmapsSum {
    pub(crate) fn new() -> Self {
        Self { sum: Proportional::default(), line: [0; 64], line_bytes: 0 }
    }

    pub(crate) fn feed(&mut self, piece: &[u8]) {
        let mut lines = piece.split(|byte| *byte == b'\n');
        // `split` gives at least one part; all but the last ended in a newline.
        if let Some(first) = lines.next() {
            self.extend(first);
        }
        for line in lines {
            self.end_line();
            self.extend(line);
        }
    }

    pub(crate) fn finish(mut self) -> Proportional {
        self.end_line();
        self.sum
    }

    fn extend(&mut self, part: &[u8]) {
        for (slot, byte) in self.line.iter_mut().skip(self.line_bytes).zip(part) {
            *slot = *byte;
        }
        self.line_bytes = self.line_bytes.saturating_add(part.len());
    }

    fn end_line(&mut self) {
        let line = self.line.get(..self.line_bytes);
        self.line_bytes = 0;
        let Some((key, value)) = line.and_then(field) else { return };
        let slot = match key {
            b"Pss" => &mut self.sum.resident,
            b"SwapPss" => &mut self.sum.swapped,
            _ => return,
        };
        if let Some(bytes) = kibibytes(value) {
            *slot = Some(slot.unwrap_or(0).saturating_add(bytes));
        }
    }
}

/// The first name in the answer of `getdents64`, and what follows it.
pub(crate) fn directory_entry(answer: &[u8]) -> Option<(&[u8], &[u8])> {
    const NAME: usize = 19;
    let length = answer.get(16..18)?;
    let length = usize::from(u16::from_ne_bytes([length[0], length[1]]));
    let (entry, after) = answer.split_at_checked(length)?;
    let name = entry.get(NAME..)?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    Some((name.get(..end)?, after))
}

/// The soft limit of the address space in `/proc/PID/limits`; `None` where there is none.
pub(crate) fn address_space_limit(text: &[u8]) -> Option<u64> {
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Max address space"))?;
    number(line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty())?)
}

/// A limit as a control group writes it: a number of bytes; `None` for `max` and for what is not a number.
pub(crate) fn cgroup_limit(text: &[u8]) -> Option<u64> {
    number(text.trim_ascii())
}

/// Where a control group hierarchy that limits memory is mounted, and the host's group in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemoryGroup {
    /// 1 or 2.
    pub(crate) version: u8,
    /// The folder of the hierarchy's topmost visible group.
    pub(crate) mount: PathBuf,
    /// The host's own group, below `mount`.
    pub(crate) below: PathBuf,
}

/// Puts `/proc/self/mountinfo` and `/proc/self/cgroup` together.
pub(crate) fn memory_groups(mountinfo: &str, cgroup: &str) -> Vec<MemoryGroup> {
    mountinfo.lines().filter_map(|line| memory_group(line, cgroup)).collect()
}

fn memory_group(mount_line: &str, cgroup: &str) -> Option<MemoryGroup> {
    let (place, system) = mount_line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let (root, mount) = (unescaped(place.next()?), unescaped(place.next()?));
    let mut system = system.split(' ');
    let version = match (system.next()?, system.nth(1)) {
        ("cgroup2", _) => 2,
        ("cgroup", Some(options)) if options.split(',').any(|option| option == "memory") => 1,
        _ => return None,
    };
    let group = cgroup.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        let wanted = match version {
            2 => controllers.is_empty(),
            _ => controllers.split(',').any(|controller| controller == "memory"),
        };
        parts.next().filter(|_| wanted)
    })?;
    // In a container the mount shows only a part of the tree. A group outside of it cannot be looked at: then the
    // mount's own limit is the nearest that can.
    let below = Path::new(group).strip_prefix(&root).unwrap_or(Path::new(""));
    let steps_out = below.components().any(|part| part == std::path::Component::ParentDir);
    let below = if steps_out { PathBuf::new() } else { below.to_owned() };
    Some(MemoryGroup { version, mount: PathBuf::from(mount), below })
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescaped(word: &str) -> String {
    let mut parts = word.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(u8::is_ascii) {
            Some(byte) => {
                text.push(char::from(byte));
                text.push_str(part.get(3..).unwrap_or_default());
            }
            None => {
                text.push('\\');
                text.push_str(part);
            }
        }
    }
    text
}

/// `Key:   value` in its two parts.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    Some((line.get(..colon)?, line.get(colon + 1..)?))
}

/// `   123 kB` in bytes.
pub(crate) fn kibibytes(value: &[u8]) -> Option<u64> {
    number(value.trim_ascii().strip_suffix(b" kB")?.trim_ascii())?.checked_mul(1024)
}

pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests;
