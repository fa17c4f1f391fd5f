//! The scheduler on real threads, with a clock that is turned by hand.
