//! A file that stays open between ticks, in a process whose program may close any descriptor and then have its number.
//!
//! What the kernel says of the descriptor (device and inode) is compared before each use with what it said when the file was
//! opened. One that is not ours any more is neither read, written nor closed; its owner opens it again.

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;

use crate::descriptors::OwnDescriptor;

/// A file of leakline's own that stays open.
#[derive(Debug)]
pub struct KeptFile {
    file: ManuallyDrop<File>,
    identity: (u64, u64),
    _own: OwnDescriptor,
}

impl KeptFile {
    /// Keeps `file`, which was opened just now.
    ///
    /// # Errors
    ///
    /// When the kernel does not say what it is.
    pub fn new(file: File) -> io::Result<Self> {
        let file = ManuallyDrop::new(file);
        let identity = identity_of(&file)?;
        let own = OwnDescriptor::new(file.as_raw_fd());
        Ok(Self { file, identity, _own: own })
    }

    /// The file, as long as its descriptor is still leakline's.
    ///
    /// # Errors
    ///
    /// When the program has closed it, whatever has its number now.
    pub fn get(&self) -> io::Result<&File> {
        let ours = self.is_ours();
        ours.then_some(&*self.file).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotConnected, "the program closed leakline's descriptor")
        })
    }

    /// Whether its descriptor is still leakline's.
    pub fn is_ours(&self) -> bool {
        identity_of(&self.file).is_ok_and(|now| now == self.identity)
    }

    /// Whether `other` is the same file.
    pub fn is_same(&self, other: &File) -> bool {
        identity_of(other).is_ok_and(|other| other == self.identity)
    }
}

impl Drop for KeptFile {
    fn drop(&mut self) {
        if self.is_ours() {
            // SAFETY: dropped once, here, and not used after.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}

fn identity_of(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::fd::{FromRawFd as _, OwnedFd};

    use super::*;

    #[test]
    fn a_number_that_is_anothers_by_now_is_neither_given_nor_closed() {
        let kept = KeptFile::new(File::open("/proc/self/status").unwrap()).unwrap();
        assert!(kept.get().is_ok());
        let number = kept.file.as_raw_fd();
        // What a host does that closes all descriptors and opens its own.
        // SAFETY: the number is open, and this test closes it in the name of the host.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
        let anothers = std::iter::repeat_with(|| File::open("/proc/self/maps").unwrap());
        // Other tests open files meanwhile; one of these gets the number, or they have it.
        let anothers: Vec<File> = anothers.take(64).collect();
        assert!(kept.get().is_err());
        drop(kept);
        for file in &anothers {
            assert!(file.metadata().is_ok(), "it is still open");
        }
    }
}
