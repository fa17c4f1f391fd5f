//! Files of /proc that stay open and are read again in place.
//! Which process they are about is `target`'s to say. Allocates only in this library's own allocator.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use leakline_core::OwnDescriptor;

use crate::error::NativeError;
use crate::parse;
use crate::target::Target;

/// More than any of these files has; a longer one is cut here.
const MOST_BYTES: usize = 1 << 20;

/// These keep showing the memory that they were opened of, whatever becomes of the thread or of the rights to open them.
const KEPT: [&str; 4] = ["maps", "smaps", "smaps_rollup", "pagemap"];

/// An open file and the entry that it was opened through. One of this process is leakline's own descriptor.
#[derive(Debug)]
struct Open {
    file: File,
    entry: i64,
    _own: Option<OwnDescriptor>,
}

impl Open {
    fn new(target: &Target, name: &str) -> io::Result<Self> {
        let (file, entry) = (target.open(name)?, target.entry());
        // Another process is read by a watcher, whose descriptors nobody counts.
        let _own = matches!(target, Target::Own).then(|| OwnDescriptor::new(file.as_raw_fd()));
        Ok(Self { file, entry, _own })
    }
}

/// One file of /proc about the host, kept open.
#[derive(Debug)]
pub(crate) struct ProcFile {
    target: Target,
    name: &'static str,
    open: Option<Open>,
    text: Vec<u8>,
}

impl ProcFile {
    /// One of another process is opened at once, so that it is there when the process's rights change.
    pub(crate) fn of(target: &Target, name: &'static str) -> Self {
        let open = match target {
            Target::Own => None,
            Target::Other(_) => Open::new(target, name).ok(),
        };
        Self { target: target.clone(), name, open, text: Vec::new() }
    }

    /// One of this process.
    #[cfg(test)]
    pub(crate) fn new(name: &'static str) -> Self {
        Self::of(&Target::Own, name)
    }

    /// Where it is, for messages.
    pub(crate) fn path(&self) -> String {
        self.target.path(self.name)
    }

    pub(crate) fn malformed(&self) -> NativeError {
        NativeError::Malformed { path: self.path() }
    }

    /// The whole text as it is now.
    pub(crate) fn read(&mut self) -> Result<&[u8], NativeError> {
        let mut text = std::mem::take(&mut self.text);
        text.resize(text.len().max(4096), 0);
        let mut end = 0;
        let outcome = self.read_pieces(|file| {
            loop {
                if end == text.len() {
                    if end >= MOST_BYTES {
                        return Ok(());
                    }
                    text.resize(end * 2, 0);
                }
                let Some(rest) = text.get_mut(end..) else { return Ok(()) };
                match file.read_at(rest, end as u64) {
                    Ok(0) => return Ok(()),
                    Ok(bytes) => end += bytes,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        });
        self.text = text;
        outcome.map_err(|source| NativeError::Read { source, path: self.path() })?;
        if end == 0 && self.is_others() {
            return Err(self.shows_nothing());
        }
        Ok(self.text.get(..end).unwrap_or_default())
    }

    fn is_others(&self) -> bool {
        matches!(self.target, Target::Other(_))
    }

    /// A file of another process that is empty is of a program that is no more. What is there now is opened next time.
    fn shows_nothing(&mut self) -> NativeError {
        self.open = None;
        let source = match &self.target {
            Target::Other(other) => other.find_living_thread().err(),
            Target::Own => None,
        };
        let source = source.unwrap_or_else(|| io::Error::other("the process has replaced its program"));
        NativeError::Read { source, path: self.path() }
    }

    /// Gives the text from byte `at` on, piece by piece, to `each` until it answers `false`; `at` is then where to go
    /// on. `Ok(false)` when it did.
    pub(crate) fn read_on(
        &mut self,
        at: &mut u64,
        mut each: impl FnMut(&[u8]) -> bool,
    ) -> Result<bool, NativeError> {
        let mut buffer = std::mem::take(&mut self.text);
        buffer.resize(64 * 1024, 0);
        let begun = *at;
        let outcome = self.read_pieces(|file| {
            loop {
                match file.read_at(&mut buffer, *at) {
                    Ok(0) => return Ok(true),
                    Ok(bytes) => {
                        *at += bytes as u64;
                        if !each(buffer.get(..bytes).unwrap_or_default()) {
                            return Ok(false);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        });
        self.text = buffer;
        let outcome = outcome.map_err(|source| NativeError::Read { source, path: self.path() })?;
        if begun == 0 && *at == 0 && self.is_others() {
            return Err(self.shows_nothing());
        }
        Ok(outcome)
    }

    /// As `read_on`, from the beginning.
    pub(crate) fn read_each(&mut self, each: impl FnMut(&[u8]) -> bool) -> Result<bool, NativeError> {
        self.read_on(&mut 0, each)
    }

    /// Does something else with the open file.
    pub(crate) fn with_file<T>(
        &mut self,
        action: impl FnOnce(&File) -> io::Result<T>,
    ) -> Result<T, NativeError> {
        self.read_pieces(action).map_err(|source| NativeError::Read { source, path: self.path() })
    }

    /// Opens where needed: at first, through another entry than before (a fork has another one, too), and after a failure.
    fn read_pieces<T>(&mut self, read: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        let entry = self.target.entry();
        let is_kept = self.is_others() && KEPT.contains(&self.name);
        let open = match self.open.take() {
            Some(open) if open.entry == entry || is_kept => open,
            _ => Open::new(&self.target, self.name)?,
        };
        let outcome = read(&open.file);
        if outcome.is_ok() {
            self.open = Some(open);
        }
        outcome
    }
}

/// Gives the names of an open folder's entries to `each` until it answers `false`. Not `read_dir`: libc's opendir would
/// allocate in the host's malloc.
pub(crate) fn each_entry(folder: &File, mut each: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    // Aligned as the kernel's records are.
    let mut buffer = [0_u64; 512];
    loop {
        let (start, size) = (buffer.as_mut_ptr(), size_of_val(&buffer));
        // SAFETY: the descriptor is open for as long as `folder` lives, and the kernel writes at most `size` bytes into
        // the buffer, which is this function's own.
        let bytes = unsafe { libc::syscall(libc::SYS_getdents64, folder.as_raw_fd(), start, size) };
        let Ok(words) = usize::try_from(bytes).map(|bytes| bytes.div_ceil(8)) else {
            return Err(io::Error::last_os_error());
        };
        if words == 0 {
            return Ok(());
        }
        let answer: Vec<u8> = buffer.iter().take(words).flat_map(|word| word.to_ne_bytes()).collect();
        let mut rest = answer.as_slice();
        while let Some((name, after)) = parse::directory_entry(rest) {
            if !each(name) {
                return Ok(());
            }
            rest = after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_in_place_and_again_after_another_thread_read_it() {
        let mut file = ProcFile::new("statm");
        let first = file.read().unwrap().to_vec();
        assert!(first.ends_with(b"\n"));
        assert!(file.read().is_ok());
        let mut file = std::thread::scope(|scope| {
            let reader = std::thread::Builder::new().spawn_scoped(scope, move || {
                assert!(file.read().is_ok());
                file
            });
            reader.unwrap().join().unwrap()
        });
        // The thread that opened it last is gone, and its entry with it.
        assert!(file.read().unwrap().ends_with(b"\n"));
    }

    #[test]
    fn what_does_not_exist_is_named() {
        let error = ProcFile::new("no_such_file").read().map(<[u8]>::len).unwrap_err();
        assert!(error.to_string().contains("/proc/thread-self/no_such_file"), "{error}");
    }

    #[test]
    fn pieces_are_the_whole_and_stop_when_told_to() {
        let mut pieces = Vec::new();
        let mut file = ProcFile::new("smaps");
        assert!(
            file.read_each(|piece| {
                pieces.extend_from_slice(piece);
                true
            })
            .unwrap()
        );
        assert!(String::from_utf8_lossy(&pieces).contains("VmFlags"));
        assert!(!file.read_each(|_| false).unwrap());
    }
}
