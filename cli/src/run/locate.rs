//! Finds the agent's library and its Python part, wherever leakline was installed or moved to.
//! Never searches anything but the listed places.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The agent: what is preloaded.
pub(crate) const AGENT: &str = "libleakline_agent.so";
/// The Python part, which the agent loads when there is Python.
pub(crate) const CPYTHON: &str = "libleakline_cpython.so";

/// Folders where the library may stand, best first, relative to the folder of the executable.
const PLACES: &[&str] = &["", "../lib/leakline", "../lib"];

/// The agent's library. `named` is the value of `LEAKLINE_LIBRARY`, `executable` this program's own path.
pub(crate) fn agent(named: Option<&OsStr>, executable: &Path) -> Result<PathBuf> {
    let found = match named.filter(|named| !named.is_empty()) {
        Some(named) => from_variable(Path::new(named))?,
        None => from_places(executable)?,
    };
    preloadable(found)
}

fn from_variable(named: &Path) -> Result<PathBuf> {
    let library = if named.is_dir() { named.join(AGENT) } else { named.to_owned() };
    match std::path::absolute(&library) {
        Ok(library) if library.is_file() => Ok(library),
        _ => bail!(
            "LEAKLINE_LIBRARY names a file that is not there: {}\n  \
             Set it to the path of {AGENT}, or unset it so that leakline looks beside itself.",
            library.display()
        ),
    }
}

fn from_places(executable: &Path) -> Result<PathBuf> {
    // A symlink to leakline (~/.local/bin) leads to where it is installed.
    let executable = executable.canonicalize().unwrap_or_else(|_| executable.to_owned());
    let folder = executable.parent().unwrap_or(Path::new("/"));
    let candidates: Vec<PathBuf> = PLACES.iter().map(|place| folder.join(place).join(AGENT)).collect();
    match candidates.iter().find(|candidate| candidate.is_file()) {
        Some(found) => Ok(found.canonicalize().unwrap_or_else(|_| found.clone())),
        None => {
            let places: Vec<String> =
                candidates.iter().map(|path| format!("\n    {}", path.display())).collect();
            bail!(
                "the agent's library {AGENT} was not found. Looked for:{}\n  \
                 Put it at one of these places, or set LEAKLINE_LIBRARY to its path. \
                 In a source tree, `cargo build -p leakline-preload` makes it.",
                places.concat()
            )
        }
    }
}

/// The loader splits `LD_PRELOAD` at spaces and colons and expands `$`, and knows no way to quote them.
fn preloadable(library: PathBuf) -> Result<PathBuf> {
    let text = library.to_string_lossy();
    match text.chars().find(|c| c.is_whitespace() || matches!(c, ':' | '$')) {
        None => Ok(library),
        Some(bad) => bail!(
            "the loader cannot preload a library whose path has {bad:?} in it: {text}\n  \
             Move leakline, or set LEAKLINE_LIBRARY to a copy or a symlink with a plain path."
        ),
    }
}

/// Whether the Python part stands where the agent looks for it.
pub(crate) fn has_python_part(agent: &Path) -> bool {
    let beside = |library: &Path| library.with_file_name(CPYTHON).is_file();
    beside(agent) || agent.canonicalize().is_ok_and(|real| beside(&real))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes `files` in a fresh folder and looks for the agent from `executable` in it.
    fn check(files: &[&str], executable: &str, expected: Result<&str, &str>) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for file in files.iter().chain([&executable]) {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        match (agent(None, &root.join(executable)), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, root.join(expected)),
            (Err(found), Err(expected)) => assert!(found.to_string().contains(expected), "{found}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn the_library_is_found_beside_the_program_first() {
        check(
            &["bin/libleakline_agent.so", "lib/libleakline_agent.so"],
            "bin/leakline",
            Ok("bin/libleakline_agent.so"),
        );
    }

    #[test]
    fn the_library_is_found_in_an_installed_tree() {
        check(
            &["lib/leakline/libleakline_agent.so"],
            "bin/leakline",
            Ok("lib/leakline/libleakline_agent.so"),
        );
        check(&["lib/libleakline_agent.so"], "bin/leakline", Ok("lib/libleakline_agent.so"));
    }

    #[test]
    fn a_missing_library_is_named_with_the_places_and_the_remedy() {
        check(&[], "bin/leakline", Err("../lib/leakline/libleakline_agent.so"));
        check(&[], "bin/leakline", Err("LEAKLINE_LIBRARY"));
    }

    #[test]
    fn a_path_that_the_loader_would_split_is_refused() {
        check(&["my apps/libleakline_agent.so"], "my apps/leakline", Err("Move leakline"));
        check(&["a:b/libleakline_agent.so"], "a:b/leakline", Err("':'"));
    }

    #[test]
    #[cfg(unix)]
    fn a_symlink_to_the_program_leads_to_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("opt")).unwrap();
        std::fs::write(root.join("opt/leakline"), "").unwrap();
        std::fs::write(root.join("opt").join(AGENT), "").unwrap();
        std::os::unix::fs::symlink(root.join("opt/leakline"), root.join("leakline")).unwrap();
        assert_eq!(agent(None, &root.join("leakline")).unwrap(), root.join("opt").join(AGENT));
    }

    #[test]
    fn the_variable_wins_and_may_name_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join(AGENT);
        let missing = agent(Some(library.as_os_str()), Path::new("/x/leakline")).unwrap_err().to_string();
        assert!(missing.contains("LEAKLINE_LIBRARY names a file that is not there"), "{missing}");
        std::fs::write(&library, "").unwrap();
        assert_eq!(agent(Some(library.as_os_str()), Path::new("/x/leakline")).unwrap(), library);
        assert_eq!(agent(Some(folder.path().as_os_str()), Path::new("/x/leakline")).unwrap(), library);
        assert!(!has_python_part(&library));
        std::fs::write(folder.path().join(CPYTHON), "").unwrap();
        assert!(has_python_part(&library));
    }
}
