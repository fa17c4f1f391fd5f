//! Which Rust compiles for Android, and where its standard library for Android comes from: one that is there as it is
//! (`rustup target add`), or one that is built from its source (Debian's `rust-web-src`, or the component `rust-src`).
//! Never installs anything: `./x` does.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Abi;

/// A compiler with its cargo, and what it has for Android.
#[derive(Debug)]
pub(crate) struct Rust {
    pub(crate) cargo: PathBuf,
    pub(crate) rustc: PathBuf,
    /// The standard library has to be compiled, too.
    pub(crate) builds_std: bool,
    version: String,
}

/// What matters most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aim {
    /// To know whether it builds.
    Quick,
    /// What is built.
    Small,
}

/// What `-Zbuild-std` is to build: without `backtrace`, for in an app nobody sees what a panic writes to standard error.
pub(crate) const BUILD_STD: [&str; 2] = ["-Zbuild-std=std,panic_unwind", "-Zbuild-std-features=panic-unwind"];

impl Rust {
    /// The Rust that runs this task, or the system's. One that has the libraries is quick; one that has their source makes
    /// smaller ones of ours: then the standard library, too, is compiled for size, and has no names of functions to look up.
    pub(crate) fn find(abis: &[&Abi], aim: Aim) -> Result<Self, String> {
        let named = |variable: &str, otherwise: &str| {
            PathBuf::from(std::env::var_os(variable).unwrap_or_else(|| otherwise.into()))
        };
        let candidates = [
            (named("CARGO", "cargo"), named("RUSTC", "rustc")),
            (PathBuf::from("/usr/bin/cargo"), PathBuf::from("/usr/bin/rustc")),
        ];
        let order = match aim {
            Aim::Quick => [false, true],
            Aim::Small => [true, false],
        };
        for builds_std in order {
            for (cargo, rustc) in &candidates {
                let fits = match builds_std {
                    false => abis.iter().all(|abi| has_library(rustc, abi)),
                    true => has_source(rustc),
                };
                if let Some(version) = says(cargo, &["--version"]).and_then(|_| says(rustc, &["--version"]))
                    && fits
                {
                    return Ok(Self { cargo: cargo.clone(), rustc: rustc.clone(), builds_std, version });
                }
            }
        }
        let targets: Vec<_> = abis.iter().map(|abi| abi.target).collect();
        Err(format!(
            "no Rust with a standard library for Android: `rustup target add {}`, or Debian's rustc-web, cargo-web and rust-web-src",
            targets.join(" ")
        ))
    }

    /// Which it is, for whoever reads the table.
    pub(crate) fn says(&self) -> String {
        let library = if self.builds_std { "its standard library built from source" } else { "as installed" };
        format!("{} ({}), {library}", self.version, self.rustc.display())
    }
}

/// Whether the standard library for `abi` is there.
fn has_library(rustc: &Path, abi: &Abi) -> bool {
    let Some(folder) = says(rustc, &["--print", "target-libdir", "--target", abi.target]) else {
        return false;
    };
    let files = Path::new(&folder).read_dir().into_iter().flatten().flatten();
    files.map(|file| file.file_name()).any(|name| name.to_string_lossy().starts_with("libstd-"))
}

fn has_source(rustc: &Path) -> bool {
    says(rustc, &["--print", "sysroot"]).is_some_and(|sysroot| {
        Path::new(&sysroot).join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file()
    })
}

/// The one line that a program says; `None` where it does not run.
fn says(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
