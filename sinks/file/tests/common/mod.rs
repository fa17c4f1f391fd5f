//! Writing with the sink and reading back what it wrote.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses a part of it")]

use std::future::Future;
use std::path::{Path, PathBuf};

use leakline_core::conformance::sample_session;
use leakline_core::{Record, Session, Sink, SinkError};
use leakline_file::{FileOptions, FileSink};
use leakline_proto::recording::{Item, Reader};
use leakline_proto::{Decoder, Event};

/// Runs `call` as a lane would.
pub(crate) fn on_a_lane<T>(call: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(call)
}

pub(crate) fn options(path: &Path) -> FileOptions {
    FileOptions::new(path)
}

/// A session of the process `pid`, its identity `id`.
pub(crate) fn session(id: u8, pid: u32) -> Session {
    let mut session = sample_session();
    session.id.0[0] = id;
    session.host.pid = pid;
    session
}

pub(crate) fn opened(options: FileOptions, session: &Session) -> Result<FileSink, SinkError> {
    let mut sink = FileSink::new(options);
    on_a_lane(sink.open(session))?;
    Ok(sink)
}

/// A recording at `path` of `session` with `records`, not ended.
pub(crate) fn write(path: &Path, session: &Session, records: &[Record]) -> FileSink {
    let mut sink = opened(options(path), session).unwrap();
    records.iter().for_each(|record| on_a_lane(sink.deliver(record)).unwrap());
    sink
}

/// What the file at `path` holds: all of it whole.
pub(crate) fn events(path: &Path) -> Vec<Event> {
    events_of(&[path.to_owned()])
}

/// What the files hold, read one after the other.
pub(crate) fn events_of(paths: &[PathBuf]) -> Vec<Event> {
    let mut decoder = Decoder::new();
    let mut events = Vec::new();
    for path in paths {
        let bytes = std::fs::read(path).unwrap();
        for item in Reader::new(&bytes).unwrap() {
            let Item::Entry { entry, .. } = item else { panic!("{item} in {}", path.display()) };
            events.extend(decoder.push(entry).unwrap());
        }
    }
    events
}

/// The numbers of the snapshots among `events`, each with how many sites it has.
pub(crate) fn snapshots(events: &[Event]) -> Vec<(u64, usize)> {
    let snapshots = events.iter().filter_map(|event| match event {
        Event::Snapshot { snapshot, .. } => {
            let profiles = snapshot.readings.iter().flat_map(|reading| &reading.profiles);
            Some((snapshot.number, profiles.map(|profile| profile.sites().len()).sum()))
        }
        _ => None,
    });
    snapshots.collect()
}
