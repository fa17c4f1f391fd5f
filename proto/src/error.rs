//! Why an entry or a message could not be understood.

/// Why a message could not be understood. Fields are named as in `leakline.proto`, with their message in front.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A field that must be there is not (or is of a kind that only a newer leakline knows).
    #[error("a field is missing: {0}")]
    Missing(&'static str),
    /// An enum's value that only a newer leakline knows.
    #[error("unknown value {value}, perhaps of a newer leakline: {field}")]
    UnknownValue {
        /// What it was.
        value: i32,
        /// Where it was.
        field: &'static str,
    },
    /// An index names something that was not told before in this epoch.
    #[error("index {index} names nothing, only {known} were told: {field}")]
    UnknownIndex {
        /// What it was.
        index: u32,
        /// How many there are.
        known: usize,
        /// Where it was.
        field: &'static str,
    },
    /// More than what this leakline is ready to hold.
    #[error("{size} are too many, at most {limit} are taken: {field}")]
    TooLarge {
        /// What was asked for.
        size: u64,
        /// What is allowed.
        limit: u64,
        /// Where it was.
        field: &'static str,
    },
    /// A value that cannot be meant.
    #[error("{reason}: {field}")]
    Invalid {
        /// What is wrong with it.
        reason: &'static str,
        /// Where it was.
        field: &'static str,
    },
}
