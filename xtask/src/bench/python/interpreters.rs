//! The CPythons that the benchmark runs, each in an environment of its own with what the programs need, pinned.
//! Installs nothing outside `.leakline`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::process::{root, run, stdout_of};

const REQUIREMENTS: &str = "xtask/src/bench/python/requirements.txt";
/// Always measured, beside the newest one.
const USUAL: (u32, u32) = (3, 11);
const OLDEST: (u32, u32) = (3, 9);

/// A CPython with the packages.
pub(super) struct Interpreter {
    pub(super) version: String,
    pub(super) path: PathBuf,
    pub(super) has_memray: bool,
}

/// The project's own, which needs no network and no time.
pub(super) fn own() -> anyhow::Result<Interpreter> {
    let path = root().join(".leakline/venv/bin/python");
    ensure!(path.exists(), "no Python environment at {}: run `./x hosts`, which makes it", path.display());
    describe(path)
}

/// The one whose version starts with `wanted`; without, 3.11 and the newest.
pub(super) fn chosen(wanted: Option<&str>) -> anyhow::Result<Vec<Interpreter>> {
    let installed = installed();
    let newest = installed.iter().map(|(version, _)| *version).max().unwrap_or(USUAL);
    let versions = match wanted {
        Some(wanted) => vec![version(wanted).with_context(|| format!("{wanted} is no version like 3.11"))?],
        None if newest == USUAL => vec![USUAL],
        None => vec![USUAL, newest],
    };
    let mut chosen = Vec::new();
    for version in versions {
        match installed.iter().find(|(found, _)| *found == version) {
            Some((_, base)) => chosen.push(environment(version, base)?),
            None => println!("CPython {}.{} is not installed, and left out", version.0, version.1),
        }
    }
    ensure!(!chosen.is_empty(), "no CPython to measure: install 3.11 or another from 3.9 on");
    Ok(chosen)
}

/// Every CPython with a GIL: on PATH first, then pyenv's.
pub(crate) fn installed() -> Vec<((u32, u32), PathBuf)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // pyenv's shims run something else by turns.
    let mut folders: Vec<PathBuf> =
        std::env::split_paths(&path).filter(|folder| !folder.ends_with("shims")).collect();
    folders.push("/usr/bin".into());
    let pyenv = std::env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".pyenv")));
    let versions = pyenv.and_then(|pyenv| fs::read_dir(pyenv.join("versions")).ok());
    let mut pyenvs: Vec<PathBuf> =
        versions.into_iter().flatten().flatten().map(|entry| entry.path().join("bin")).collect();
    pyenvs.sort();
    folders.extend(pyenvs);
    let mut found: Vec<((u32, u32), PathBuf)> = Vec::new();
    for folder in folders {
        let names =
            ["python3".to_owned()].into_iter().chain((OLDEST.1..30).map(|minor| format!("python3.{minor}")));
        for python in names.map(|name| folder.join(name)).filter(|python| python.is_file()) {
            if let Some(version) = asked(&python).filter(|version| *version >= OLDEST)
                && found.iter().all(|(known, _)| *known != version)
            {
                found.push((version, python));
            }
        }
    }
    found
}

fn asked(python: &Path) -> Option<(u32, u32)> {
    let question = "import sys; print('%d.%d' % sys.version_info[:2]) if sys.implementation.name == 'cpython' \
                    and getattr(sys, '_is_gil_enabled', lambda: True)() and sys.version_info[3] == 'final' else None";
    let answer = Command::new(python).args(["-c", question]).output().ok()?;
    version(String::from_utf8(answer.stdout).ok()?.trim())
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// The environment, made when it is not there or was made of something else.
fn environment((major, minor): (u32, u32), base: &Path) -> anyhow::Result<Interpreter> {
    describe(made(&format!("bench-{major}.{minor}"), base, REQUIREMENTS)?)
}

/// The Python of the benchmark's environment with memray, of the version that `python` has.
pub(crate) fn with_memray(python: &Path) -> anyhow::Result<PathBuf> {
    let version = asked(python).with_context(|| format!("no CPython: {}", python.display()))?;
    let installed = installed();
    let base = installed.iter().find(|(found, _)| *found == version);
    let (_, base) = base.with_context(|| format!("no CPython {}.{} to make it of", version.0, version.1))?;
    let made = environment(version, base)?;
    ensure!(made.has_memray, "no memray in {}", made.path.display());
    Ok(made.path)
}

/// The Python of an environment of its own with numpy. Where it is not there yet, it is made only when `may_make`.
pub(crate) fn with_numpy(may_make: bool) -> anyhow::Result<PathBuf> {
    const NAME: &str = "bench-numpy";
    let python = root().join(".leakline").join(NAME).join("bin/python");
    if !may_make {
        ensure!(python.exists(), "no environment with numpy: a run without --smoke makes it");
        return Ok(python);
    }
    let installed = installed();
    let usual = installed.iter().filter(|(version, _)| *version >= USUAL).min_by_key(|(version, _)| *version);
    let (_, base) = usual.context("no CPython from 3.11 on")?;
    made(NAME, base, "xtask/src/bench/native/requirements.txt")
}

/// The Python of the environment called `name`.
fn made(name: &str, base: &Path, requirements: &str) -> anyhow::Result<PathBuf> {
    let folder = root().join(".leakline").join(name);
    let python = folder.join("bin/python");
    let requirements = root().join(requirements);
    let wanted = fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let stamp = format!("{}\n{wanted}", base.display());
    if !python.exists() || fs::read_to_string(folder.join("stamp")).ok().as_deref() != Some(&stamp) {
        println!("making {} (takes a minute, once)", folder.display());
        let _ = fs::remove_dir_all(&folder);
        run(Command::new(base).args(["-m", "venv"]).arg(&folder))?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--disable-pip-version-check", "-q", "-r"]).arg(&requirements);
        run(&mut pip)?;
        fs::write(folder.join("stamp"), stamp)
            .with_context(|| format!("cannot write into {}", folder.display()))?;
    }
    Ok(python)
}

fn describe(path: PathBuf) -> anyhow::Result<Interpreter> {
    let question = "import importlib.util as u, platform as p; print(p.python_version(), u.find_spec('memray') is not None)";
    let answer = stdout_of(Command::new(&path).args(["-c", question]))?;
    let (version, memray) = answer.trim().split_once(' ').context("Python did not tell its version")?;
    Ok(Interpreter { version: version.to_owned(), has_memray: memray == "True", path })
}
