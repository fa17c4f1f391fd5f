//! What can go wrong between two runtimes.

use leakline_core::ProbeError;

/// Why the bridge could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BridgeError {
    /// The JVM is ending or has ended.
    #[error("the JVM has ended")]
    Ended,
    /// A call into the JVM failed with this code.
    #[error("{call} failed with {code}")]
    Failed { call: &'static str, code: i32 },
    /// A call threw, or answered with nothing.
    #[error("{call} gave nothing")]
    Nothing { call: &'static str },
}

impl From<BridgeError> for ProbeError {
    fn from(error: BridgeError) -> Self {
        match error {
            BridgeError::Ended => ProbeError::Gone { reason: "the JVM has ended".into() },
            other => ProbeError::failed("reading the bridge", other),
        }
    }
}
