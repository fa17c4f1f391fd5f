//! The suites themselves: what conforms passes, and each way to break the contract is found.
