//! Where the Java side of leakline stands: the facade, the runtime, and what only an Android app has.
//! Reads folders; compiles nothing.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::process::root;

/// The facade's sources.
pub(crate) fn api() -> anyhow::Result<Vec<PathBuf>> {
    java_files(&root().join("kotlin/leakline-api/src/main/java"))
}

/// The runtime's sources, without those that need Android's classes.
pub(crate) fn runtime() -> anyhow::Result<Vec<PathBuf>> {
    java_files(&root().join("kotlin/leakline-android/src/main/java/io/leakline/runtime"))
}

/// All that a JVM that is no Android app needs.
pub(crate) fn sources() -> anyhow::Result<Vec<PathBuf>> {
    Ok([api()?, runtime()?].concat())
}

/// Every Java file below `folder`, sorted.
pub(crate) fn java_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(java_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "java") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
