//! The bridges between Python and Java that are known, by the names of their libraries.

/// How the libraries' names begin: JPype's, jep's on two systems, Chaquopy's.
pub const LIBRARIES: &[&str] = &["_jpype.", "libjep.", "jep.cpython-", "libchaquopy_java."];
