//! The sink: one write per record, a new file where the old one is full, gone or spoiled.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use leakline_core::{Record, Session, Sink, SinkError, SinkStats, Snapshot};
use leakline_proto::{Encoder, recording, v1};

use crate::files;
use crate::held::{Held, Identity, size_limit};
use crate::now::now;

/// Where a recording is written and how large it may get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOptions {
    /// The file. A relative path is taken from the folder that the process is in when the sink is made.
    pub path: PathBuf,
    /// No file grows past this. 64 MiB hold days of some thousand sites at an interval of 5 minutes.
    pub max_bytes: u64,
    /// How many full files are kept as `PATH.1`, `PATH.2`, …; the older ones are removed. At least the one that was at
    /// `PATH` when the session began is kept, even with 0.
    pub keep: u32,
    /// What the encoder may hold of what it told, bytes; the smallest sites of larger profiles are left out.
    pub max_encoder_bytes: u64,
}

impl FileOptions {
    /// Files of 64 MiB, one of them full.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), max_bytes: 64 << 20, keep: 1, max_encoder_bytes: 1 << 20 }
    }
}

/// Writes a session as a recording. Blocks on its lane while it writes.
#[derive(Debug)]
pub struct FileSink {
    options: FileOptions,
    encoder: Option<Encoder>,
    /// `None` where a new file must be made before the next record.
    file: Option<Open>,
    /// Why the last record could not be kept, where others will not be either; in a report's words.
    why: Option<String>,
    /// The room that it takes, bytes.
    missing: u64,
    stats: SinkStats,
}

/// The file that is written.
#[derive(Debug)]
struct Open {
    file: Held,
    /// The folder that it was made in.
    folder: Option<Identity>,
    /// What it holds: whole entries, without the one that says why nothing follows.
    bytes: u64,
    /// Whether anything is in it that was delivered.
    has_records: bool,
    /// Where it ends with an entry that says why nothing follows: the room that was missing, bytes. Less does not go on: a mark
    /// that just fits would end a recording in an orderly way whose last snapshots are not there.
    cut: Option<u64>,
}

impl FileSink {
    /// A sink that touches no file before it is opened.
    pub fn new(mut options: FileOptions) -> Self {
        // The host may go to another folder later.
        if let Ok(absolute) = std::path::absolute(&options.path) {
            options.path = absolute;
        }
        let stats = SinkStats { sink: NAME.into(), ..SinkStats::default() };
        Self { options, encoder: None, file: None, why: None, missing: 0, stats }
    }

    fn noted<T>(&mut self, result: Result<T, SinkError>) -> Result<T, SinkError> {
        self.stats.last_error = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        result
    }

    fn begin(&mut self, session: &Session) -> Result<(), SinkError> {
        let mut encoder = Encoder::new(session).within(self.options.max_encoder_bytes);
        self.make_file(encoder.session())?;
        // At once, so that a file is there to be seen, and a wrong path is known before the first tick.
        let first = encoder.start();
        self.encoder = Some(encoder);
        self.write(&first)
    }

    fn make_file(&mut self, session: &v1::Session) -> Result<(), SinkError> {
        let path = &self.options.path;
        let file = files::make(path, self.options.keep, session)?;
        let file =
            Held::new(file).map_err(|error| files::failed("cannot use the recording", &error, path))?;
        let folder = files::folder_of(path);
        self.file = Some(Open { file, folder, bytes: 0, has_records: false, cut: None });
        Ok(())
    }

    /// The host may have closed the descriptor, and somebody may have deleted or moved the file. An open file is kept where
    /// its name only cannot be reached: after chroot, in another mount namespace, or where its folder was deleted.
    fn find_file(&mut self, session: &v1::Session) -> Result<(), SinkError> {
        let Some(open) = &mut self.file else { return Ok(()) };
        let path = &self.options.path;
        if !open.file.is_there() {
            // Before another is opened, which may get the same number.
            let Some(Open { file: lost, folder, bytes, has_records, cut }) = self.file.take() else {
                return Ok(());
            };
            let identity = lost.identity();
            drop(lost);
            let again = files::open_again(path, identity).and_then(|file| {
                Held::new(file).map_err(|error| files::failed("cannot use it", &error, path))
            });
            match again {
                Ok(file) => self.file = Some(Open { file, folder, bytes, has_records, cut }),
                // A new file may be made there.
                Err(error) => tracing::warn!(%error, "the recording's descriptor was closed by the program"),
            }
            return Ok(());
        }
        if files::is_at(open.file.identity(), path) {
            return Ok(());
        }
        let is_in_reach = open.folder.is_some() && files::folder_of(path) == open.folder;
        if is_in_reach || open.file.is_deleted() {
            // What is written to it now, nobody would find.
            let before = self.file.take();
            if let Err(error) = self.make_file(session) {
                self.file = before;
                // A file that has a name somewhere is worth being written to.
                if self.file.as_ref().is_some_and(|open| open.file.is_deleted()) {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, encoder: &mut Encoder, record: &Record) -> Result<(), SinkError> {
        let first = encoder.next_number();
        let made = self.file.as_ref().map(|open| open.file.identity());
        let result = self.find_file(encoder.session()).and_then(|()| {
            // What a new file holds must be readable alone.
            if self.file.as_ref().map(|open| open.file.identity()) != made {
                encoder.abandon_from(first);
            }
            self.take_from(encoder, record, first)
        });
        match &result {
            Ok(()) => {
                self.stats.delivered_snapshots += u64::from(matches!(record, Record::Snapshot { .. }));
                if let Some(open) = &mut self.file {
                    open.has_records = true;
                }
            }
            // None of it is in the file, so its numbers are given again.
            Err(_) => {
                encoder.abandon_from(first);
                if let Some(why) = self.why.take() {
                    self.cut(encoder, &why);
                }
            }
        }
        result
    }

    /// Ends the file with the reason why nothing follows, in the room that was kept for it.
    fn cut(&mut self, encoder: &mut Encoder, reason: &str) {
        let Some(open) = &mut self.file else { return };
        if open.bytes == 0 || open.cut.is_some() || !open.file.is_there() {
            return;
        }
        let mut bytes = Vec::new();
        recording::append(&encoder.cut(now(), reason), &mut bytes);
        let end = open.bytes + bytes.len() as u64;
        if open.file.write_all_at(&bytes, open.bytes).and_then(|()| open.file.set_len(end)).is_ok() {
            open.cut = Some(std::mem::take(&mut self.missing));
        } else {
            // Half an entry would be taken for damage.
            let _ = open.file.set_len(open.bytes);
        }
    }

    fn take_from(&mut self, encoder: &mut Encoder, record: &Record, first: u64) -> Result<(), SinkError> {
        if self.file.is_some() {
            let entries = encoder.record(record);
            if self.fits(&entries) {
                return self.write(&entries);
            }
        }
        // One that only holds its beginning is as good as new.
        if self.file.as_ref().is_none_or(|open| open.has_records) {
            if let Some(open) = &self.file {
                let (path, is_known) = (&self.options.path, open.folder.is_some());
                if !files::is_at(open.file.identity(), path)
                    || is_known && files::folder_of(path) != open.folder
                {
                    let why = "the file is full, and its name is out of the program's reach, so no new one was begun";
                    self.why = Some(why.to_owned());
                    return Err(out_of_reach(path));
                }
                if let Err(error) = files::move_aside(path, self.options.keep) {
                    self.why = Some("the file is full, and could not be moved aside".to_owned());
                    return Err(error);
                }
            }
            self.file = None;
            self.make_file(encoder.session())?;
        }
        // Where even a file of its own is too small for a keyframe, the gauges are what can be saved.
        let candidates =
            [Cow::Borrowed(record), Cow::Owned(without_profiles(record, self.options.max_bytes))];
        for record in candidates {
            encoder.abandon_from(first);
            let entries = encoder.record(&record);
            if self.fits(&entries) {
                return self.write(&entries);
            }
        }
        Err(SinkError::Unavailable {
            what: "a snapshot is larger than the recording may be".into(),
            reason: format!(
                "allow more than {} bytes: {}",
                self.options.max_bytes,
                self.options.path.display()
            ),
        })
    }

    fn fits(&self, entries: &[v1::Entry]) -> bool {
        let before = self.file.as_ref().map_or(0, |open| open.bytes);
        let header = if before == 0 { recording::HEADER_BYTES as u64 } else { 0 };
        let new: u64 = entries.iter().map(recording::len).sum();
        before + header + new + END_BYTES <= self.options.max_bytes
    }

    /// Writes `entries` by one write. After an error the file is as it was.
    fn write(&mut self, entries: &[v1::Entry]) -> Result<(), SinkError> {
        let Some(open) = &mut self.file else { return Err(not_open()) };
        let mut bytes = Vec::new();
        if open.bytes == 0 {
            bytes.extend_from_slice(&recording::header());
        }
        entries.iter().for_each(|entry| recording::append(entry, &mut bytes));
        let new = bytes.len() as u64;
        let room = new.max(open.cut.unwrap_or(0)) + END_BYTES;
        let mut outcome = match size_limit().is_some_and(|limit| open.bytes + room > limit) {
            true => Err(io::Error::from_raw_os_error(libc::EFBIG)),
            // First the room for all of it and for an end, so that there is an end when the disk is full.
            false => open.file.reserve(open.bytes, room),
        };
        if outcome.is_ok() {
            outcome = open.file.write_all_at(&bytes, open.bytes);
            if outcome.is_err() {
                // What was written of it would be taken for damage.
                open.cut = None;
                let _ = open.file.set_len(open.bytes);
            }
        }
        if let Err(error) = outcome {
            self.why = Some(words_of(&error));
            self.missing = new;
            return Err(files::failed("cannot write the recording", &error, &self.options.path));
        }
        if open.cut.take().is_some() {
            // Less may have been written than the end took that stood there.
            let _ = open.file.set_len(open.bytes + new);
        }
        open.bytes += new;
        self.stats.delivered_bytes += new;
        Ok(())
    }
}

const NAME: &str = "file";

/// Room that every file keeps for the entry that ends the session, or says why nothing follows.
const END_BYTES: u64 = 256;

#[async_trait]
impl Sink for FileSink {
    fn name(&self) -> Cow<'static, str> {
        NAME.into()
    }

    async fn open(&mut self, session: &Session) -> Result<(), SinkError> {
        let result = self.begin(session);
        if result.is_err() {
            self.file = None;
        }
        self.noted(result)
    }

    async fn deliver(&mut self, record: &Record) -> Result<(), SinkError> {
        let Some(mut encoder) = self.encoder.take() else { return Err(not_open()) };
        let result = self.take(&mut encoder, record);
        self.encoder = Some(encoder);
        self.noted(result)
    }

    async fn close(&mut self) -> Result<(), SinkError> {
        let Some(mut encoder) = self.encoder.take() else { return Ok(()) };
        // A file that holds nothing yet would not even say whose end it is.
        // One that was cut says so already.
        let result = match self
            .file
            .as_ref()
            .is_some_and(|open| open.bytes > 0 && open.cut.is_none() && open.file.is_there())
        {
            true => {
                let end = encoder.end(now());
                self.write(&[end])
            }
            false => Ok(()),
        };
        if let Some(open) = self.file.take_if(|open| open.file.is_there()) {
            // Gives back the room that was kept.
            let _ = open.file.give_back();
        }
        self.noted(result)
    }

    fn stats(&self) -> SinkStats {
        self.stats.clone()
    }
}

/// The reason as a report says it, after "the recording was cut: ".
fn words_of(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EFBIG) => "the file may not grow further (file size limit)".to_owned(),
        Some(libc::ENOSPC) => "no space is left on the device".to_owned(),
        Some(libc::EDQUOT) => "the disk quota is used up".to_owned(),
        Some(libc::EIO) => "the device failed (input/output error)".to_owned(),
        _ => error.to_string(),
    }
}

fn out_of_reach(path: &Path) -> SinkError {
    SinkError::Unavailable {
        what: "the recording is full, and a new file cannot be begun".into(),
        reason: format!(
            "its name is out of this process's reach (another root, mount namespace or folder); allow larger files: {}",
            path.display()
        ),
    }
}

fn not_open() -> SinkError {
    SinkError::Unavailable {
        what: "cannot write the recording".into(),
        reason: "it was not opened".to_owned(),
    }
}

/// `record` with its gauges only, and a note that says why.
fn without_profiles(record: &Record, max_bytes: u64) -> Record {
    let Record::Snapshot { snapshot, .. } = record else { return record.clone() };
    let mut snapshot = Snapshot::clone(snapshot);
    for reading in &mut snapshot.readings {
        reading.holders.clear();
        reading.cycles.clear();
        if !std::mem::take(&mut reading.profiles).is_empty() {
            reading.notes.push(format!("the profile does not fit into a recording of {max_bytes} bytes"));
        }
    }
    Record::Snapshot { snapshot: Arc::new(snapshot), verdicts: Arc::default() }
}
