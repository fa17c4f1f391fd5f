//! Android's entry points: reserved for the issue that builds them. Nothing is here yet, and nothing depends on it.
