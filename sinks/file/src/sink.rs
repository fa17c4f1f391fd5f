//! The sink: one write per record, a new file where the old one is full, gone or spoiled.

use std::borrow::Cow;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use leakline_core::{Record, Session, Sink, SinkError, SinkStats, Snapshot};
use leakline_proto::{Encoder, recording, v1};

use crate::files;
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
        Self { path: path.into(), max_bytes: 64 << 20, keep: 1, max_encoder_bytes: 3 << 19 }
    }
}

/// Writes a session as a recording. Blocks on its lane while it writes.
#[derive(Debug)]
pub struct FileSink {
    options: FileOptions,
    encoder: Option<Encoder>,
    /// `None` where a new file must be made before the next record.
    file: Option<Open>,
    stats: SinkStats,
}

/// The file that is written.
#[derive(Debug)]
struct Open {
    file: File,
    /// What it holds: whole entries.
    bytes: u64,
    /// Whether anything is in it that was delivered.
    has_records: bool,
}

impl FileSink {
    /// A sink that touches no file before it is opened.
    pub fn new(mut options: FileOptions) -> Self {
        // The host may go to another folder later.
        if let Ok(absolute) = std::path::absolute(&options.path) {
            options.path = absolute;
        }
        let stats = SinkStats { sink: NAME.into(), ..SinkStats::default() };
        Self { options, encoder: None, file: None, stats }
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
        let file = files::make(&self.options.path, self.options.keep, session)?;
        self.file = Some(Open { file, bytes: 0, has_records: false });
        Ok(())
    }

    fn take(&mut self, encoder: &mut Encoder, record: &Record) -> Result<(), SinkError> {
        // Somebody deleted or moved the file: what is written to it now, nobody would find.
        self.file.take_if(|open| !files::is_at(&open.file, &self.options.path));
        let first = encoder.next_number();
        let result = self.take_from(encoder, record, first);
        match &result {
            Ok(()) => {
                self.stats.delivered_snapshots += u64::from(matches!(record, Record::Snapshot { .. }));
                if let Some(open) = &mut self.file {
                    open.has_records = true;
                }
            }
            // None of it is in the file, so its numbers are given again.
            Err(_) => encoder.abandon_from(first),
        }
        result
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
            if self.file.take().is_some() {
                files::move_aside(&self.options.path, self.options.keep)?;
            }
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
        if let Err(error) = open.file.write_all(&bytes) {
            // What was written of it would be taken for damage, and would count in the file's size.
            match open.file.set_len(open.bytes) {
                Ok(()) => {}
                Err(_) => open.bytes = open.file.metadata().map_or(open.bytes, |metadata| metadata.len()),
            }
            return Err(files::failed("cannot write the recording", &error, &self.options.path));
        }
        open.bytes += bytes.len() as u64;
        self.stats.delivered_bytes += bytes.len() as u64;
        Ok(())
    }
}

const NAME: &str = "file";

/// Room that every file keeps for the entry that ends the session.
const END_BYTES: u64 = 64;

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
        let result = match self.file.as_ref().is_some_and(|open| open.bytes > 0) {
            true => {
                let end = encoder.end(now());
                self.write(&[end])
            }
            false => Ok(()),
        };
        self.file = None;
        self.noted(result)
    }

    fn stats(&self) -> SinkStats {
        self.stats.clone()
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
