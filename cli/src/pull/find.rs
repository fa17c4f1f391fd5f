//! Finds adb: where it is named, in an Android SDK, or on PATH.
//! Never searches anything but these places, and never runs what it finds.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, bail};

/// adb's path, absolute or as the variables have it.
pub(super) fn adb(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let program = format!("adb{}", std::env::consts::EXE_SUFFIX);
    let mut places = Vec::new();
    if let Some(named) = set("ADB") {
        places.push(("$ADB".to_owned(), named));
    }
    for name in ["ANDROID_HOME", "ANDROID_SDK_ROOT"] {
        places.extend(set(name).map(|sdk| (format!("${name}"), sdk.join("platform-tools").join(&program))));
    }
    let defaults =
        [("HOME", "Android/Sdk"), ("HOME", "Library/Android/sdk"), ("LOCALAPPDATA", "Android/Sdk")];
    for (name, below) in defaults {
        let sdk = set(name).map(|folder| folder.join(below)).filter(|sdk| sdk.is_dir());
        places.extend(sdk.map(|sdk| ("the SDK".to_owned(), sdk.join("platform-tools").join(&program))));
    }
    let on_path = variable("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&on_path).filter(|folder| folder.is_absolute());
    let on_path = on_path.map(|folder| folder.join(&program)).find(|file| file.is_file());
    if let Some((_, found)) = places.iter().find(|(_, file)| file.is_file()) {
        return Ok(found.clone());
    }
    if let Some(found) = on_path {
        return Ok(found);
    }
    let looked: Vec<String> =
        places.iter().map(|(whose, file)| format!("\n    {} ({whose})", file.display())).collect();
    let unset: Vec<&str> =
        ["ADB", "ANDROID_HOME", "ANDROID_SDK_ROOT"].into_iter().filter(|name| set(name).is_none()).collect();
    let unset = if unset.is_empty() { String::new() } else { format!("\n    not set: {}", unset.join(", ")) };
    bail!(
        "adb was not found. Looked for:{}\n    {program} in the folders of PATH{unset}\n  \
         Install the Android SDK's platform-tools (Debian and Ubuntu: apt install adb), or set ADB to adb's path.",
        looked.concat()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the places is taken, when adb stands at those in `there`; `-`: none, and the message names all.
    fn check(there: &str, set: &str, expected: &str) {
        let root = tempfile::tempdir().expect("a folder");
        for place in there.split_whitespace() {
            let folder = root.path().join(place);
            std::fs::create_dir_all(&folder).expect("a folder");
            let file = folder.join(format!("adb{}", std::env::consts::EXE_SUFFIX));
            std::fs::write(file, "").expect("written");
        }
        let variable = |name: &str| {
            let (_, place) = set
                .split_whitespace()
                .filter_map(|word| word.split_once('='))
                .find(|(known, _)| *known == name)?;
            Some(root.path().join(place).into_os_string())
        };
        match adb(&variable) {
            Ok(found) => {
                let folder = root.path().join(expected);
                assert_eq!(found.parent(), Some(folder.as_path()), "{there} | {set}");
            }
            Err(error) => {
                assert_eq!(expected, "-", "{there} | {set}");
                let error = error.to_string();
                for (name, place) in set.split_whitespace().filter_map(|word| word.split_once('=')) {
                    let named = error.contains(&root.path().join(place).display().to_string());
                    assert!(named || matches!(name, "PATH" | "HOME"), "{name}: {error}");
                }
            }
        }
    }

    #[test]
    fn adb_is_found_where_it_is_named_then_in_an_sdk_then_on_path() {
        let everywhere = "own home/platform-tools root/platform-tools path user/Android/Sdk/platform-tools";
        let all = "ADB=own/adb ANDROID_HOME=home ANDROID_SDK_ROOT=root HOME=user PATH=path";
        if cfg!(unix) {
            check(everywhere, all, "own");
        }
        check(
            everywhere,
            "ANDROID_HOME=home ANDROID_SDK_ROOT=root HOME=user PATH=path",
            "home/platform-tools",
        );
        check(everywhere, "ANDROID_SDK_ROOT=root HOME=user PATH=path", "root/platform-tools");
        check(everywhere, "HOME=user PATH=path", "user/Android/Sdk/platform-tools");
        check("path", "ADB=own/adb ANDROID_HOME=home PATH=path", "path");
        check("", "ADB=own/adb ANDROID_HOME=home ANDROID_SDK_ROOT=root HOME=user PATH=path", "-");
        check("path", "ANDROID_HOME=home", "-");
        check("", "", "-");
    }
}
