//! Recordings on disk: which there are, which one is meant, and what stands in them.
//! Blocking, and usable without a collector. Never writes.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use leakline_core::Session;
use leakline_proto::recording::{self, Item, Parser, RecordingError};
use leakline_proto::v1::entry::Body;
use leakline_proto::{DecodeError, Decoder, Event, limits};

use crate::error::CollectorError;
use crate::store::EXTENSION;

/// Read at once.
const PIECE_BYTES: usize = 256 << 10;

/// Enough of a recording's end that a whole entry is in it.
const TAIL_BYTES: u64 = 2 * limits::MAX_ENTRY_BYTES as u64;

/// A recording in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// The file.
    pub path: PathBuf,
    /// The session, as the recording's first entry tells it.
    pub session: Session,
    /// Size of the file.
    pub bytes: u64,
    /// When it was last written to; `None` where the system does not say.
    pub modified: Option<SystemTime>,
    /// The number of the last whole entry.
    pub last_entry: Option<u64>,
    /// Whether the session ended in an orderly way. Otherwise it was cut off, or still runs.
    pub ended: bool,
}

/// The recordings in `folder`, the latest started first. Files that are no recordings, or hold nothing yet, are left
/// out. Older parts of rotated recordings are not listed by themselves.
pub fn list(folder: &Path) -> Result<Vec<StoredSession>, CollectorError> {
    let paths =
        recordings_in(folder).map_err(|source| CollectorError::Folder { source, path: folder.to_owned() })?;
    let mut stored: Vec<StoredSession> =
        paths.into_iter().filter_map(|path| stored_session(path).ok().flatten()).collect();
    stored.sort_by_key(|stored| (std::cmp::Reverse(stored.session.started.unix_nanos), stored.session.id));
    Ok(stored)
}

/// The recording that `query` means: a path, a file's name in `folder` with or without its extension, or the first
/// digits of a session's id.
pub fn find(folder: &Path, query: &str) -> Result<PathBuf, CollectorError> {
    let as_path = Path::new(query);
    if as_path.is_file() {
        return Ok(as_path.to_owned());
    }
    let not_found = || CollectorError::NotFound { query: query.to_owned(), folder: folder.to_owned() };
    if query.is_empty() {
        return Err(not_found());
    }
    let paths = match recordings_in(folder) {
        Ok(paths) => paths,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_found()),
        Err(source) => return Err(CollectorError::Folder { source, path: folder.to_owned() }),
    };
    if let Some(path) =
        paths.iter().find(|path| [path.file_name(), path.file_stem()].contains(&Some(OsStr::new(query))))
    {
        return Ok(path.clone());
    }
    let digits = query.to_ascii_lowercase();
    let mut matching = paths.into_iter().filter(|path| {
        session_of(path).ok().flatten().is_some_and(|session| session.id.to_string().starts_with(&digits))
    });
    let first = matching.next().ok_or_else(not_found)?;
    let others: Vec<PathBuf> = matching.collect();
    if others.is_empty() {
        return Ok(first);
    }
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let candidates = std::iter::once(&first).chain(&others).map(name).collect();
    Err(CollectorError::Ambiguous { query: query.to_owned(), candidates, folder: folder.to_owned() })
}

/// Whether the parts of a rotated recording that went before are read too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predecessors {
    /// `FILE.2`, `FILE.1`, as far as they are there, then `FILE`.
    Read,
    /// Only `FILE`.
    LeaveOut,
}

/// Opens a recording and decodes it as it is read. Fails where the file as such cannot be read as a recording.
pub fn open(path: &Path, predecessors: Predecessors) -> Result<Events, CollectorError> {
    let mut paths = VecDeque::from([path.to_owned()]);
    if predecessors == Predecessors::Read {
        let numbered = |number: usize| {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for older in (1..).map(numbered).take_while(|older| older.is_file()) {
            paths.push_front(older);
        }
    }
    // What a user asked for must be a recording; what is left of its older parts need not be.
    let mut events = Events {
        last: FileEntries::open(path)?,
        waiting: paths,
        current: None,
        decoder: Decoder::new(),
        ready: VecDeque::new(),
    };
    events.last.fill()?;
    Ok(events)
}

/// What stands in a recording, in order.
#[derive(Debug)]
pub struct Events {
    /// The file that was asked for. Opened first, read last.
    last: FileEntries,
    waiting: VecDeque<PathBuf>,
    current: Option<FileEntries>,
    decoder: Decoder,
    ready: VecDeque<Result<Event, Problem>>,
}

/// A place in a recording that cannot be understood. Reading goes on after it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Bytes that are no entry.
    #[error("{bytes} bytes at byte {offset} left out: {what}: {}", path.display())]
    Damaged {
        /// Where they begin.
        offset: u64,
        /// How many they are.
        bytes: u64,
        /// What is wrong with them.
        what: recording::Problem,
        /// The file.
        path: PathBuf,
    },
    /// The last entry is not whole: the host or the collector was killed while it was written, or is writing it.
    #[error("truncated at byte {offset}, everything before is shown: {}", path.display())]
    Truncated {
        /// Where the entry begins that is not whole.
        offset: u64,
        /// The file.
        path: PathBuf,
    },
    /// An entry that is whole, but makes no sense.
    #[error("entry {number} at byte {offset} left out: {source}: {}", path.display())]
    Entry {
        /// Its number.
        number: u64,
        /// Where it begins.
        offset: u64,
        /// What is wrong with it.
        source: DecodeError,
        /// The file.
        path: PathBuf,
    },
    /// The system could not read on, or an older part is no recording. The rest of that file is left out.
    #[error("{0}")]
    File(CollectorError),
}

impl Iterator for Events {
    type Item = Result<Event, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            if self.current.is_none() && self.waiting.len() > 1 {
                let path = self.waiting.pop_front()?;
                match FileEntries::open(&path) {
                    Ok(file) => self.current = Some(file),
                    Err(error) => return Some(Err(Problem::File(error))),
                }
            }
            let file = self.current.as_mut().unwrap_or(&mut self.last);
            match file.next_item() {
                Ok(Some(item)) => take(item, &file.path, &mut self.decoder, &mut self.ready),
                Ok(None) if self.current.take().is_some() => {}
                Ok(None) => return None,
                Err(error) => {
                    self.current = None;
                    return Some(Err(Problem::File(error)));
                }
            }
        }
    }
}

fn take(item: Item, path: &Path, decoder: &mut Decoder, ready: &mut VecDeque<Result<Event, Problem>>) {
    let path = path.to_owned();
    match item {
        Item::Entry { entry, offset, .. } => {
            let number = entry.number;
            match decoder.push(entry) {
                Ok(events) => ready.extend(events.into_iter().map(Ok)),
                Err(source) => ready.push_back(Err(Problem::Entry { number, offset, source, path })),
            }
        }
        Item::Problem { offset, bytes, what } => {
            ready.push_back(Err(Problem::Damaged { offset, bytes, what, path }));
        }
        Item::Truncated { offset } => ready.push_back(Err(Problem::Truncated { offset, path })),
        // Kinds that only a newer leakline-proto knows.
        _ => {}
    }
}

/// The items of one file.
#[derive(Debug)]
struct FileEntries {
    path: PathBuf,
    file: File,
    parser: Parser,
    piece: Vec<u8>,
    finished: bool,
    failed: bool,
}

impl FileEntries {
    fn open(path: &Path) -> Result<Self, CollectorError> {
        let file =
            File::open(path).map_err(|source| CollectorError::Read { source, path: path.to_owned() })?;
        let (parser, piece) = (Parser::new(), vec![0; PIECE_BYTES]);
        Ok(Self { path: path.to_owned(), file, parser, piece, finished: false, failed: false })
    }

    /// Reads the first piece, and looks whether it is a recording at all.
    fn fill(&mut self) -> Result<(), CollectorError> {
        let mut head = [0; recording::HEADER_BYTES + 4];
        let mut count = 0;
        while count < head.len() {
            match self.read_into(&mut head[count..])? {
                0 => break,
                read => count += read,
            }
        }
        // A parser of its own: it must not take an item that is for the reader.
        let mut trial = Parser::new();
        trial.feed(&head[..count]);
        if count < head.len() {
            trial.finish();
        }
        trial.next_item().map_err(|source| self.not_a_recording(source))?;
        self.parser.feed(&head[..count]);
        Ok(())
    }

    fn next_item(&mut self) -> Result<Option<Item>, CollectorError> {
        if self.failed {
            return Ok(None);
        }
        loop {
            match self.parser.next_item() {
                Ok(Some(item)) => return Ok(Some(item)),
                Ok(None) if self.finished => return Ok(None),
                Ok(None) => {}
                Err(source) => {
                    self.failed = true;
                    return Err(self.not_a_recording(source));
                }
            }
            let mut piece = std::mem::take(&mut self.piece);
            let count = self.read_into(&mut piece).inspect_err(|_| self.failed = true)?;
            self.parser.feed(&piece[..count]);
            self.piece = piece;
            if count == 0 {
                self.parser.finish();
                self.finished = true;
            }
        }
    }

    fn read_into(&mut self, buffer: &mut [u8]) -> Result<usize, CollectorError> {
        loop {
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(count) => return Ok(count),
                Err(source) => return Err(CollectorError::Read { source, path: self.path.clone() }),
            }
        }
    }

    fn not_a_recording(&self, source: RecordingError) -> CollectorError {
        CollectorError::NotARecording { source, path: self.path.clone() }
    }
}

/// The files in `folder` that are named as recordings.
pub(crate) fn recordings_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new(EXTENSION)) && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// The session that the recording's first whole entries tell; `None` where nothing was recorded yet.
pub fn session_of(path: &Path) -> Result<Option<Session>, CollectorError> {
    let mut file = FileEntries::open(path)?;
    loop {
        match file.next_item() {
            Ok(Some(Item::Entry { entry, .. })) => {
                if let Some(Body::Session(session)) = entry.body {
                    return Ok(Session::try_from(session).ok());
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(CollectorError::NotARecording {
                source: RecordingError::Empty | RecordingError::CutOff { .. },
                ..
            }) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

fn stored_session(path: PathBuf) -> Result<Option<StoredSession>, CollectorError> {
    let Some(session) = session_of(&path)? else { return Ok(None) };
    let read = |source| CollectorError::Read { source, path: path.clone() };
    let mut file = File::open(&path).map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(metadata.len().saturating_sub(TAIL_BYTES))).map_err(read)?;
    file.take(TAIL_BYTES).read_to_end(&mut tail).map_err(read)?;
    let (last_entry, ended) = last_in(&tail);
    Ok(Some(StoredSession {
        session,
        bytes: metadata.len(),
        modified: metadata.modified().ok(),
        last_entry,
        ended,
        path,
    }))
}

/// The number of the last whole entry in a recording's end, and whether it ends the session. A reader that begins in
/// the middle finds the next whole entry as it does after damage.
fn last_in(tail: &[u8]) -> (Option<u64>, bool) {
    let mut parser = Parser::new();
    parser.feed(&recording::header());
    parser.feed(tail);
    parser.finish();
    let (mut last, mut ended) = (None, false);
    while let Ok(Some(item)) = parser.next_item() {
        if let Item::Entry { entry, .. } = item {
            last = Some(entry.number);
            ended = matches!(&entry.body, Some(Body::End(end)) if end.reason.is_empty());
        }
    }
    (last, ended)
}
