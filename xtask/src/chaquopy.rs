//! Chaquopy's Java classes, which a host program of the tests is compiled against: one version of them, by its checksum,
//! through Maven. Without Maven, or without what it fetches from, there is no such program, and its test says so.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::root;

const VERSION: &str = "16.1.0";
const SHA_256: &str = "670a08cbe53b22130b1c3d2ddd4b79fd667aa70cf0a9e9ba6493106613fdecf6";

/// The JAR, fetched when it is not there yet; or why there is none.
pub(crate) fn jar() -> Result<PathBuf, String> {
    let folder = root().join(".leakline/chaquopy");
    let jar = folder.join(format!("chaquopy_java-{VERSION}.jar"));
    if !jar.is_file() {
        let mut maven = Command::new("mvn");
        maven.args(["--batch-mode", "--quiet", "dependency:copy"]);
        maven.arg(format!("-Dartifact=com.chaquo.python.runtime:chaquopy_java:{VERSION}"));
        maven.arg(format!("-DoutputDirectory={}", folder.display()));
        maven.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match maven.status() {
            Err(error) => return Err(format!("there is no Maven (mvn): {error}")),
            Ok(status) if !status.success() => return Err("Maven could not fetch it".to_owned()),
            Ok(_) => {}
        }
    }
    is_known(&jar, SHA_256)?;
    Ok(jar)
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
