//! What can go wrong while a JVM is read.

use leakline_core::ProbeError;
use leakline_probing::java::NotAttached;

/// Why the JVM did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JvmError {
    /// The JVM is ending or has ended.
    #[error("it has ended")]
    Ended,
    /// The thread was not let in.
    #[error("attaching the thread failed with {code}")]
    NotAttached { code: i32 },
    /// An exception was thrown, and cleared.
    #[error("{exception}: in {call}")]
    Thrown { exception: String, call: String },
    /// A value that should be there was null.
    #[error("null: from {call}")]
    Null { call: String },
    /// It answered, and not with what was asked for.
    #[error("{what} says: {said}")]
    Refused { what: &'static str, said: String },
    /// An object is not what its name promises.
    #[error("not a {class}")]
    OtherClass { class: String },
}

impl From<NotAttached> for JvmError {
    fn from(NotAttached { code }: NotAttached) -> Self {
        JvmError::NotAttached { code }
    }
}

impl From<JvmError> for ProbeError {
    fn from(error: JvmError) -> Self {
        match error {
            JvmError::Ended => ProbeError::Gone { reason: "the JVM has ended".into() },
            other => ProbeError::failed("reading the JVM", other),
        }
    }
}
