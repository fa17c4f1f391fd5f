//! Reads this process's own memory through the kernel: what was unmapped meanwhile is `None` and not a crash.
//! Never writes. A page that was mapped and not touched is read as zeros.

use std::ffi::c_void;

/// The words at `address`; `None` where one of them cannot be read.
pub fn words<const COUNT: usize>(address: u64) -> Option<[u64; COUNT]> {
    let mut words = [0_u64; COUNT];
    let size = size_of::<[u64; COUNT]>();
    (read(address, words.as_mut_ptr().cast(), size) == size).then_some(words)
}

/// The text at `address` up to its NUL; `None` where there is none within 128 bytes.
pub fn text(address: u64) -> Option<Vec<u8>> {
    let mut bytes = [0_u8; 128];
    // What lies behind the end of a page may not be there.
    let in_page = 4096 - usize::try_from(address % 4096).unwrap_or(0);
    let first = read(address, bytes.as_mut_ptr().cast(), bytes.len().min(in_page));
    let mut known = bytes.get(..first)?;
    if !known.contains(&0) && first == in_page {
        let rest = bytes.get_mut(first..)?;
        let second = read(address + first as u64, rest.as_mut_ptr().cast(), rest.len());
        known = bytes.get(..first + second)?;
    }
    let end = known.iter().position(|byte| *byte == 0)?;
    known.get(..end).map(<[u8]>::to_vec)
}

/// How many bytes were read; `to` has room for `size`.
fn read(address: u64, to: *mut c_void, size: usize) -> usize {
    let local = libc::iovec { iov_base: to, iov_len: size };
    let remote = libc::iovec { iov_base: address as *mut c_void, iov_len: size };
    // SAFETY: takes no arguments, touches no memory, and cannot fail.
    let process = unsafe { libc::getpid() };
    // SAFETY: the kernel writes at most `size` bytes at `to`, where the callers above have room, and checks `address`.
    let read = unsafe { libc::process_vm_readv(process, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(read).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_read_and_what_is_not_is_nothing() {
        let known = [7_u64, 8, 9];
        assert_eq!(words::<3>(known.as_ptr() as u64), Some(known));
        assert_eq!(words::<1>(8), None);
        assert_eq!(text(c"a text".as_ptr() as u64).as_deref(), Some(&b"a text"[..]));
        assert_eq!(text([b'x'; 200].as_ptr() as u64), None);
        assert_eq!(text(8), None);
    }
}
