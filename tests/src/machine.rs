//! What is on this machine: the built programs, the installed CPythons and JDKs, the project's virtual environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::prepared::prepared;

/// The programs and libraries that users get, as `cargo xtask build` lays them out.
#[derive(Debug, Clone)]
pub struct Dist {
    /// The folder with `bin` and `lib`.
    pub root: PathBuf,
    /// The program `leakline`.
    pub leakline: PathBuf,
    /// The folder with the agent's library and the Python part.
    pub libraries: PathBuf,
}

/// The workspace's root.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the workspace").to_owned()
}

/// The built programs: where `LEAKLINE_DIST` says, or `target/leakline`.
///
/// # Panics
/// When they were not built.
pub fn dist() -> Dist {
    let root =
        std::env::var_os("LEAKLINE_DIST").map_or_else(|| workspace().join("target/leakline"), PathBuf::from);
    let root = if root.is_absolute() { root } else { workspace().join(root) };
    let dist = Dist { leakline: root.join("bin/leakline"), libraries: root.join("lib/leakline"), root };
    assert!(
        dist.leakline.is_file(),
        "no built leakline at {}: run `cargo xtask build` first (`./x test` does)",
        dist.leakline.display()
    );
    dist
}

/// An installed CPython.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    /// The program.
    pub path: PathBuf,
    /// Major and minor version.
    pub version: (u32, u32),
}

/// Every CPython from 3.9 on that is installed: on PATH, in /usr/bin, and under pyenv; and the prepared ones that
/// `XTASK_RUNTIMES` asks for. One per real file.
pub fn pythons() -> Vec<Python> {
    let mut found: BTreeMap<PathBuf, Python> = BTreeMap::new();
    for candidate in python_candidates() {
        let Some(python) = ask_python(&candidate) else { continue };
        if python.version >= (3, 9) {
            found.entry(python.path.clone()).or_insert(python);
        }
    }
    assert!(!found.is_empty(), "no CPython from 3.9 on is installed");
    found.into_values().collect()
}

fn python_candidates() -> Vec<PathBuf> {
    let mut candidates = vec![PathBuf::from("/usr/bin/python3")];
    let pyenv = std::env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv")));
    if let Some(versions) = pyenv.and_then(|root| std::fs::read_dir(root.join("versions")).ok()) {
        candidates.extend(versions.flatten().map(|version| version.path().join("bin/python3")));
    }
    for minor in 9..=15 {
        candidates.push(PathBuf::from(format!("python3.{minor}")));
    }
    candidates.extend(prepared("python"));
    candidates
}

/// Asks the interpreter itself, which sees through shims and links. `None` where it does not run.
fn ask_python(program: &Path) -> Option<Python> {
    let script = "import os,sys; print(os.path.realpath(sys.executable)); print(*sys.version_info[:2])";
    let answer =
        Command::new(program).args(["-S", "-c", script]).output().ok().filter(|out| out.status.success())?;
    let text = String::from_utf8(answer.stdout).ok()?;
    let mut lines = text.lines();
    let path = PathBuf::from(lines.next()?);
    let (major, minor) = lines.next()?.split_once(' ')?;
    Some(Python { path, version: (major.parse().ok()?, minor.parse().ok()?) })
}

/// The `java` programs of every installed JDK, and of the prepared ones that `XTASK_RUNTIMES` asks for.
pub fn jdks() -> Vec<PathBuf> {
    let mut homes: Vec<PathBuf> = std::env::var_os("JAVA_HOME").map(PathBuf::from).into_iter().collect();
    homes.extend(std::fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten().map(|home| home.path()));
    let mut programs: Vec<PathBuf> =
        homes.iter().filter_map(|home| std::fs::canonicalize(home.join("bin/java")).ok()).collect();
    programs.extend(prepared("jdk"));
    programs.sort();
    programs.dedup();
    assert!(!programs.is_empty(), "no JDK is installed: `./x test` installs one");
    programs
}

/// The Python of the project's own virtual environment, which has JPype, jep, Reticulum and LXMF.
pub fn venv_python() -> PathBuf {
    let python = workspace().join(".leakline/venv/bin/python");
    assert!(python.exists(), "no virtual environment at {}: `./x test` makes it", python.display());
    python
}

/// A host program that `cargo xtask hosts` compiled.
pub fn built_host(name: &str) -> PathBuf {
    let path = workspace().join(".leakline/hosts").join(name);
    assert!(
        path.exists(),
        "no host program at {}: run `cargo xtask hosts` first (`./x test` does)",
        path.display()
    );
    path
}
