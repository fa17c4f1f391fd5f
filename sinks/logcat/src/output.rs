//! Where lines go: liblog, a file descriptor (stderr), or nowhere.
//! Never writes to stdout, never raises SIGPIPE in the host.

#[cfg(unix)]
mod liblog;

#[cfg(unix)]
use std::ffi::CString;
use std::io;

use crate::TAG;
use crate::lines::{Line, Severity};

/// What lines are written to.
#[derive(Debug)]
pub(crate) enum Output {
    /// Android's log.
    #[cfg(unix)]
    Liblog(liblog::Liblog),
    /// A file descriptor of the host, which stays the host's.
    #[cfg(unix)]
    Descriptor(i32),
    /// Standard error.
    #[cfg(not(unix))]
    Stderr,
    /// Nowhere.
    Nothing,
}

impl Output {
    /// liblog; `None` where the system has none.
    pub(crate) fn liblog() -> Option<Self> {
        #[cfg(unix)]
        return liblog::Liblog::open().map(Self::Liblog);
        #[cfg(not(unix))]
        None
    }

    /// Standard error.
    pub(crate) fn stderr() -> Self {
        #[cfg(unix)]
        return Self::Descriptor(libc::STDERR_FILENO);
        #[cfg(not(unix))]
        Self::Stderr
    }

    /// Makes ready the thread that will write: a pipe that nobody reads must not end the host.
    ///
    /// The thread is leakline's own and lives as long as the sink, so the signal stays blocked on it.
    pub(crate) fn prepare_thread(&self) {
        #[cfg(unix)]
        if matches!(self, Self::Descriptor(_)) {
            block_sigpipe();
        }
    }

    /// Writes one line, and says how many bytes it took.
    pub(crate) fn write(&self, line: &Line) -> io::Result<usize> {
        match self {
            #[cfg(unix)]
            Self::Liblog(liblog) => {
                // Lines have no NUL: control characters are escaped.
                let text = CString::new(line.text.as_str())?;
                liblog.write(line.severity, &text)?;
                Ok(line.text.len())
            }
            #[cfg(unix)]
            Self::Descriptor(descriptor) => write_once(*descriptor, on_stderr(line).as_bytes()),
            #[cfg(not(unix))]
            Self::Stderr => {
                let text = on_stderr(line);
                io::Write::write_all(&mut io::stderr().lock(), text.as_bytes())?;
                Ok(text.len())
            }
            Self::Nothing => Ok(0),
        }
    }
}

/// As `logcat -v tag` shows it.
fn on_stderr(line: &Line) -> String {
    let letter = match line.severity {
        Severity::Info => 'I',
        Severity::Warn => 'W',
    };
    format!("{letter}/{TAG}: {}\n", line.text)
}

/// One `write`, so that lines of several threads do not mix. Only a signal makes it start again.
#[cfg(unix)]
fn write_once(descriptor: i32, bytes: &[u8]) -> io::Result<usize> {
    loop {
        // SAFETY: `bytes` is a live slice, and write only reads its `len` bytes.
        let written = unsafe { libc::write(descriptor, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(written) {
            Ok(written) if written == bytes.len() => return Ok(written),
            Ok(written) => {
                return Err(io::Error::new(
                    io::ErrorKind::WriteZero,
                    format!("only {written} of {} bytes were taken", bytes.len()),
                ));
            }
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
}

#[cfg(unix)]
fn block_sigpipe() {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set that it is given.
    if unsafe { libc::sigemptyset(set.as_mut_ptr()) } != 0 {
        return;
    }
    // SAFETY: the set was initialised by sigemptyset, and SIGPIPE is a valid signal.
    if unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE) } != 0 {
        return;
    }
    // SAFETY: the set is initialised, and a null pointer for the old mask is allowed. Only this thread's mask changes.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()) };
}
