//! What the facade's JAR and the runtime's AAR must hold and must not, from the lists of their entries.
//! Opens no archive.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::android::{ABIS, PRODUCTS};

/// What a release build carries: call sites' classes and nothing else, so no native code, no manifest (and with it no
/// provider and no permission), no rules, no resource.
pub(super) fn api(entries: &[String], runtime: &[String]) -> Vec<String> {
    let mut faults = twice(entries);
    for entry in entries {
        let of_ours = ["io/leakline/", "io/leakline/spi/"].iter().any(|folder| {
            entry.strip_prefix(folder).is_some_and(|name| !name.contains('/') && name.ends_with(".class"))
        });
        if !of_ours && !is_neutral(entry) {
            faults.push(format!("the facade holds {entry}"));
        }
        if entry.ends_with(".class") && runtime.contains(entry) {
            faults.push(format!("the facade holds {entry}, which is the runtime's"));
        }
    }
    faults.extend(missing(entries, &["io/leakline/Leakline.class", "io/leakline/spi/LeaklineRuntime.class"]));
    faults
}

/// The runtime's `classes.jar`: what Android finds by name, and none of the facade's classes, for an app that has a class
/// twice does not build.
pub(super) fn runtime(entries: &[String], api: &[String]) -> Vec<String> {
    let mut faults = twice(entries);
    for entry in entries.iter().filter(|entry| !is_neutral(entry)) {
        let folders = ["io/leakline/android/", "io/leakline/runtime/"];
        if !folders.iter().any(|folder| entry.starts_with(folder)) || !entry.ends_with(".class") {
            faults.push(format!("classes.jar holds {entry}"));
        }
        if api.contains(entry) {
            faults.push(format!("classes.jar holds {entry}, which is the facade's"));
        }
    }
    let wanted = [
        "io/leakline/android/AutoStartProvider.class",
        "io/leakline/android/AutoStartProvider$ServiceProcess.class",
        "io/leakline/android/AppRules.class",
        "io/leakline/runtime/AgentRuntime.class",
        "io/leakline/runtime/Native.class",
    ];
    faults.extend(missing(entries, &wanted));
    faults
}

/// The format: four files that Gradle's plugin reads, and the libraries, each in its ABI's folder.
pub(super) fn aar(entries: &[String]) -> Vec<String> {
    const FILES: &[&str] = &["AndroidManifest.xml", "classes.jar", "R.txt", "proguard.txt"];
    let mut faults = twice(entries);
    for entry in entries.iter().filter(|entry| !entry.ends_with('/')) {
        let is_library = ABIS
            .iter()
            .any(|abi| PRODUCTS.iter().any(|product| *entry == format!("jni/{}/{}", abi.name, product.file)));
        if !is_library && !FILES.contains(&entry.as_str()) {
            faults.push(format!("the AAR holds {entry}"));
        }
    }
    faults.extend(missing(entries, FILES));
    faults
}

/// Class files of Java 8 are the newest that every Gradle plugin takes without being told.
pub(super) fn versions(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?.flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            faults.extend(versions(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "class") {
            let data = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let version = data.get(6..8).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
            if version.is_none_or(|version| version > 52) {
                faults.push(format!("{} is of class file version {version:?}", path.display()));
            }
        }
    }
    Ok(faults)
}

fn is_neutral(entry: &str) -> bool {
    entry.ends_with('/') || entry == "META-INF/MANIFEST.MF"
}

fn twice(entries: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    entries
        .iter()
        .filter(|entry| !seen.insert(entry.as_str()))
        .map(|entry| format!("{entry} is there twice"))
        .collect()
}

fn missing(entries: &[String], wanted: &[&str]) -> Vec<String> {
    let there = |name: &str| entries.iter().any(|entry| entry == name);
    wanted.iter().filter(|name| !there(name)).map(|name| format!("no {name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const API: &str = "META-INF/ META-INF/MANIFEST.MF io/leakline/ io/leakline/Leakline.class io/leakline/Layer.class \
                       io/leakline/spi/LeaklineRuntime.class";
    const RUNTIME: &str = "META-INF/MANIFEST.MF io/leakline/android/AutoStartProvider.class \
                           io/leakline/android/AutoStartProvider$ServiceProcess.class io/leakline/android/AppRules.class \
                           io/leakline/runtime/AgentRuntime.class io/leakline/runtime/Native.class";
    const AAR: &str = "AndroidManifest.xml classes.jar R.txt proguard.txt";

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// With `more` entries, each check says exactly `wanted`.
    #[track_caller]
    fn check(faults: fn(&[String]) -> Vec<String>, base: &str, more: &str, wanted: &[&str]) {
        assert_eq!(faults(&words(&format!("{base} {more}"))), wanted);
    }

    fn of_api(entries: &[String]) -> Vec<String> {
        api(entries, &words(RUNTIME))
    }

    fn of_runtime(entries: &[String]) -> Vec<String> {
        runtime(entries, &words(API))
    }

    #[test]
    fn the_facade_holds_call_sites_classes_only() {
        check(of_api, API, "", &[]);
        check(of_api, API, "AndroidManifest.xml", &["the facade holds AndroidManifest.xml"]);
        check(
            of_api,
            API,
            "lib/x86_64/libleakline_jni.so",
            &["the facade holds lib/x86_64/libleakline_jni.so"],
        );
        check(of_api, API, "META-INF/proguard/x.pro", &["the facade holds META-INF/proguard/x.pro"]);
        check(of_api, API, "io/leakline/Leakline.class", &["io/leakline/Leakline.class is there twice"]);
        let native = "io/leakline/runtime/Native.class";
        let wanted = [
            format!("the facade holds {native}"),
            format!("the facade holds {native}, which is the runtime's"),
        ];
        check(of_api, API, native, &[&wanted[0], &wanted[1]]);
        check(of_api, "io/leakline/Leakline.class", "", &["no io/leakline/spi/LeaklineRuntime.class"]);
    }

    #[test]
    fn the_runtime_holds_nothing_of_the_facade() {
        check(of_runtime, RUNTIME, "", &[]);
        check(of_runtime, RUNTIME, "android/util/Log.class", &["classes.jar holds android/util/Log.class"]);
        let facade = "io/leakline/Leakline.class";
        let wanted = [
            format!("classes.jar holds {facade}"),
            format!("classes.jar holds {facade}, which is the facade's"),
        ];
        check(of_runtime, RUNTIME, facade, &[&wanted[0], &wanted[1]]);
    }

    #[test]
    fn an_aar_has_its_four_files_and_known_abis() {
        check(aar, AAR, "", &[]);
        check(
            aar,
            AAR,
            "jni/ jni/arm64-v8a/ jni/arm64-v8a/libleakline_jni.so jni/x86/libleakline_cpython.so",
            &[],
        );
        check(aar, AAR, "jni/mips/libleakline_jni.so", &["the AAR holds jni/mips/libleakline_jni.so"]);
        check(
            aar,
            AAR,
            "lib/arm64-v8a/libleakline_jni.so",
            &["the AAR holds lib/arm64-v8a/libleakline_jni.so"],
        );
        check(aar, "AndroidManifest.xml classes.jar R.txt", "", &["no proguard.txt"]);
    }
}
