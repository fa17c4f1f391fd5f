//! Finds what has no name in the map: threads' stacks, glibc's heaps beside the first, blocks that malloc mapped, and
//! zeroed data of libraries. Everything is bounded; memory is read through the kernel, so what was unmapped meanwhile is
//! an error and not a crash.
//! Never reads a page that is not resident: looking must not make memory.

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::os::unix::fs::FileExt;

use leakline_probing::memory::Memory;

use super::class::{Claims, Class, Mapping};
use crate::procfs::ProcFile;
use crate::target::Target;

/// Threads whose stacks are looked for: some 2 ms.
const MOST_THREADS: usize = 4096;
/// Places that are looked at for malloc's headers: some 4 ms.
const MOST_LOOKS: usize = 8192;

/// What is found of malloc.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Malloc {
    /// The size of the blocks that it mapped, touched or not.
    pub(crate) blocks: u64,
    /// glibc's arenas, the first one too; 0 where there is no other.
    pub(crate) arenas: u64,
}

/// Adds what is found. `objects` is where programs and libraries of another process begin.
pub(crate) fn find(
    target: &Target,
    mappings: &[Mapping],
    objects: &[u64],
    claims: &mut Claims,
    pagemap: &mut ProcFile,
) -> Malloc {
    stacks(target, mappings, claims);
    let zeroed = match target {
        Target::Own => own_zeroed_data(),
        Target::Other(_) => {
            objects.iter().flat_map(|start| zeroed_data_of(target.memory(), *start)).collect()
        }
    };
    let mut looks = Looks { left: MOST_LOOKS, memory: target.memory() };
    // Nothing is lost but names where the file cannot be read.
    pagemap
        .with_file(|pagemap| {
            let arenas = heaps(mappings, claims, pagemap, &mut looks);
            claim_zeroed_data(&zeroed, mappings, claims);
            Ok(Malloc { blocks: blocks(mappings, claims, pagemap, &mut looks), arenas })
        })
        .unwrap_or_default()
}

/// Looks at memory, each of which counts.
struct Looks<'a> {
    left: usize,
    memory: &'a Memory,
}

/// The mapping that holds `address`.
fn mapping_at(mappings: &[Mapping], address: u64) -> Option<&Mapping> {
    let at = mappings.partition_point(|mapping| mapping.end <= address);
    mappings.get(at).filter(|mapping| mapping.start <= address)
}

/// glibc keeps a thread's own data at the top of its stack, and the kernel knows one place in there: the list of its
/// robust mutexes. The first thread's stack has a name.
fn stacks(target: &Target, mappings: &[Mapping], claims: &mut Claims) {
    let mut threads = Vec::new();
    let Ok(folder) = target.threads() else { return };
    let _ = crate::procfs::each_entry(&folder, |name| {
        threads.extend(crate::parse::number(name).and_then(|id| c_int::try_from(id).ok()));
        threads.len() < MOST_THREADS
    });
    for id in threads {
        if let Some(place) = robust_list(id)
            && let Some(mapping) = mapping_at(mappings, place).filter(|mapping| mapping.may_hold_blocks())
            && u32::try_from(id) != Ok(target.pid())
        {
            // Where the thread does not say it: the rest of its page is the thread's own data, too; on processors where
            // the thread's variables follow it, so are some more.
            let (start, end) =
                stack_around(target.memory(), place).unwrap_or((mapping.start, (place | 0xfff) + 1));
            claims.add(start.max(mapping.start), end.min(mapping.end), Class::Stacks);
        }
    }
}

/// How far behind the list of robust mutexes glibc keeps the stack's extent: 0x3b0 bytes in 2.36 and 2.43 on x86-64. The thread's
/// data ends further on, so a guard above is not reached.
const EXTENT_WITHIN: usize = 0x400;

/// The stack of the thread whose list of robust mutexes is at `place`, as glibc notes it: from 2.43 on (and Linux 6.13) a
/// guard has no mapping of its own, so the map no longer tells a stack from its neighbours.
fn stack_around(memory: &Memory, place: u64) -> Option<(u64, u64)> {
    let mut bytes = [0; EXTENT_WITHIN];
    let length = memory.read(place, &mut bytes);
    let mut words = [0; EXTENT_WITHIN / 8];
    for (word, bytes) in words.iter_mut().zip(bytes.get(..length)?.as_chunks().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    extent(&words, place)
}

/// The thread's data lies at the top of its stack. Three words in a row say where that begins, its size, and its guard's.
fn extent(words: &[u64], place: u64) -> Option<(u64, u64)> {
    words.windows(3).find_map(|words| {
        let &[start, size, guard] = words else { return None };
        let end = start.checked_add(size)?;
        let is_extent = (start..end).contains(&place)
            && end - place <= LARGEST_THREAD_DATA
            && start != 0
            && size >= SMALLEST_STACK
            && guard < size
            && guard.is_multiple_of(4096);
        is_extent.then(|| (start + guard, end))
    })
}

/// What glibc keeps of a thread, and its variables where they follow.
const LARGEST_THREAD_DATA: u64 = 1 << 20;
/// `PTHREAD_STACK_MIN`.
const SMALLEST_STACK: u64 = 16 * 1024;

fn robust_list(thread: c_int) -> Option<u64> {
    let (mut head, mut length): (*mut c_void, usize) = (std::ptr::null_mut(), 0);
    // SAFETY: the kernel writes one pointer and one length, both ours; it only compares the thread's number.
    let outcome = unsafe { libc::syscall(libc::SYS_get_robust_list, thread, &raw mut head, &raw mut length) };
    (outcome == 0 && !head.is_null()).then_some(head as u64)
}

/// `HEAP_MAX_SIZE` of glibc on 64-bit systems.
const HEAP: u64 = 64 << 20;

/// glibc's heaps beside the first begin at a multiple of their largest size, with a header that tells how much of them
/// is in use. Gives the number of arenas.
fn heaps(mappings: &[Mapping], claims: &mut Claims, pagemap: &File, looks: &mut Looks<'_>) -> u64 {
    let mut others = 0;
    for mapping in mappings.iter().filter(|mapping| mapping.may_hold_blocks()) {
        let mut at = mapping.start.next_multiple_of(HEAP);
        while at < mapping.end && looks.left > 0 {
            looks.left -= 1;
            // `ar_ptr`, `prev`, `size`, `mprotect_size`
            if claims.end_at(at).is_none()
                && let Some([arena, before, size, open]) = words::<4>(looks.memory, pagemap, at)
                && is_heap(arena, before, size, open)
                && mapping_at(mappings, arena).is_some_and(|mapping| mapping.access.can_write())
            {
                claims.add(at, at + HEAP, Class::Malloc);
                // An arena that outgrows its heap has another one, which names the one before.
                others += u64::from(before == 0);
            }
            at += HEAP;
        }
    }
    if others > 0 { others + 1 } else { 0 }
}

fn is_heap(arena: u64, before: u64, size: u64, open: u64) -> bool {
    arena != 0
        && arena.is_multiple_of(8)
        && before.is_multiple_of(HEAP)
        && (4096..=HEAP).contains(&size)
        && (size..=HEAP).contains(&open)
        && size.is_multiple_of(4096)
        && open.is_multiple_of(4096)
}

/// The zeroed data of this process's objects, as the loader says.
fn own_zeroed_data() -> Vec<(u64, u64)> {
    let mut found: Vec<(u64, u64)> = Vec::new();
    unsafe extern "C" fn step(info: *mut libc::dl_phdr_info, _: usize, found: *mut c_void) -> c_int {
        // SAFETY: `found` is the pointer that is passed below, valid during the walk.
        let found = unsafe { &mut *found.cast::<Vec<(u64, u64)>>() };
        // SAFETY: the loader hands in a valid entry for the time of this call.
        let info = unsafe { &*info };
        if info.dlpi_phdr.is_null() || found.len() > 8192 {
            return 0;
        }
        // SAFETY: the loader says how many headers there are, and keeps them while the object is loaded.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        #[expect(clippy::useless_conversion, reason = "32 bits wide on some targets")]
        for header in headers {
            let (address, size) = (u64::from(header.p_vaddr), u64::from(header.p_memsz));
            if header.p_type == libc::PT_LOAD && header.p_memsz > header.p_filesz {
                let start = u64::from(info.dlpi_addr).wrapping_add(address);
                found.push((start, start.saturating_add(size)));
            }
        }
        0
    }
    // SAFETY: `step` matches the signature, pushes and compares only, and `found` outlives the walk.
    unsafe { libc::dl_iterate_phdr(Some(step), (&raw mut found).cast()) };
    found
}

/// More program headers than this have no object that a compiler made.
const MOST_HEADERS: usize = 64;

/// The zeroed data of the object whose file is mapped at `start` from its beginning: what its program headers say, which lie
/// in that mapping. Nothing where it is no object of 64 bits.
fn zeroed_data_of(memory: &Memory, start: u64) -> Vec<(u64, u64)> {
    const MAGIC: &[u8] = b"\x7fELF\x02\x01";
    // As the format has it; the crate libc lacks the first for Android.
    const FILE_HEADER: usize = 64;
    const PROGRAM_HEADER: usize = 56;
    let mut header = [0; FILE_HEADER];
    if memory.read(start, &mut header) != header.len() || !header.starts_with(MAGIC) {
        return Vec::new();
    }
    let (Some(offset), Some(count)) = (number_at(&header, 32, 8), number_at(&header, 56, 2)) else {
        return Vec::new();
    };
    let count = usize::try_from(count).unwrap_or(0).min(MOST_HEADERS);
    let mut headers = vec![0; count * PROGRAM_HEADER];
    if memory.read(start.wrapping_add(offset), &mut headers) != headers.len() {
        return Vec::new();
    }
    let loaded = headers.chunks_exact(PROGRAM_HEADER).filter_map(|header| {
        let is_loaded = number_at(header, 0, 4)? == u64::from(libc::PT_LOAD);
        let [at_address, in_file, in_memory] =
            [number_at(header, 16, 8)?, number_at(header, 32, 8)?, number_at(header, 40, 8)?];
        is_loaded.then_some((at_address, in_file, in_memory))
    });
    let loaded: Vec<(u64, u64, u64)> = loaded.collect();
    let Some(first) = loaded.iter().map(|(address, ..)| *address & !0xfff).min() else { return Vec::new() };
    let moved = start.wrapping_sub(first);
    let zeroed = loaded.into_iter().filter(|(_, in_file, in_memory)| in_memory > in_file);
    zeroed
        .map(|(address, _, size)| {
            (moved.wrapping_add(address), moved.wrapping_add(address).saturating_add(size))
        })
        .collect()
}

/// A little-endian number in a table.
fn number_at(table: &[u8], at: usize, bytes: usize) -> Option<u64> {
    Some(table.get(at..at + bytes)?.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// The zeroed data behind what a library's file initialises is anonymous memory without a name.
fn claim_zeroed_data(found: &[(u64, u64)], mappings: &[Mapping], claims: &mut Claims) {
    for (start, end) in found.iter().copied() {
        // What has a name is classified by it.
        let first = mappings.partition_point(|mapping| mapping.end <= start);
        let inside = mappings.iter().skip(first).take_while(|mapping| mapping.start < end);
        for mapping in inside.filter(|mapping| mapping.may_hold_blocks()) {
            let end = end.next_multiple_of(4096).min(mapping.end);
            claims.add(mapping.start.max(start & !0xfff), end, Class::Libraries);
        }
    }
}

/// So many resident pages of a row are looked at one by one.
const CLOSE_LOOKS: usize = 1024;
/// Then, this far apart: Python's arenas are as large, or four times, so that blocks between them are found.
const STEP: u64 = 256 * 1024;
/// Malloc maps no smaller blocks on its own, unless told to.
const SMALLEST: u64 = 64 * 1024;

/// Blocks that glibc mapped one by one have a header: their size, and the bit that says so. They lie in a row, as the
/// kernel places new mappings below older ones.
fn blocks(mappings: &[Mapping], claims: &mut Claims, pagemap: &File, looks: &mut Looks<'_>) -> u64 {
    let mut found = 0;
    let mut rest = mappings;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if !first.may_hold_blocks() {
            continue;
        }
        let mut end = first.end;
        // A block of which parts were protected is several mappings.
        while let Some((next, after)) = rest.split_first() {
            if next.start != end || next.class != first.class {
                break;
            }
            end = next.end;
            rest = after;
        }
        found += row(first.start, end, claims, pagemap, looks);
    }
    found
}

fn row(start: u64, end: u64, claims: &mut Claims, pagemap: &File, looks: &mut Looks<'_>) -> u64 {
    let mut found = 0;
    let mut at = start;
    let mut close_looks = CLOSE_LOOKS;
    while looks.left > 0 && end.saturating_sub(at) >= SMALLEST {
        if let Some(after) = claims.end_at(at) {
            at = after;
            continue;
        }
        looks.left -= 1;
        match words::<2>(looks.memory, pagemap, at).and_then(|[before, size]| block_bytes(before, size)) {
            Some(bytes) if bytes <= end - at => {
                claims.add(at, at + bytes, Class::MallocMapped);
                at += bytes;
                found += bytes;
            }
            _ if close_looks > 0 => {
                close_looks -= 1;
                at += 4096;
            }
            _ => at = start + (at + 1 - start).next_multiple_of(STEP),
        }
    }
    found
}

/// The size of the block that begins with these words.
fn block_bytes(before: u64, size: u64) -> Option<u64> {
    const IS_MAPPED: u64 = 2;
    let bytes = size & !7;
    (before == 0 && size & 7 == IS_MAPPED && bytes.is_multiple_of(4096) && bytes >= 4096).then_some(bytes)
}

/// The first words at `address`; `None` where they are not resident.
fn words<const COUNT: usize>(memory: &Memory, pagemap: &File, address: u64) -> Option<[u64; COUNT]> {
    const PRESENT: u64 = 1 << 63;
    let mut entry = [0; 8];
    pagemap.read_exact_at(&mut entry, address / crate::process::page_bytes() * 8).ok()?;
    if u64::from_ne_bytes(entry) & PRESENT == 0 {
        return None;
    }
    memory.words(address)
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
