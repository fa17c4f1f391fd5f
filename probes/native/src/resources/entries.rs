//! Walks a folder of /proc.
//! Never through libc's `opendir`: that would allocate in the host's malloc.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use crate::process::as_bytes;

/// Gives each entry's name to `each`, without `.` and `..`. `Ok(false)` when there are more than `most`.
pub(super) fn each(folder: &File, most: u32, mut each: impl FnMut(&CStr)) -> io::Result<bool> {
    // Aligned as the kernel's records are.
    let mut buffer = [0_u64; 1024];
    let mut seen = 0_u32;
    loop {
        // SAFETY: the descriptor is open for as long as `folder` lives, and the kernel writes at most the given
        // length into the buffer, which is this function's own.
        let bytes = unsafe {
            libc::syscall(
                libc::SYS_getdents64,
                folder.as_raw_fd(),
                buffer.as_mut_ptr(),
                std::mem::size_of_val(&buffer),
            )
        };
        let bytes = usize::try_from(bytes).map_err(|_| io::Error::last_os_error())?;
        if bytes == 0 {
            return Ok(true);
        }
        for name in Records(as_bytes(&buffer).get(..bytes).unwrap_or_default()) {
            seen += 1;
            if seen > most {
                return Ok(false);
            }
            each(name);
        }
    }
}

/// The names in an answer of `getdents64`.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = &'a CStr;

    fn next(&mut self) -> Option<&'a CStr> {
        const NAME: usize = 19;
        loop {
            let length = self.0.get(16..18)?;
            let length = usize::from(u16::from_ne_bytes([length[0], length[1]]));
            let record = self.0.get(NAME..length)?;
            self.0 = self.0.get(length..)?;
            let name = CStr::from_bytes_until_nul(record).ok()?;
            if !matches!(name.to_bytes(), b"." | b"..") {
                return Some(name);
            }
        }
    }
}
