//! Reads a recording from its file into a report, piece by piece.
//! Never writes, never gives up at damage that has something readable behind it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use leakline_proto::Decoder;
use leakline_proto::recording::{Item, Parser, RecordingError};

use super::build::{Builder, NoReport, Range};
use super::model::Report;

const PIECE: usize = 1 << 20;

/// The report on the recording whose parts are `files`, the oldest first.
pub(crate) fn report(files: &[PathBuf], range: Range) -> Result<Report> {
    let mut builder = Builder::new(range);
    let mut decoder = Decoder::new();
    for (index, file) in files.iter().enumerate() {
        let last = index + 1 == files.len();
        match read(file, &mut decoder, &mut builder) {
            // A part that was rotated away and cannot be read takes nothing from the parts after it.
            Err(error) if !last => builder.problem(format!("{error:#}")),
            result => result?,
        }
    }
    let name = files.last().map(|file| file.display().to_string()).unwrap_or_default();
    let problems: String = builder.problems().iter().map(|line| format!("\n  {line}")).collect();
    builder.finish().map_err(|why| match why {
        NoReport::NoSession => anyhow::anyhow!(
            "no session can be read from this recording: {name}{problems}\n  \
             It was cut off or damaged before its first whole entry; there is nothing to show."
        ),
        NoReport::NoSnapshot => anyhow::anyhow!(
            "no snapshot can be read from this recording: {name}{problems}\n  \
             The program ended, or was killed, before the first reading. Run it again, perhaps with a shorter --interval."
        ),
        NoReport::NoneInRange(first, last) => {
            anyhow::anyhow!("no snapshot in this range: the recording has {first} to {last}: {name}")
        }
    })
}

fn read(path: &Path, decoder: &mut Decoder, builder: &mut Builder) -> Result<()> {
    let mut file = File::open(path).map_err(|error| cannot_open(path, &error))?;
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        bail!(
            "this is a folder, not a recording: {}\n  Name a file in it, or a session with --folder.",
            path.display()
        );
    }
    let mut parser = Parser::new();
    let mut piece = vec![0; PIECE];
    loop {
        let length = match file.read(&mut piece) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot be read: {}", path.display())),
        };
        match piece.get(..length) {
            Some([]) | None => parser.finish(),
            Some(bytes) => parser.feed(bytes),
        }
        while let Some(item) = parser.next_item().map_err(|error| cannot_read(path, &error))? {
            take(item, path, decoder, builder);
        }
        if length == 0 {
            return Ok(());
        }
    }
}

fn take(item: Item, path: &Path, decoder: &mut Decoder, builder: &mut Builder) {
    let (entry, offset) = match item {
        Item::Entry { entry, offset, .. } => (entry, offset),
        problem => return builder.problem(format!("{problem}: {}", path.display())),
    };
    let number = entry.number;
    match decoder.push(entry) {
        Ok(events) => events.into_iter().for_each(|event| builder.event(event)),
        Err(error) => {
            builder.problem(format!("entry {number} at byte {offset} left out: {error}: {}", path.display()));
        }
    }
}

fn cannot_open(path: &Path, error: &io::Error) -> anyhow::Error {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => {
            "Check the path, or name a session of the collector: `leakline report --list`."
        }
        io::ErrorKind::PermissionDenied => "Read it as the user who recorded it.",
        _ => "Check the path.",
    };
    anyhow::anyhow!("cannot open the recording: {error}: {}\n  {remedy}", path.display())
}

fn cannot_read(path: &Path, error: &RecordingError) -> anyhow::Error {
    let remedy = match error {
        RecordingError::Foreign { .. } => {
            "\n  Recordings are written by `leakline run -o FILE` and by `leakline collect`."
        }
        RecordingError::Empty | RecordingError::CutOff { .. } => {
            "\n  Try again once the program has run for a moment."
        }
        _ => "",
    };
    anyhow::anyhow!("{error}: {}{remedy}", path.display())
}
