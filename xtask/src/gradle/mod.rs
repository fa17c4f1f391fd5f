//! `cargo xtask gradle`: a small app (`kotlin/gradle-app`) built by Gradle and its Android plugin, debug and release, once with
//! leakline from the local Maven repository and once with its modules from source; what is in the four packages is compared
//! with what must be there. By the Gradle and the plugin that Debian packages (4.4.1 and 2.2.2); `./x gradle` installs them.
//! Never a step of the tests: that is 170 packages.

mod apk;
mod sdk;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use self::apk::Apk;
use crate::process::root;
use crate::{android, dist};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Builds, compares, tells.
pub(crate) fn build() -> anyhow::Result<()> {
    let work = dist::target().join("leakline-android/gradle");
    let repository = dist::target().join("leakline-android/maven/io/leakline/leakline-android");
    ensure!(repository.is_dir(), "no {}: `./x aar` makes it", repository.display());
    let sdk = sdk::make(&work)?;
    let from = [("the Maven repository", vec![format!("-Pmaven={VERSION}")]), ("source", sdk::properties())];
    for (what, properties) in from {
        let app = root().join("kotlin/gradle-app");
        let mut gradle = Command::new("gradle");
        gradle.current_dir(&app).args(["--offline", "--no-daemon", "--quiet", "--project-cache-dir"]);
        gradle.arg(work.join("cache")).args(properties).args(["clean", "assembleDebug", "assembleRelease"]);
        gradle.env("ANDROID_HOME", &sdk).env("GRADLE_USER_HOME", work.join("home"));
        quietly(&mut gradle)?;
        let outputs = app.join("build/outputs/apk");
        let debug = Apk::open(&outputs.join("gradle-app-debug.apk"), &work)?;
        let release = Apk::open(&outputs.join("gradle-app-release-unsigned.apk"), &work)?;
        println!("with leakline from {what}");
        println!("  debug    {}", debug.summary());
        println!("  release  {}", release.summary());
        let faults: Vec<String> =
            debug.faults_of_debug(&abis()).into_iter().chain(release.faults_of_release()).collect();
        ensure!(
            faults.is_empty(),
            "the packages with leakline from {what} are not right:\n  {}",
            faults.join("\n  ")
        );
    }
    println!(
        "checked: the debug builds hold the runtime, the release builds the facade's classes and nothing else of leakline's"
    );
    Ok(())
}

/// What Debian's Gradle says is a stack trace for each artifact that Maven's own repository resolves: told only if it failed.
fn quietly(gradle: &mut Command) -> anyhow::Result<()> {
    let output = gradle.output().context("cannot start gradle")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with("\tat ")).collect();
    let last = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n");
    bail!("gradle failed: {}\n{last}", output.status)
}

/// Those whose libraries `cargo xtask android` has built.
fn abis() -> Vec<String> {
    let is_built = |abi: &&android::Abi| android::folder().join(abi.name).join(android::LIBRARY).is_file();
    android::ABIS.iter().filter(is_built).map(|abi| abi.name.to_owned()).collect()
}

/// A file's bytes, with its path in the error.
fn bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
