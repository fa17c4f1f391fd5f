//! What a file that is already at the recording's path holds, and so what becomes of it.
//! Only reads.

use std::fs::File;
use std::io::{self, Read};

use leakline_proto::recording::{Item, Parser, RecordingError};
use leakline_proto::v1::{self, entry::Body};

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// No entry, at most a header.
    Nothing,
    /// At most one snapshot of the same process in an earlier session that did not end: the process replaced its program
    /// by another (exec) as soon as it was started.
    SameProcess,
    /// A recording to be kept.
    Recording,
    /// No recording of ours.
    Foreign,
}

const PIECE_BYTES: usize = 64 << 10;

/// Reads `file` from its beginning, as far as needed.
pub(crate) fn look(file: &mut File, session: &v1::Session) -> io::Result<Existing> {
    let mut parser = Parser::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut seen = Seen::default();
    let mut finished = false;
    loop {
        match file.read(&mut piece) {
            Ok(0) => {
                parser.finish();
                finished = true;
            }
            Ok(count) => parser.feed(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        loop {
            match parser.next_item() {
                Ok(Some(item)) => seen.item(item, session),
                Ok(None) if finished => return Ok(seen.verdict()),
                Ok(None) => break,
                Err(RecordingError::Empty | RecordingError::CutOff { .. }) => return Ok(Existing::Nothing),
                Err(RecordingError::Foreign { .. }) => return Ok(Existing::Foreign),
                Err(_) => return Ok(Existing::Recording),
            }
            if seen.is_to_be_kept() {
                return Ok(Existing::Recording);
            }
        }
    }
}

/// Whether `file` begins as a recording does, or holds nothing.
pub(crate) fn is_ours(file: &mut File) -> io::Result<bool> {
    let mut beginning = [0; leakline_proto::recording::HEADER_BYTES];
    let mut parser = Parser::new();
    let count = file.read(&mut beginning)?;
    parser.feed(&beginning[..count]);
    parser.finish();
    Ok(!matches!(parser.next_item(), Err(RecordingError::Foreign { .. })))
}

#[derive(Debug, Default)]
struct Seen {
    entries: u64,
    snapshots: u64,
    others: bool,
}

impl Seen {
    fn item(&mut self, item: Item, session: &v1::Session) {
        match item {
            Item::Entry { entry: v1::Entry { body, .. }, .. } => {
                self.entries += 1;
                match body {
                    // Our own comes back where a folder or a file system was away for a while.
                    Some(Body::Session(old)) => {
                        self.others |= !same_process(&old, session) || old.id == session.id;
                    }
                    Some(Body::Snapshot(_)) => self.snapshots += 1,
                    // An orderly end is no change of program: another session of the same process.
                    Some(Body::End(_)) => self.others = true,
                    _ => {}
                }
            }
            Item::Truncated { .. } => {}
            // Damage may hide anything.
            _ => self.others = true,
        }
    }

    fn is_to_be_kept(&self) -> bool {
        self.others || self.snapshots > 1
    }

    fn verdict(&self) -> Existing {
        match self {
            _ if self.is_to_be_kept() => Existing::Recording,
            Self { entries: 0, .. } => Existing::Nothing,
            _ => Existing::SameProcess,
        }
    }
}

fn same_process(old: &v1::Session, new: &v1::Session) -> bool {
    let process =
        |session: &v1::Session| session.host.as_ref().map(|host| (host.pid, host.started_boot_nanos));
    process(old) == process(new)
}
