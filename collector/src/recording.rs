//! One session's recording on disk, as the collector appends to it.
//! Blocking: called on threads that may wait for a disk. Never acknowledges anything itself.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use leakline_core::Session;
use leakline_proto::recording::{self, Item, Parser, RecordingError};
use leakline_proto::v1::{self, entry::Body};
use leakline_proto::{Decoder, Event, limits};

use crate::error::CollectorError;

/// Read at once.
const PIECE_BYTES: usize = 256 << 10;

/// A recording that is open for appending.
#[derive(Debug)]
pub(crate) struct Recording {
    path: PathBuf,
    file: File,
    /// What is on disk and whole.
    end: u64,
    /// Number of the entry that comes next.
    next: u64,
    has_entries: bool,
    /// Follows what is appended, so that nothing is kept that no reader would understand.
    decoder: Decoder,
    session: Session,
    max_bytes: u64,
    /// Framed entries, not written yet.
    batch: Vec<u8>,
    /// Where in `batch` a new file begins, because this one is full.
    rotate_at: Option<usize>,
}

/// Why an entry is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadEntry {
    /// It is not the one that comes next.
    OutOfOrder { number: u64, expected: u64 },
    /// It can never be taken.
    Invalid { number: u64, reason: String },
}

impl Recording {
    /// Opens the recording of `session` at `path`, or begins it. Cuts off a torn end.
    pub(crate) fn open(path: PathBuf, session: &Session, max_bytes: u64) -> Result<Self, CollectorError> {
        let write = |source| CollectorError::Write { source, path: path.clone() };
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.map_err(write)?;
        let before = last_number(&predecessor(&path))?;
        let mut decoder = Decoder::new();
        let summary = match read(&mut file, &path, |entry| drop(decoder.push(entry))) {
            Ok(summary) => summary,
            Err(CollectorError::NotARecording {
                source: RecordingError::Empty | RecordingError::CutOff { .. },
                ..
            }) => {
                begin(&mut file, &path).map_err(write)?;
                recording::Summary { end: recording::HEADER_BYTES as u64, ..Default::default() }
            }
            Err(error) => return Err(error),
        };
        file.set_len(summary.end).map_err(write)?;
        file.seek(SeekFrom::Start(summary.end)).map_err(write)?;
        let last = summary.last_number.max(before);
        Ok(Self {
            file,
            end: summary.end,
            next: last.map_or(0, |last| last.saturating_add(1)),
            has_entries: summary.last_number.is_some(),
            decoder,
            session: session.clone(),
            max_bytes,
            batch: Vec::new(),
            rotate_at: None,
            path,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Number of the entry that comes next.
    pub(crate) fn next_number(&self) -> u64 {
        self.next
    }

    /// The agent begins with this entry, because those before it are gone.
    pub(crate) fn skip_to(&mut self, number: u64) {
        self.next = self.next.max(number);
    }

    pub(crate) fn batch_bytes(&self) -> usize {
        self.batch.len()
    }

    /// Takes an entry into the batch, and says what it tells.
    pub(crate) fn add(&mut self, entry: v1::Entry) -> Result<Vec<Event>, BadEntry> {
        let number = entry.number;
        let invalid = |reason: String| BadEntry::Invalid { number, reason };
        if number != self.next {
            return Err(BadEntry::OutOfOrder { number, expected: self.next });
        }
        let size = recording::len(&entry) - recording::FRAME_BYTES as u64;
        if size > limits::MAX_ENTRY_BYTES as u64 {
            return Err(invalid(format!(
                "it has {size} bytes, at most {} are taken",
                limits::MAX_ENTRY_BYTES
            )));
        }
        if let Some(Body::Session(session)) = &entry.body {
            if session.id != self.session.id.0 {
                return Err(invalid("it tells of another session than the stream's: Session.id".to_owned()));
            }
            if self.rotate_at.is_none() && self.end + self.batch.len() as u64 > self.max_bytes {
                self.rotate_at = Some(self.batch.len());
            }
        } else if !self.has_entries {
            // A reader must find the session first. Its number is that of an entry that is gone.
            let number = number.checked_sub(1).ok_or_else(|| {
                invalid("a session's first entry tells the session: Entry.session".to_owned())
            })?;
            let session = Body::Session((&self.session).into());
            recording::append(&v1::Entry { number, body: Some(session) }, &mut self.batch);
        }
        let begin = self.batch.len();
        recording::append(&entry, &mut self.batch);
        match self.decoder.push(entry) {
            Ok(events) => {
                self.next = self.decoder.next_number();
                self.has_entries = true;
                Ok(events)
            }
            Err(error) => {
                self.batch.truncate(begin);
                Err(invalid(error.to_string()))
            }
        }
    }

    /// Writes the batch and waits until it is on disk. After an error the recording must be opened again.
    pub(crate) fn sync(&mut self) -> Result<(), CollectorError> {
        let written = self.write();
        self.batch.clear();
        self.rotate_at = None;
        written.map_err(|source| {
            // What was written in part would be cut off at the next opening too.
            let _ = self.file.set_len(self.end);
            CollectorError::Write { source, path: self.path.clone() }
        })
    }

    fn write(&mut self) -> io::Result<()> {
        let (old, new) = self.batch.split_at(self.rotate_at.unwrap_or(self.batch.len()));
        if !old.is_empty() {
            self.file.write_all(old)?;
            self.file.sync_data()?;
            self.end += old.len() as u64;
        }
        if self.rotate_at.is_none() {
            return Ok(());
        }
        fs::rename(&self.path, predecessor(&self.path))?;
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&self.path)?;
        begin(&mut file, &self.path)?;
        self.file = file;
        self.end = recording::HEADER_BYTES as u64;
        self.file.write_all(new)?;
        self.file.sync_data()?;
        self.end += new.len() as u64;
        Ok(())
    }
}

/// The file that a recording's older part has: `FILE.1`.
pub(crate) fn predecessor(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// Writes the header of a new file, and makes sure that the file itself is found after a crash.
fn begin(file: &mut File, path: &Path) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&recording::header())?;
    file.sync_all()?;
    // Not every system can open a folder, and those that cannot do not need it.
    if let Some(Ok(folder)) = path.parent().map(File::open) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Reads a whole recording in pieces.
fn read(
    file: &mut File,
    path: &Path,
    mut take: impl FnMut(v1::Entry),
) -> Result<recording::Summary, CollectorError> {
    let not_a_recording = |source| CollectorError::NotARecording { source, path: path.to_owned() };
    let mut parser = Parser::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count =
            file.read(&mut piece).map_err(|source| CollectorError::Read { source, path: path.to_owned() })?;
        parser.feed(&piece[..count]);
        if count == 0 {
            parser.finish();
        }
        while let Some(item) = parser.next_item().map_err(not_a_recording)? {
            if let Item::Entry { entry, .. } = item {
                take(entry);
            }
        }
        if count == 0 {
            return Ok(parser.summary());
        }
    }
}

/// The number of the last entry in the file, if there is such a file and it has any.
fn last_number(path: &Path) -> Result<Option<u64>, CollectorError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CollectorError::Read { source, path: path.to_owned() }),
    };
    match read(&mut file, path, drop) {
        Ok(summary) => Ok(summary.last_number),
        Err(CollectorError::NotARecording { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use leakline_core::conformance::{sample_record, sample_session};
    use leakline_proto::Encoder;

    use super::*;

    fn entries(encoder: &mut Encoder, number: u64) -> Vec<v1::Entry> {
        encoder.record(&sample_record(number, 5))
    }

    #[test]
    fn what_was_not_synced_is_not_there_the_next_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.leak");
        let session = sample_session();
        let mut encoder = Encoder::new(&session);
        let mut recording = Recording::open(path.clone(), &session, u64::MAX).unwrap();
        entries(&mut encoder, 0).into_iter().for_each(|entry| drop(recording.add(entry).unwrap()));
        recording.sync().unwrap();
        let synced = recording.next_number();
        entries(&mut encoder, 1).into_iter().for_each(|entry| drop(recording.add(entry).unwrap()));
        assert!(recording.next_number() > synced);
        drop(recording);
        assert_eq!(Recording::open(path, &session, u64::MAX).unwrap().next_number(), synced);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.leak");
        let session = sample_session();
        let mut recording = Recording::open(path, &session, u64::MAX).unwrap();
        recording.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        entries(&mut Encoder::new(&session), 0)
            .into_iter()
            .for_each(|entry| drop(recording.add(entry).unwrap()));
        let error = recording.sync().unwrap_err();
        assert!(
            matches!(&error, CollectorError::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull),
            "{error:?}"
        );
        assert!(error.to_string().ends_with("x.leak"), "{error}");
    }

    #[test]
    fn a_crash_between_renaming_and_beginning_anew_loses_no_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.leak");
        let session = sample_session();
        let mut recording = Recording::open(path.clone(), &session, u64::MAX).unwrap();
        entries(&mut Encoder::new(&session), 0)
            .into_iter()
            .for_each(|entry| drop(recording.add(entry).unwrap()));
        recording.sync().unwrap();
        let next = recording.next_number();
        fs::rename(&path, predecessor(&path)).unwrap();
        assert_eq!(Recording::open(path, &session, u64::MAX).unwrap().next_number(), next);
    }
}
