//! The folder of recordings: which session has which file, and what stands beside it.
//! Blocking. Never deletes a recording.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use leakline_core::{Session, SessionId};

use crate::error::CollectorError;
use crate::recording::Recording;
use crate::sessions;

/// The end of a recording's name.
pub(crate) const EXTENSION: &str = "leak";

/// Longest part of a file's name that comes from the host's name, in bytes. 255 is the usual limit of a whole name.
const MAX_NAME_BYTES: usize = 80;

#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    known: Mutex<HashMap<SessionId, PathBuf>>,
    max_recording_bytes: u64,
}

impl Store {
    /// Makes the folder where it is missing, tries whether it can be written to, and looks which sessions it has.
    pub(crate) fn open(folder: &Path, max_recording_bytes: u64) -> Result<Self, CollectorError> {
        let error = |source| CollectorError::Folder { source, path: folder.to_owned() };
        fs::create_dir_all(folder).map_err(error)?;
        let trial = folder.join(format!(".leakline-collector-{}", std::process::id()));
        fs::write(&trial, []).and_then(|()| fs::remove_file(&trial)).map_err(error)?;
        let mut known = HashMap::new();
        for path in sessions::recordings_in(folder).map_err(error)? {
            match sessions::session_of(&path) {
                Ok(Some(session)) => {
                    known.insert(session.id, path);
                }
                Ok(None) => {}
                Err(error) => tracing::warn!("left alone: {error}"),
            }
        }
        Ok(Self { folder: folder.to_owned(), known: Mutex::new(known), max_recording_bytes })
    }

    /// Opens the recording of `session`, which goes on where it ends.
    pub(crate) fn recording(&self, session: &Session) -> Result<Recording, CollectorError> {
        let known = self.lock().get(&session.id).cloned();
        let path = match known {
            Some(path) => path,
            None => self.free_path(session)?,
        };
        let recording = Recording::open(path, session, self.max_recording_bytes)?;
        self.lock().insert(session.id, recording.path().to_owned());
        Ok(recording)
    }

    /// Where heap dumps are kept, and the beginning of a name for one: that of the session's recording.
    pub(crate) fn dump_name(&self, session: Option<SessionId>, pid: u32) -> (&Path, String) {
        let recording = session.and_then(|session| self.lock().get(&session).cloned());
        let stem =
            recording.as_deref().and_then(Path::file_stem).map(|stem| stem.to_string_lossy().into_owned());
        (&self.folder, stem.unwrap_or_else(|| format!("process-{pid}")))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, PathBuf>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name that no other session's recording has.
    fn free_path(&self, session: &Session) -> Result<PathBuf, CollectorError> {
        let id = session.id.to_string();
        let path = |digits: usize| {
            self.folder.join(format!("{}-{}.{EXTENSION}", file_stem(session), &id[..digits.min(id.len())]))
        };
        let short = path(8);
        match fs::metadata(&short) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(short),
            Err(source) => Err(CollectorError::Read { source, path: short }),
            // Nothing was written to it yet, or it is this session's.
            Ok(_) => match sessions::session_of(&short) {
                Ok(None) => Ok(short),
                Ok(Some(other)) if other.id == session.id => Ok(short),
                Ok(Some(_)) | Err(_) => Ok(path(32)),
            },
        }
    }
}

/// `NAME-START`, of characters that every file system takes: the session's id makes it unique.
fn file_stem(session: &Session) -> String {
    let mut name = String::new();
    for c in session.host.name.chars() {
        let c = if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        if name.len() < MAX_NAME_BYTES && !(c == '-' && name.ends_with('-')) {
            name.push(c);
        }
    }
    let trimmed = name.trim_matches(|c| "._-".contains(c));
    let name = if trimmed.is_empty() { "host" } else { trimmed };
    // Windows takes these for devices, whatever follows the first dot.
    let first = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let numbered = |prefix: &str| first.strip_prefix(prefix).is_some_and(|rest| rest.len() == 1);
    let device = ["con", "prn", "aux", "nul"].contains(&&*first) || numbered("com") || numbered("lpt");
    let mark = if device { "_" } else { "" };
    let started = jiff::Timestamp::from_nanosecond(i128::from(session.started.unix_nanos))
        .map_or_else(|_| "unknown".to_owned(), |at| at.strftime("%Y%m%dT%H%M%SZ").to_string());
    format!("{mark}{name}-{started}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use leakline_core::{Host, Timestamp};

    use super::*;

    fn check(name: &str, expected: &str) {
        let session = Session {
            id: SessionId([0xab; 16]),
            started: Timestamp { unix_nanos: 1_700_000_000_123_456_789, boot_nanos: 0 },
            interval: Duration::from_secs(300),
            host: Host { name: name.to_owned(), ..Host::default() },
            agent_version: String::new(),
            origin: None,
        };
        assert_eq!(file_stem(&session), format!("{expected}-20231114T221320Z"), "{name:?}");
    }

    #[test]
    fn a_file_name_says_whose_it_is() {
        check("com.example.app", "com.example.app");
        check("com.example.app:reticulum", "com.example.app-reticulum");
        check("python3 -m relay --leak", "python3-m-relay-leak");
    }

    #[test]
    fn a_file_name_stays_in_its_folder_and_is_taken_everywhere() {
        check("", "host");
        check("../../etc/passwd", "etc-passwd");
        check("..", "host");
        check("C:\\boot\0", "C-boot");
        check("naïve ☂ Σ", "na-ve");
        check(".hidden", "hidden");
        check("con.x", "_con.x");
        check("LPT1", "_LPT1");
        check("console", "console");
        check(&"x".repeat(500), &"x".repeat(80));
    }
}
