//! What can go wrong while the process is read.

use std::io;

use leakline_core::ProbeError;

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NativeError {
    /// The kernel did not give it.
    #[error("cannot read: {source}: {path}")]
    Read { source: io::Error, path: String },
    /// The kernel gave something that this code does not know.
    #[error("not understood: {path}")]
    Malformed { path: String },
    /// There is more of it than is looked at.
    #[error("more than {most} {what}")]
    TooMany { what: &'static str, most: usize },
}

impl From<NativeError> for ProbeError {
    fn from(error: NativeError) -> Self {
        ProbeError::failed("reading the process", error)
    }
}
