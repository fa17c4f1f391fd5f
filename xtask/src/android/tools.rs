//! What links for Android: the NDK's clang, or the system's with a sysroot of stubs.
//! Never downloads an NDK.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::{API, Abi, sysroot};

/// A compiler driver and where Android's libraries are.
pub(crate) enum Tools {
    /// The NDK's folder of programs.
    Ndk(PathBuf),
    /// The system's.
    System(System),
}

/// Clang and lld of one version.
#[derive(Debug, Clone)]
pub(crate) struct System {
    /// What stands behind the programs' names, such as `-19`; nothing where they have none.
    pub(crate) suffix: String,
    /// The stubs.
    pub(crate) sysroot: PathBuf,
}

impl System {
    pub(crate) fn program(&self, name: &str) -> String {
        format!("{name}{}", self.suffix)
    }
}

impl Tools {
    /// The NDK if the environment names one, otherwise the newest clang with its lld; the inner error says that there is
    /// neither.
    pub(crate) fn find(abis: &[&Abi]) -> anyhow::Result<Result<Self, String>> {
        for variable in ["ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "NDK_HOME"] {
            let Some(ndk) = env::var_os(variable).filter(|ndk| !ndk.is_empty()) else { continue };
            let programs = Path::new(&ndk).join("toolchains/llvm/prebuilt/linux-x86_64/bin");
            if !programs.is_dir() {
                bail!("{variable} names no NDK: no folder {}", programs.display());
            }
            return Ok(Ok(Self::Ndk(programs)));
        }
        let suffixes = (16..=30).rev().map(|version| format!("-{version}")).chain([String::new()]);
        let fits = |suffix: &String| {
            ["clang", "ld.lld", "llvm-ar"].iter().all(|name| runs(&format!("{name}{suffix}")))
        };
        let Some(suffix) = suffixes.into_iter().find(fits) else {
            return Ok(Err(
                "neither an NDK (ANDROID_NDK_HOME) nor clang, lld and llvm of one version (16 or later)"
                    .to_owned(),
            ));
        };
        let sources = match sysroot::libunwind_sources() {
            Ok(sources) => sources,
            Err(error) => return Ok(Err(format!("{error:#}"))),
        };
        let mut system = System { suffix, sysroot: PathBuf::new() };
        system.sysroot = sysroot::make(&system, abis, &sources)?;
        Ok(Ok(Self::System(system)))
    }

    /// Which it is, for whoever reads the table.
    pub(crate) fn says(&self) -> String {
        match self {
            Self::Ndk(programs) => format!("with the NDK: {}", programs.display()),
            Self::System(system) => {
                format!("without the NDK: clang{}, stubs; a check, not a release", system.suffix)
            }
        }
    }

    pub(crate) fn linker(&self, abi: &Abi) -> PathBuf {
        match self {
            Self::Ndk(programs) => programs.join(format!("{}{API}-clang", abi.clang)),
            Self::System(system) => system.program("clang").into(),
        }
    }

    /// Rust's flags for every library: pages may have 16 KiB, and no symbol may stay open. The name, and that CPython's
    /// symbols may stay open in the Python part, is said by the build scripts of the libraries.
    pub(crate) fn flags(&self, abi: &Abi) -> anyhow::Result<Vec<String>> {
        let mut link = vec![
            "-Wl,-z,defs".to_owned(),
            // All that the list lacks, at once.
            "-Wl,--error-limit=0".to_owned(),
            format!("-Wl,-z,max-page-size={}", abi.alignment),
        ];
        if let Self::System(system) = self {
            link.push(format!("--target={}{API}", abi.clang));
            link.push(format!("--sysroot={}", system.sysroot.display()));
            let lld = which(&system.program("ld.lld")).context("lld was there a moment ago")?;
            link.push(format!("-fuse-ld={}", lld.display()));
        }
        Ok(link.into_iter().map(|flag| format!("-Clink-arg={flag}")).collect())
    }
}

fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn which(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}
