//! Fresh memory in place of what a forked child has in common with its parent and the parent's watcher, at the same
//! addresses: so that the child can be watched on its own, by a watcher that maps the same memory.
//!
//! The memory is a file without a name (`memfd`), which the watcher opens through `/proc/PID/fd`. The child has its
//! descriptor for the moment that this takes, and closes it only while it is still that file.
//!
//! Never here: a wait, an allocation, a file whose size a limit of the host's forbids (the kernel would send it SIGXFSZ).

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use super::SYS_MMAP;

/// Leakline has four: the words of a watcher, the mailboxes, malloc's tables, and the gate of malloc's hook.
const MOST: usize = 8;
/// As in linux/memfd.h.
const MFD_NOEXEC_SEAL: libc::c_uint = 8;

struct Place {
    /// 0: free.
    start: AtomicUsize,
    bytes: AtomicUsize,
}

static PLACES: [Place; MOST] =
    [const { Place { start: AtomicUsize::new(0), bytes: AtomicUsize::new(0) } }; MOST];

/// What is mapped there is shared with a watcher, and to be this child's own once it has a watcher of its own. To be called
/// before the watcher is made, and before any child is: both have the same list, in the same order.
pub fn is_renewed(start: usize, bytes: usize) {
    let is_known = PLACES.iter().any(|place| place.start.load(Acquire) == start);
    let free = PLACES.iter().find(|place| place.start.load(Relaxed) == 0);
    if let Some(place) = free.filter(|_| !is_known) {
        place.bytes.store(bytes, Relaxed);
        place.start.store(start, Release);
    }
}

/// Which file it is, whatever its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Of the file system.
    pub device: u64,
    /// Of the file.
    pub inode: u64,
}

/// The memory, as long as the child keeps it open. Not closed where the number is somebody else's by now.
#[derive(Debug)]
pub struct Memory {
    file: RawFd,
    identity: Identity,
}

impl Memory {
    /// The descriptor's number.
    pub fn number(&self) -> RawFd {
        self.file
    }

    /// Which file it is.
    pub fn identity(&self) -> Identity {
        self.identity
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if identity_of(self.file) == Some(self.identity) {
            // SAFETY: it is our file.
            unsafe { libc::syscall(libc::SYS_close, self.file) };
        }
    }
}

/// In a forked child: makes the memory and maps it in place of the parent's. What was in there is zeroes from now on.
/// To be called while nobody else in this process uses it.
pub fn renew() -> io::Result<Memory> {
    let bytes = total();
    if bytes == 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    may_be_as_large(bytes)?;
    // Never to be executed: a system may allow no others. Before Linux 6.3 it cannot be said.
    let file = unnamed(libc::MFD_CLOEXEC | MFD_NOEXEC_SEAL).or_else(|_| unnamed(libc::MFD_CLOEXEC))?;
    let Some(identity) = identity_of(file) else {
        let error = io::Error::last_os_error();
        // SAFETY: it was opened just now.
        unsafe { libc::syscall(libc::SYS_close, file) };
        return Err(error);
    };
    let memory = Memory { file, identity };
    // SAFETY: takes two numbers.
    if unsafe { libc::ftruncate(file, bytes as libc::off_t) } != 0 {
        return Err(io::Error::last_os_error());
    }
    map_all(file)?;
    Ok(memory)
}

fn unnamed(flags: libc::c_uint) -> io::Result<RawFd> {
    // SAFETY: the name ends with a NUL.
    let file = unsafe { libc::syscall(libc::SYS_memfd_create, c"leakline".as_ptr(), flags) };
    RawFd::try_from(file).ok().filter(|file| *file >= 0).ok_or_else(io::Error::last_os_error)
}

/// In a watcher that is to watch another process: maps that one's memory in place of what is there.
pub fn join(file: BorrowedFd<'_>) -> io::Result<()> {
    map_all(file.as_raw_fd())
}

/// Which file a descriptor is of; `None`: it is none.
pub fn identity_of(file: RawFd) -> Option<Identity> {
    let mut told = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the kernel writes one `stat` into ours.
    if unsafe { libc::fstat(file, told.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: zeroes are a valid `stat`, and the call has filled it.
    let told = unsafe { told.assume_init() };
    #[expect(clippy::useless_conversion, reason = "32 bits wide on some targets")]
    Some(Identity { device: u64::from(told.st_dev), inode: u64::from(told.st_ino) })
}

fn places() -> impl Iterator<Item = (usize, usize)> {
    let places = PLACES.iter().map(|place| (place.start.load(Acquire), place.bytes.load(Relaxed)));
    places.take_while(|(start, _)| *start != 0)
}

/// What a place takes of the file: a multiple of every size of pages.
fn taken(bytes: usize) -> usize {
    bytes.next_multiple_of(64 << 10)
}

fn total() -> usize {
    places().map(|(_, bytes)| taken(bytes)).sum()
}

/// A file that grows beyond the limit costs its process a signal.
fn may_be_as_large(bytes: usize) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one `rlimit` into ours.
    if unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) } != 0
        || limit.rlim_cur < bytes as libc::rlim_t
    {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(())
}

fn map_all(file: RawFd) -> io::Result<()> {
    let mut offset = 0;
    for (start, bytes) in places() {
        map_there(start, bytes, file, offset)?;
        offset += taken(bytes);
    }
    Ok(())
}

/// By a system call: the C library's `mmap` may be hooked, by leakline itself.
fn map_there(start: usize, bytes: usize, file: RawFd, offset: usize) -> io::Result<()> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_NORESERVE;
    // Linux counts in pages where an address has 32 bits.
    let offset = if cfg!(target_pointer_width = "64") { offset } else { offset >> 12 };
    // SAFETY: the range is leakline's own, and words that are read there are atomic.
    let mapped = unsafe {
        libc::syscall(SYS_MMAP, start, bytes, access, kind, isize::try_from(file).unwrap_or(-1), offset)
    };
    if mapped == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the range was mapped above.
    unsafe { libc::madvise(start as *mut libc::c_void, bytes, libc::MADV_DONTDUMP) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::{FromRawFd as _, OwnedFd};
    use std::sync::atomic::AtomicU32;

    use super::*;
    use crate::shared::{Sharing, map};

    /// A child of this process that runs `work`, and its exit status.
    fn forked(work: impl FnOnce() -> bool) -> i32 {
        // SAFETY: the child makes system calls and ends.
        match unsafe { libc::fork() } {
            0 => {
                let status = i32::from(!work());
                // SAFETY: ends the child.
                unsafe { libc::_exit(status) }
            }
            child => {
                let mut status = 0;
                // SAFETY: our own child.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                libc::WEXITSTATUS(status)
            }
        }
    }

    #[test]
    fn a_child_has_memory_of_its_own_where_its_parents_was_and_a_watcher_sees_it() {
        let pages: Vec<_> = (1..=2).map(|pages| map(pages << 12, Sharing::WithWatcher).unwrap()).collect();
        // SAFETY: mapped above for good, and aligned.
        let words: Vec<&AtomicU32> =
            pages.iter().map(|page| unsafe { page.cast::<AtomicU32>().as_ref() }).collect();
        for (number, word) in words.iter().enumerate() {
            is_renewed(std::ptr::from_ref(*word) as usize, (number + 1) << 12);
            word.store(7, Relaxed);
        }
        let (ready, seen) = (map(4096, Sharing::WithWatcher).unwrap(), 2);
        // SAFETY: as above.
        let ready: &AtomicU32 = unsafe { ready.cast().as_ref() };
        let status = forked(|| {
            let Ok(memory) = renew() else { return false };
            if words.iter().any(|word| word.load(Relaxed) != 0) {
                return false;
            }
            words.iter().zip(40..).for_each(|(word, value)| word.store(value, Relaxed));
            // A watcher, which has what the parent has until it joins.
            let file = memory.number();
            let watcher = forked(|| {
                // SAFETY: a copy of the child's descriptor, which nobody else closes here.
                let file = unsafe { OwnedFd::from_raw_fd(file) };
                use std::os::fd::AsFd as _;
                let joined = join(file.as_fd()).is_ok();
                let same = words.iter().zip(40..).all(|(word, value)| word.load(Relaxed) == value);
                words.first().unwrap().store(99, Relaxed);
                joined && same
            });
            ready.store(seen, Relaxed);
            drop(memory);
            watcher == 0 && words.first().unwrap().load(Relaxed) == 99 && identity_of(file).is_none()
        });
        assert_eq!((status, ready.load(Relaxed)), (0, seen));
        // The parent's are as they were.
        assert!(words.iter().all(|word| word.load(Relaxed) == 7));
    }

    #[test]
    fn a_descriptor_that_is_somebody_elses_by_now_is_left_alone() {
        // SAFETY: the path ends with a NUL.
        let file = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY) };
        drop(Memory { file, identity: Identity { device: 0, inode: 0 } });
        assert!(identity_of(file).is_some());
        // SAFETY: opened above.
        unsafe { libc::close(file) };
    }
}
