//! What links for Android: the NDK's clang, or the system's with a sysroot of stubs.
//! Never downloads an NDK.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::{API, Abi, Product, sysroot};

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
    /// The NDK if the environment names one, otherwise the newest clang with its lld.
    pub(crate) fn find() -> anyhow::Result<Self> {
        for variable in ["ANDROID_NDK_HOME", "ANDROID_NDK_ROOT", "NDK_HOME"] {
            let Some(ndk) = env::var_os(variable).filter(|ndk| !ndk.is_empty()) else { continue };
            let programs = Path::new(&ndk).join("toolchains/llvm/prebuilt/linux-x86_64/bin");
            if !programs.is_dir() {
                bail!("{variable} names no NDK: no folder {}", programs.display());
            }
            return Ok(Self::Ndk(programs));
        }
        let suffixes = (16..=30).rev().map(|version| format!("-{version}")).chain([String::new()]);
        let suffix = suffixes
            .into_iter()
            .find(|suffix| ["clang", "ld.lld", "llvm-ar"].iter().all(|name| runs(&format!("{name}{suffix}"))))
            .context(
                "neither an NDK (ANDROID_NDK_HOME) nor clang, lld and llvm of one version (16 or later)",
            )?;
        let mut system = System { suffix, sysroot: PathBuf::new() };
        system.sysroot = sysroot::make(&system)?;
        Ok(Self::System(system))
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

    /// Rust's flags: no symbol may stay open but CPython's where it is allowed (those are checked in the result), the name
    /// is the file's, and pages may have 16 KiB.
    pub(crate) fn flags(&self, abi: &Abi, product: &Product) -> anyhow::Result<Vec<String>> {
        let mut link = vec![
            if product.is_python { "-Wl,-z,undefs" } else { "-Wl,-z,defs" }.to_owned(),
            // All that the list lacks, at once.
            "-Wl,--error-limit=0".to_owned(),
            format!("-Wl,-soname,{}", product.file),
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
