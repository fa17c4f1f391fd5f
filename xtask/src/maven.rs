//! Single files of Maven Central's that tests and benchmarks use: one version of each, by its checksum, through Maven. Without
//! Maven, or without what it fetches from, there is none, and who asked says so.
//!
//! Never in what is given away.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::root;

/// A JAR.
pub(crate) struct Artifact {
    pub(crate) group: &'static str,
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) sha_256: &'static str,
    /// Where it is kept, in the folder `.leakline`.
    pub(crate) folder: &'static str,
}

/// Chaquopy's Java classes, which a host program of the tests is compiled against.
pub(crate) const CHAQUOPY: Artifact = Artifact {
    group: "com.chaquo.python.runtime",
    name: "chaquopy_java",
    version: "16.1.0",
    sha_256: "670a08cbe53b22130b1c3d2ddd4b79fd667aa70cf0a9e9ba6493106613fdecf6",
    folder: "chaquopy",
};

/// async-profiler, whose native library is inside, for Linux and macOS.
pub(crate) const ASYNC_PROFILER: Artifact = Artifact {
    group: "tools.profiler",
    name: "async-profiler",
    version: "4.3",
    sha_256: "d24119d121e397d9a4dc1441689fbbc5cd197d9612ab1212606dfbe8cdffdbfb",
    folder: "async-profiler",
};

impl Artifact {
    /// The file, fetched when it is not there yet; or why there is none.
    pub(crate) fn file(&self) -> Result<PathBuf, String> {
        let Self { group, name, version, sha_256, folder } = self;
        let folder = root().join(".leakline").join(folder);
        let jar = folder.join(format!("{name}-{version}.jar"));
        if !jar.is_file() {
            let mut maven = Command::new("mvn");
            maven.args(["--batch-mode", "--quiet", "dependency:copy"]);
            maven.arg(format!("-Dartifact={group}:{name}:{version}"));
            maven.arg(format!("-DoutputDirectory={}", folder.display()));
            maven.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            match maven.status() {
                Err(error) => return Err(format!("there is no Maven (mvn): {error}")),
                Ok(status) if !status.success() => return Err("Maven could not fetch it".to_owned()),
                Ok(_) => {}
            }
        }
        is_known(&jar, sha_256)?;
        Ok(jar)
    }
}

/// Whether a file that was fetched is the one that this version was written with.
pub(crate) fn is_known(file: &Path, sha_256: &str) -> Result<(), String> {
    let sum = Command::new("sha256sum").arg(file).output().map_err(|error| format!("sha256sum: {error}"))?;
    if String::from_utf8_lossy(&sum.stdout).split_whitespace().next() == Some(sha_256) {
        Ok(())
    } else {
        Err(format!("{} is another than the one that is known", file.display()))
    }
}
