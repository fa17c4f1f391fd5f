//! The recording's files: making, locking, moving aside. Knows nothing of entries.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use leakline_core::SinkError;
use leakline_proto::v1;

use crate::existing::{Existing, is_ours, look};
use crate::held::Identity;

/// A new, empty recording of `session` at `path`. What is there already is moved aside, or emptied and used where it held
/// nothing worth keeping.
pub(crate) fn make(path: &Path, keep: u32, session: &v1::Session) -> Result<File, SinkError> {
    match take_over(path, keep, session)? {
        Some(file) => Ok(file),
        None => create(path),
    }
}

fn create(path: &Path) -> Result<File, SinkError> {
    // std opens everything with O_CLOEXEC.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = file.map_err(|error| failed("cannot make the recording", &error, path))?;
    lock(&file, path)?;
    Ok(file)
}

/// `None`: nothing is there now.
fn take_over(path: &Path, keep: u32, session: &v1::Session) -> Result<Option<File>, SinkError> {
    let what = "cannot use the recording that is there";
    // What moving aside would replace.
    for number in 1..=keep.max(1) {
        let older = numbered(path, number);
        if let Some(mut file) = open_existing(&older)?
            && !is_ours(&mut file).map_err(|error| failed(what, &error, &older))?
        {
            return Err(foreign(&older));
        }
    }
    let Some(mut file) = open_existing(path)? else { return Ok(None) };
    lock(&file, path)?;
    match look(&mut file, session).map_err(|error| failed(what, &error, path))? {
        Existing::Foreign => Err(foreign(path)),
        Existing::Recording => {
            move_aside(path, keep.max(1))?;
            tracing::info!(path = %path.display(), "an older recording was moved aside");
            Ok(None)
        }
        Existing::Nothing | Existing::SameProcess => {
            file.set_len(0).map_err(|error| failed(what, &error, path))?;
            Ok(Some(file))
        }
    }
}

/// Moves `PATH` to `PATH.1`, that one to `PATH.2`, and so on; the one with number `keep` is replaced. Without any to
/// keep, `PATH` is removed.
pub(crate) fn move_aside(path: &Path, keep: u32) -> Result<(), SinkError> {
    let result = if keep == 0 {
        absent_is_fine(fs::remove_file(path))
    } else {
        (0..keep).rev().try_for_each(|number| {
            absent_is_fine(fs::rename(numbered(path, number), numbered(path, number + 1)))
        })
    };
    result.map_err(|error| failed("cannot move the full recording aside", &error, path))
}

/// The file that `identity` is of, opened by its name again.
pub(crate) fn open_again(path: &Path, identity: Identity) -> Result<File, SinkError> {
    let what = "cannot open the recording again, whose descriptor was closed";
    let file = open_existing(path)?.filter(|file| Identity::of(file).is_ok_and(|found| found == identity));
    let Some(file) = file else {
        let error = io::Error::from(io::ErrorKind::NotFound);
        return Err(failed(what, &error, path));
    };
    // The lock went with the descriptor.
    lock(&file, path)?;
    Ok(file)
}

/// Whether `path` still names the file: somebody may have deleted or moved it.
pub(crate) fn is_at(identity: Identity, path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(named) => identity == Identity::from(&named),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// The folder that `path` lies in, as this process sees it now: after a change of its root or its mounts it is another one.
pub(crate) fn folder_of(path: &Path) -> Option<Identity> {
    fs::metadata(path.parent()?).ok().map(|folder| Identity::from(&folder))
}

/// `PATH.3`; `PATH` itself for 0.
pub(crate) fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_path_buf();
    }
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// An error with its cause, a remedy where there is one, and the path last.
pub(crate) fn failed(what: &'static str, error: &io::Error, path: &Path) -> SinkError {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "; make its folder or choose another path",
        io::ErrorKind::PermissionDenied => {
            "; choose a path that the user of this process may write to, or allow it"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room, and recording goes on with the next snapshot"
        }
        io::ErrorKind::FileTooLarge => {
            "; raise the file size limit (ulimit -f) of this program, and recording goes on with the next snapshot"
        }
        io::ErrorKind::ReadOnlyFilesystem => "; choose a path on a file system that can be written",
        io::ErrorKind::AlreadyExists => "; another process made it just now: give each process its own path",
        _ => "",
    };
    SinkError::Unavailable { what: what.into(), reason: format!("{error}{remedy}: {}", path.display()) }
}

fn open_existing(path: &Path) -> Result<Option<File>, SinkError> {
    // O_NONBLOCK: a pipe would block until somebody reads it. Files do not care.
    let open =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let file = match open {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => return Err(no_file(path)),
        Err(error) => return Err(failed("cannot open the recording that is there", &error, path)),
    };
    let kind =
        file.metadata().map_err(|error| failed("cannot open the recording that is there", &error, path))?;
    if kind.is_file() { Ok(Some(file)) } else { Err(no_file(path)) }
}

fn no_file(path: &Path) -> SinkError {
    SinkError::Misconfigured {
        what: "the recording's path is not a file".into(),
        reason: format!("choose another: {}", path.display()),
    }
}

fn foreign(path: &Path) -> SinkError {
    SinkError::Misconfigured {
        what: "a file that is not a leakline recording would be replaced".into(),
        reason: format!("move it or choose another path for the recording: {}", path.display()),
    }
}

/// Takes the record lock on `file`. It belongs to the process: children do not inherit it, and it ends with the process
/// and with a change of its program. File systems without locks are used without.
fn lock(file: &File, path: &Path) -> Result<(), SinkError> {
    let whole = whole(libc::F_WRLCK);
    // SAFETY: the descriptor is open as long as `file` lives, and fcntl only reads the flock that it is given for F_SETLK.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const whole) };
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EAGAIN) if result == -1 => Err(SinkError::Unavailable {
            what: "another process writes this recording".into(),
            reason: format!("give each process its own path: {}", path.display()),
        }),
        _ => Ok(()),
    }
}

/// Whether another process writes the recording at `path` right now. Not to be asked in a process that writes one: it would
/// lose its own lock.
pub fn is_written(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let mut lock = whole(libc::F_RDLCK);
    // SAFETY: the descriptor is open, and fcntl writes one flock into ours.
    let asked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut lock) };
    asked == 0 && libc::c_int::from(lock.l_type) != libc::F_UNLCK
}

/// All of a file, which is what zeros say.
fn whole(kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}
