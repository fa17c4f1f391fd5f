//! What an app's package holds of leakline: classes, native libraries, and whether its manifest speaks of it.
//! Reads the few tables of a dex file that name its classes, and nothing else of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::bytes;
use crate::hosts;
use crate::process::{run, stdout_of};

/// Where classes of the facade stand.
const FACADE: [&str; 2] = ["Lio/leakline/", "Lio/leakline/spi/"];

pub(super) struct Apk {
    entries: Vec<String>,
    /// Of leakline, as a dex file writes them: `Lio/leakline/Leakline;`.
    classes: Vec<String>,
    has_provider: bool,
}

impl Apk {
    /// `work` is a folder to unpack in.
    pub(super) fn open(package: &Path, work: &Path) -> anyhow::Result<Self> {
        let tool = hosts::java_home()?.join("bin/jar");
        let listed = stdout_of(Command::new(&tool).args(["--list", "--file"]).arg(package))?;
        let folder = work.join("unpacked");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut unpack = Command::new(&tool);
        unpack.current_dir(&folder).args(["--extract", "--file"]).arg(package);
        run(unpack.args(["classes.dex", "AndroidManifest.xml"]))?;
        let mut classes = classes(&bytes(&folder.join("classes.dex"))?).context("classes.dex is damaged")?;
        classes.retain(|class| class.starts_with("Lio/leakline/"));
        classes.sort();
        // Texts of a binary manifest are UTF-16, or UTF-8 in newer ones.
        let manifest = bytes(&folder.join("AndroidManifest.xml"))?;
        let text: Vec<u8> = manifest.into_iter().filter(|byte| *byte != 0).collect();
        let has_provider = String::from_utf8_lossy(&text).contains("io.leakline");
        Ok(Self { entries: listed.lines().map(str::to_owned).collect(), classes, has_provider })
    }

    fn libraries(&self) -> impl Iterator<Item = &String> {
        self.entries.iter().filter(|entry| entry.starts_with("lib/") || entry.contains("leakline"))
    }

    /// One line.
    pub(super) fn summary(&self) -> String {
        format!(
            "{} classes of leakline's, {} libraries, {}",
            self.classes.len(),
            self.libraries().count(),
            if self.has_provider { "the provider" } else { "no provider" }
        )
    }

    /// What a debug build lacks, with the libraries of these ABIs.
    pub(super) fn faults_of_debug(&self, abis: &[String]) -> Vec<String> {
        let has = |class: &str| self.classes.iter().any(|there| there == &format!("Lio/leakline/{class};"));
        let wanted = [
            "Leakline",
            "android/AutoStartProvider",
            "android/AppRules",
            "runtime/AgentRuntime",
            "runtime/Native",
        ];
        let mut faults: Vec<String> =
            wanted.iter().filter(|class| !has(class)).map(|class| format!("debug: no {class}")).collect();
        if !self.has_provider {
            faults.push("debug: no provider in its manifest".to_owned());
        }
        for abi in abis {
            let library = format!("lib/{abi}/libleakline_jni.so");
            if !self.entries.contains(&library) {
                faults.push(format!("debug: no {library}"));
            }
        }
        faults
    }

    /// What a release build holds and must not.
    pub(super) fn faults_of_release(&self) -> Vec<String> {
        let is_facade = |class: &&String| {
            FACADE.iter().any(|folder| class.strip_prefix(folder).is_some_and(|name| !name.contains('/')))
        };
        let mut faults: Vec<String> = self.libraries().map(|library| format!("release: {library}")).collect();
        let others = self.classes.iter().filter(|class| !is_facade(class));
        faults.extend(others.map(|class| format!("release: {class}")));
        if self.has_provider {
            faults.push("release: leakline in its manifest".to_owned());
        }
        faults
    }
}

/// The classes that a dex file defines.
fn classes(dex: &[u8]) -> anyhow::Result<Vec<String>> {
    ensure!(dex.starts_with(b"dex\n"), "it does not begin as one");
    let word = |at: usize| -> anyhow::Result<usize> {
        let bytes = dex.get(at..at + 4).context("it ends too soon")?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize)
    };
    let (strings, types) = (word(0x3C)?, word(0x44)?);
    let (count, definitions) = (word(0x60)?, word(0x64)?);
    let text = |number: usize| -> anyhow::Result<String> {
        let data = dex.get(word(strings + 4 * number)?..).context("it ends too soon")?;
        // Its length stands before it, seven bits a byte.
        let length = data.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
        let text = data.get(length..).unwrap_or_default().split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(String::from_utf8_lossy(text).into_owned())
    };
    (0..count).map(|index| text(word(types + 4 * word(definitions + 32 * index)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apk(entries: &[&str], classes: &[&str], has_provider: bool) -> Apk {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Apk { entries: own(entries), classes: own(classes), has_provider }
    }

    #[test]
    fn a_release_holds_the_facade_and_nothing_else() {
        let facade = ["Lio/leakline/Leakline;", "Lio/leakline/spi/LeaklineRuntime;"];
        assert!(apk(&["classes.dex"], &facade, false).faults_of_release().is_empty());
        let faults =
            apk(&["lib/x86/libleakline_jni.so"], &["Lio/leakline/runtime/Native;"], true).faults_of_release();
        assert_eq!(
            faults,
            [
                "release: lib/x86/libleakline_jni.so",
                "release: Lio/leakline/runtime/Native;",
                "release: leakline in its manifest"
            ]
        );
    }

    #[test]
    fn a_debug_build_without_the_runtime_is_found() {
        let faults = apk(&[], &["Lio/leakline/Leakline;"], false).faults_of_debug(&["x86".to_owned()]);
        assert_eq!(faults.len(), 6, "{faults:?}");
    }

    #[test]
    fn what_is_no_dex_file_is_an_error() {
        assert!(classes(b"PK").is_err());
        assert!(classes(b"dex\n035\0 and too short").is_err());
    }
}
