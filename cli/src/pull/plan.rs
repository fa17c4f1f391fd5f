//! The adb commands that `leakline pull` stands for, as a user would type them.
//! Only text; runs nothing.

use std::fmt::Write;
use std::path::Path;

use super::FOLDER;
use super::package::Package;

/// List the files, fetch the main process's, and read it.
pub(super) fn commands(adb: &str, serial: Option<&str>, package: &Package, folder: &Path) -> String {
    let mut adb = word(adb);
    if let Some(serial) = serial {
        let _ = write!(adb, " -s {}", word(serial));
    }
    let (package, to) = (package.as_str(), folder.join("main.leak"));
    let (folder, to) = (word(&folder.display().to_string()), word(&to.display().to_string()));
    format!(
        "mkdir -p {folder}\n\
         {adb} exec-out run-as {package} ls -ln {FOLDER}\n\
         {adb} exec-out run-as {package} cat {FOLDER}/main.leak > {to}\n\
         # another process's recording has that process's name\n\
         leakline report {to}\n"
    )
}

/// What to type next.
pub(super) fn next(recording: &Path) -> String {
    format!("leakline report {}", word(&recording.display().to_string()))
}

/// `text` as one word of a shell.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,~\\".contains(c);
    // On Windows a backslash parts folders, elsewhere it escapes.
    if !text.is_empty() && text.chars().all(|c| is_plain(c) && (cfg!(windows) || c != '\\')) {
        return text.to_owned();
    }
    if cfg!(windows) { format!("\"{text}\"") } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_one_word() {
        for (text, expected) in [
            ("a/b.leak", "a/b.leak"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$x", "'$x'"),
            ("", "''"),
            ("a\\b", "'a\\b'"),
        ] {
            assert_eq!(word(text), expected);
        }
    }
}
