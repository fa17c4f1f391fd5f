//! Builds what users get and lays it together as an installation: `target/leakline/{bin,lib/leakline}`.
//! No path of the machine that built it is in the result; `check_libs` makes sure.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;

use crate::process::{cargo, root, run, stdout_of};

/// What cargo builds, as (package, file in target/dist, place in an installation).
const PARTS: &[(&str, &str, &str)] = &[
    ("leakline-cli", "leakline", "bin/leakline"),
    ("leakline-preload", "libleakline_agent.so", "lib/leakline/libleakline_agent.so"),
    ("leakline-android-library", "libleakline_jni.so", "lib/leakline/libleakline_jni.so"),
    ("leakline-junit", "libleakline_junit.so", "lib/leakline/libleakline_junit.so"),
    ("leakline-python-extension", "libleakline_cpython.so", "lib/leakline/libleakline_cpython.so"),
];

/// Where the installation is laid together.
pub(crate) fn folder() -> PathBuf {
    target().join("leakline")
}

/// Names an installation that benchmarks use instead of [`folder`]. Not one of leakline's own variables: it would warn.
pub(crate) const INSTALLATION: &str = "XTASK_INSTALLATION";

/// The installation that is measured.
pub(crate) fn installed() -> PathBuf {
    env::var_os(INSTALLATION).map_or_else(folder, PathBuf::from)
}

/// The files of an installation, below its prefix.
pub(crate) fn files() -> impl Iterator<Item = &'static str> {
    PARTS.iter().map(|(_, _, place)| *place)
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Builds with profile `dist`, fills [`folder`], and copies it to `prefix` when there is one.
pub(crate) fn build(prefix: Option<&Path>) -> anyhow::Result<()> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--locked", "--profile", "dist"]);
    for (package, ..) in PARTS {
        build.args(["--package", package]);
    }
    // Only on this build: other flags would make cargo build the tests' dependencies a second time.
    run(build.env("CARGO_ENCODED_RUSTFLAGS", flags(&rustc())?.join("\u{1f}")))?;
    lay_out(&folder())?;
    if let Some(prefix) = prefix {
        lay_out(prefix)?;
        println!("installed: {}", prefix.join("bin/leakline").display());
    }
    Ok(())
}

fn lay_out(prefix: &Path) -> anyhow::Result<()> {
    for (_, file, place) in PARTS {
        let (from, to) = (target().join("dist").join(file), prefix.join(place));
        let modified = |path: &Path| {
            fs::metadata(path).and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
        };
        if to.is_file() && modified(&to) >= modified(&from) {
            continue;
        }
        let folder = to.parent().unwrap_or(prefix);
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        // A library that a process has mapped must not change under it: a new file takes the name.
        let fresh = to.with_extension("new");
        fs::copy(&from, &fresh)
            .with_context(|| format!("cannot copy {} to {}", from.display(), fresh.display()))?;
        fs::rename(&fresh, &to).with_context(|| format!("cannot write {}", to.display()))?;
    }
    Ok(())
}

/// The compiler that this task's cargo starts.
pub(crate) fn rustc() -> PathBuf {
    PathBuf::from(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// The user's own flags, and those that take this machine's paths out of what `rustc` makes.
pub(crate) fn flags(rustc: &Path) -> anyhow::Result<Vec<String>> {
    let mut flags: Vec<String> = match env::var("CARGO_ENCODED_RUSTFLAGS") {
        Ok(encoded) => encoded.split('\u{1f}').filter(|flag| !flag.is_empty()).map(str::to_owned).collect(),
        Err(_) => env::var("RUSTFLAGS").unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
    };
    for (path, name) in build_paths(rustc)? {
        flags.push(format!("--remap-path-prefix={}={name}", path.display()));
    }
    Ok(flags)
}

/// Folders of this machine that `rustc` may write into what it makes, with the names that stand there instead.
/// The last one that fits counts, so the more special ones come last.
pub(crate) fn build_paths(rustc: &Path) -> anyhow::Result<Vec<(PathBuf, &'static str)>> {
    let home = env::var_os("HOME").map(PathBuf::from).filter(|home| home.parent().is_some());
    let cargo_home =
        env::var_os("CARGO_HOME").map(PathBuf::from).or(home.as_ref().map(|home| home.join(".cargo")));
    let rustup_home = env::var_os("RUSTUP_HOME").map(PathBuf::from).or(home.map(|home| home.join(".rustup")));
    let mut rustc = std::process::Command::new(rustc);
    let sysroot = stdout_of(rustc.current_dir(root()).args(["--print", "sysroot"]))?;

    let mut paths = Vec::new();
    paths.extend(rustup_home.map(|path| (path, "/rustup")));
    paths.push((PathBuf::from(sysroot.trim()), "/rust"));
    if let Some(cargo_home) = cargo_home {
        let sources = cargo_home.join("registry/src");
        paths.push((cargo_home, "/cargo"));
        let mut registries: Vec<PathBuf> =
            fs::read_dir(sources).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        registries.sort();
        paths.extend(registries.into_iter().map(|path| (path, "/crates")));
    }
    paths.push((root(), "/leakline"));
    Ok(paths)
}
