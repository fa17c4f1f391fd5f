//! Reads a process's memory through the kernel: what was unmapped meanwhile is `None` and not a crash.
//! Never writes. A page that was mapped and not touched is read as zeros.

use std::ffi::c_void;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Whose memory is read.
#[derive(Debug)]
pub enum Memory {
    /// This process's.
    Own,
    /// That of the process whose `/proc/PID/mem` this is. Opening it needs `PTRACE_MODE_ATTACH`; reading needs nothing more.
    Of(File),
    /// Of a process that does not let this one look: nothing is ever read.
    Nobody,
}

/// The words at `address` of this process; `None` where one of them cannot be read.
pub fn words<const COUNT: usize>(address: u64) -> Option<[u64; COUNT]> {
    Memory::Own.words(address)
}

/// The text at `address` of this process up to its NUL; `None` where there is none within 128 bytes.
pub fn text(address: u64) -> Option<Vec<u8>> {
    Memory::Own.text(address)
}

impl Memory {
    /// The words at `address`; `None` where one of them cannot be read.
    pub fn words<const COUNT: usize>(&self, address: u64) -> Option<[u64; COUNT]> {
        let mut bytes = [[0_u8; 8]; COUNT];
        let size = 8 * COUNT;
        (self.read(address, bytes.as_flattened_mut()) == size).then_some(bytes.map(u64::from_ne_bytes))
    }

    /// The text at `address` up to its NUL; `None` where there is none within 128 bytes.
    pub fn text(&self, address: u64) -> Option<Vec<u8>> {
        let mut bytes = [0_u8; 128];
        // What lies behind the end of a page may not be there.
        let in_page = bytes.len().min(4096 - usize::try_from(address % 4096).unwrap_or(0));
        let first = self.read(address, bytes.get_mut(..in_page)?);
        let mut known = bytes.get(..first)?;
        if !known.contains(&0) && first == in_page {
            let second = self.read(address + first as u64, bytes.get_mut(first..)?);
            known = bytes.get(..first + second)?;
        }
        let end = known.iter().position(|byte| *byte == 0)?;
        known.get(..end).map(<[u8]>::to_vec)
    }

    /// Fills `to` from `address` on: how many bytes were read.
    pub fn read(&self, address: u64, to: &mut [u8]) -> usize {
        match self {
            Self::Own => read_own(address, to),
            Self::Of(memory) => memory.read_at(to, address).unwrap_or(0),
            Self::Nobody => 0,
        }
    }
}

fn read_own(address: u64, to: &mut [u8]) -> usize {
    let local = libc::iovec { iov_base: to.as_mut_ptr().cast(), iov_len: to.len() };
    let remote = libc::iovec { iov_base: address as *mut c_void, iov_len: to.len() };
    // SAFETY: takes no arguments, touches no memory, and cannot fail.
    let process = unsafe { libc::getpid() };
    // SAFETY: the kernel writes at most `to.len()` bytes into `to`, which is the caller's, and checks `address`.
    let read = unsafe { libc::process_vm_readv(process, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(read).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(memory: &Memory) {
        let known = [7_u64, 8, 9];
        assert_eq!(memory.words::<3>(known.as_ptr() as u64), Some(known));
        assert_eq!(memory.words::<1>(8), None);
        assert_eq!(memory.text(c"a text".as_ptr() as u64).as_deref(), Some(&b"a text"[..]));
        assert_eq!(memory.text([b'x'; 200].as_ptr() as u64), None);
        assert_eq!(memory.text(8), None);
    }

    #[test]
    fn what_is_there_is_read_and_what_is_not_is_nothing() {
        check(&Memory::Own);
        check(&Memory::Of(File::open("/proc/self/mem").unwrap()));
        assert_eq!(Memory::Nobody.words::<1>((&raw const CONSTANT) as u64), None);
    }

    static CONSTANT: u64 = 5;
}
