//! What can go wrong between two runtimes.

use leakline_core::ProbeError;
use leakline_probing::java::NotAttached;

/// Why the bridge could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BridgeError {
    /// The JVM is ending or has ended.
    #[error("the JVM has ended")]
    Ended,
    /// The thread was not let in.
    #[error("attaching the thread failed with {code}")]
    NotAttached { code: i32 },
    /// The JVM gives no tool interface: another has what there is, or it has none.
    #[error("there is no tool interface")]
    NoTools,
    /// A call threw, or answered with nothing.
    #[error("{call} gave nothing")]
    Nothing { call: &'static str },
    /// A bridge of another make than those that are known.
    #[error("this version of the bridge is not known: {what}")]
    Unknown { what: &'static str },
}

impl From<NotAttached> for BridgeError {
    fn from(NotAttached { code }: NotAttached) -> Self {
        BridgeError::NotAttached { code }
    }
}

impl From<BridgeError> for ProbeError {
    fn from(error: BridgeError) -> Self {
        match error {
            BridgeError::Ended => ProbeError::Gone { reason: "the JVM has ended".into() },
            other => ProbeError::failed("reading the bridge", other),
        }
    }
}
