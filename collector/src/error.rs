//! What can go wrong with a collector or its recordings.

use std::io;
use std::path::PathBuf;

use leakline_core::SessionId;
use leakline_proto::recording::RecordingError;

/// What can go wrong with a collector or its recordings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectorError {
    /// The address cannot be listened on.
    #[error("cannot listen: {source}: {address}")]
    Bind {
        /// What the system said.
        source: io::Error,
        /// The address as it was given.
        address: String,
    },
    /// The folder for recordings cannot be used.
    #[error("cannot use the folder for recordings: {source}: {}", path.display())]
    Folder {
        /// What the system said.
        source: io::Error,
        /// The folder.
        path: PathBuf,
    },
    /// A recording cannot be read.
    #[error("cannot read the recording: {source}: {}", path.display())]
    Read {
        /// What the system said.
        source: io::Error,
        /// The file.
        path: PathBuf,
    },
    /// A recording cannot be written.
    #[error("cannot write the recording: {source}: {}", path.display())]
    Write {
        /// What the system said.
        source: io::Error,
        /// The file.
        path: PathBuf,
    },
    /// A file is not a recording that this leakline can read.
    #[error("{source}: {}", path.display())]
    NotARecording {
        /// What it is instead.
        source: RecordingError,
        /// The file.
        path: PathBuf,
    },
    /// Nothing was found by that name.
    #[error(
        "no session {query:?} (give a file, a recording's name, or the first digits of a session's id): {}",
        folder.display()
    )]
    NotFound {
        /// What was looked for.
        query: String,
        /// Where.
        folder: PathBuf,
    },
    /// More than one session answers to that name.
    #[error("{query:?} may be any of {}; give more digits of the id: {}", candidates.join(", "), folder.display())]
    Ambiguous {
        /// What was looked for.
        query: String,
        /// The files' names.
        candidates: Vec<String>,
        /// Where.
        folder: PathBuf,
    },
    /// The server ended by itself.
    #[error("the collector's server failed: {source}")]
    Serve {
        /// What gRPC said.
        source: tonic::transport::Error,
    },
    /// A command for a session whose host is not connected.
    #[error("the host is not connected, so it cannot be told anything: session {session}")]
    NotConnected {
        /// The session.
        session: SessionId,
    },
    /// Not exactly one connected session answers to that name.
    #[error("{}", not_the_one(query, candidates))]
    NotTheOne {
        /// What was looked for; empty: the only one.
        query: String,
        /// Those that may be meant.
        candidates: Vec<SessionId>,
    },
    /// A collector could not be asked, or refused.
    #[error("cannot ask the collector: {reason}: {address}")]
    Ask {
        /// What came of it.
        reason: String,
        /// The collector's address.
        address: String,
    },
    /// A heap dump that the collector did not take.
    #[error("cannot send the heap dump: {reason}: {address}")]
    Dump {
        /// What came of it.
        reason: String,
        /// The collector's address.
        address: String,
    },
    /// A command that the host's agent does not know.
    #[error("the host's agent does not know the command {command}: session {session}")]
    NotObeyed {
        /// The command's name on the wire.
        command: &'static str,
        /// The session.
        session: SessionId,
    },
    /// Too many commands wait already.
    #[error("too many commands wait for the host already: session {session}")]
    TooManyCommands {
        /// The session.
        session: SessionId,
    },
}

fn not_the_one(query: &str, candidates: &[SessionId]) -> String {
    let named = if query.is_empty() { String::new() } else { format!(" that is {query:?}") };
    match candidates {
        [] => format!("no session is connected{named}"),
        several => {
            let ids: Vec<String> = several.iter().map(ToString::to_string).collect();
            format!("several sessions are connected{named}; name one by its id: {}", ids.join(", "))
        }
    }
}
