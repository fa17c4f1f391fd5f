//! What is done with the open recording. Before each use it is asked whether its descriptor is still ours (core's `KeptFile`).
//!
//! SIGXFSZ: a write beyond the file size limit raises it, and it ends a program that does not expect it. It is sent to the
//! thread that writes, so it is blocked there around each write and taken back.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use leakline_core::KeptFile;

/// Which file it is, on which device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        file.metadata().map(|metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for Identity {
    fn from(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// The open recording.
#[derive(Debug)]
pub(crate) struct Held {
    file: KeptFile,
    identity: Identity,
}

impl Held {
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let identity = Identity::of(&file)?;
        Ok(Self { file: KeptFile::new(file)?, identity })
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether the descriptor is still this file's.
    pub(crate) fn is_there(&self) -> bool {
        self.file.is_ours()
    }

    /// Whether it has no name any more.
    pub(crate) fn is_deleted(&self) -> bool {
        self.file.get().and_then(File::metadata).is_ok_and(|metadata| metadata.nlink() == 0)
    }

    /// Writes all of `bytes` at `at`. What of it was written where not all could be is not told.
    pub(crate) fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let file = self.file.get()?;
        without_size_signal(|| file.write_all_at(bytes, at))
    }

    /// The file ends at `bytes` from now on.
    pub(crate) fn set_len(&self, bytes: u64) -> io::Result<()> {
        let file = self.file.get()?;
        without_size_signal(|| file.set_len(bytes))
    }

    /// Gives back what was kept beyond the file's end.
    pub(crate) fn give_back(&self) -> io::Result<()> {
        self.set_len(self.file.get()?.metadata()?.len())
    }

    /// Has the file system keep room for `bytes` from `at` on, which does not change the file's size. A file system that
    /// cannot do that keeps none.
    pub(crate) fn reserve(&self, at: u64, bytes: u64) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            let (Ok(at), Ok(bytes)) = (libc::off_t::try_from(at), libc::off_t::try_from(bytes)) else {
                return Ok(());
            };
            let descriptor = self.file.get()?.as_raw_fd();
            let reserve = || {
                // SAFETY: takes numbers; the descriptor is open as long as this lives, or the call fails.
                let outcome = unsafe { libc::fallocate(descriptor, libc::FALLOC_FL_KEEP_SIZE, at, bytes) };
                if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
            };
            if let Err(error) = without_size_signal(reserve) {
                let is_full = matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT | libc::EIO));
                return if is_full { Err(error) } else { Ok(()) };
            }
        }
        let _ = (at, bytes);
        Ok(())
    }
}

/// The largest size that a file of this process may have; `None`: any.
pub(crate) fn size_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes one `rlimit` into ours.
    let outcome = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) };
    #[allow(clippy::useless_conversion, clippy::allow_attributes, reason = "32 bits wide on some targets")]
    (outcome == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then(|| u64::from(limit.rlim_cur))
}

/// Runs `write` with SIGXFSZ blocked on this thread; one that it raised is taken back.
fn without_size_signal<T>(write: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let (mut set, mut before, mut pending) = (empty_set(), empty_set(), empty_set());
    // SAFETY: the set is initialised and the signal's number is valid.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGXFSZ) };
    // SAFETY: both sets are initialised and outlive the call.
    let is_blocked = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before) } == 0;
    // SAFETY: the set is initialised and outlives the call.
    unsafe { libc::sigpending(&raw mut pending) };
    // SAFETY: the set is initialised and the signal's number is valid.
    let was_pending = unsafe { libc::sigismember(&raw const pending, libc::SIGXFSZ) } == 1;
    let outcome = write();
    if outcome.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EFBIG)) && !was_pending {
        take_back(&set);
    }
    if is_blocked {
        // SAFETY: `before` was filled by the call above.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
    }
    outcome
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn take_back(set: &libc::sigset_t) {
    let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: set and time are initialised and outlive the call, and nothing is asked of the signal.
    unsafe { libc::sigtimedwait(set, std::ptr::null_mut(), &raw const at_once) };
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn take_back(set: &libc::sigset_t) {
    let mut signal = 0;
    // SAFETY: the signal is pending, so this returns at once; both are ours.
    unsafe { libc::sigwait(set, &raw mut signal) };
}

fn empty_set() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises what it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised by the call above.
    unsafe { set.assume_init() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_kept_without_changing_the_size() {
        let file = tempfile::tempfile().unwrap();
        let held = Held::new(file).unwrap();
        held.write_all_at(b"abc", 0).unwrap();
        held.reserve(3, 5000).unwrap();
        assert_eq!(held.file.get().unwrap().metadata().unwrap().len(), 3);
        held.set_len(2).unwrap();
        assert_eq!(held.file.get().unwrap().metadata().unwrap().len(), 2);
        assert!(held.is_deleted());
    }
}
