//! `cargo xtask android`: the library for Android's four kinds of processors, checked, with a table of its sizes.
//! With the NDK where there is one (`ANDROID_NDK_HOME`); otherwise with clang and a sysroot of stubs, which shows that the
//! code compiles, links, and uses only what Android has. A release is built with the NDK.
//! Never runs what it builds.

mod elf;
mod sysroot;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::dist;
use crate::process::{cargo, run};
use tools::Tools;

/// The oldest Android that is supported: 7.0.
pub(crate) const API: u32 = 24;

/// The file that an app loads.
pub(crate) const LIBRARY: &str = "libleakline_jni.so";

/// A kind of processor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Abi {
    /// As Android calls it.
    pub(crate) name: &'static str,
    /// As Rust calls it.
    pub(crate) target: &'static str,
    /// As clang calls it, without the API level.
    pub(crate) clang: &'static str,
    /// The folder of its libraries in a sysroot.
    pub(crate) folder: &'static str,
    pub(crate) machine: object::Architecture,
    /// Devices with pages of 16 KiB load no library with a smaller alignment.
    pub(crate) alignment: u64,
}

/// All of them, the ones that matter most first.
pub(crate) const ABIS: &[Abi] = &[
    Abi {
        name: "arm64-v8a",
        target: "aarch64-linux-android",
        clang: "aarch64-linux-android",
        folder: "aarch64-linux-android",
        machine: object::Architecture::Aarch64,
        alignment: 16 << 10,
    },
    Abi {
        name: "x86_64",
        target: "x86_64-linux-android",
        clang: "x86_64-linux-android",
        folder: "x86_64-linux-android",
        machine: object::Architecture::X86_64,
        alignment: 16 << 10,
    },
    Abi {
        name: "armeabi-v7a",
        target: "armv7-linux-androideabi",
        clang: "armv7a-linux-androideabi",
        folder: "arm-linux-androideabi",
        machine: object::Architecture::Arm,
        alignment: 4 << 10,
    },
    Abi {
        name: "x86",
        target: "i686-linux-android",
        clang: "i686-linux-android",
        folder: "i686-linux-android",
        machine: object::Architecture::I386,
        alignment: 4 << 10,
    },
];

/// Most bytes of the arm64 library with all probes and sinks, and without the stream to a collector.
const MOST_BYTES: u64 = 4 << 20;
const MOST_BYTES_WITHOUT_GRPC: u64 = 3 << 19;

/// Where the libraries are laid, a folder for each ABI, as in an AAR.
pub(crate) fn folder() -> PathBuf {
    dist::target().join("leakline-android/jni")
}

/// Builds and checks the ABIs called `only`, or all.
pub(crate) fn build(only: &[String]) -> anyhow::Result<()> {
    for name in only {
        if !ABIS.iter().any(|abi| abi.name == *name) {
            let known: Vec<_> = ABIS.iter().map(|abi| abi.name).collect();
            bail!("no ABI is called {name}; there are {}", known.join(", "));
        }
    }
    let tools = Tools::find()?;
    println!("{}", tools.says());
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for abi in ABIS.iter().filter(|abi| only.is_empty() || only.iter().any(|name| name == abi.name)) {
        let full = build_one(&tools, abi, true)?;
        let lean = build_one(&tools, abi, false)?;
        for (file, most) in [(&full, MOST_BYTES), (&lean, MOST_BYTES_WITHOUT_GRPC)] {
            wrong.extend(faults(file, abi, most)?);
        }
        rows.push(format!("{:<12}{:>14}{:>16}", abi.name, kib(&full)?, kib(&lean)?));
    }
    println!("{:<12}{:>14}{:>16}", "", "all", "without gRPC");
    rows.iter().for_each(|row| println!("{row}"));
    if !wrong.is_empty() {
        bail!("what was built is not fit for Android:\n  {}", wrong.join("\n  "));
    }
    println!(
        "stripped; each is checked: machine, name, needs, alignment, relocations, exports, symbols of API {API}"
    );
    Ok(())
}

fn build_one(tools: &Tools, abi: &Abi, grpc: bool) -> anyhow::Result<PathBuf> {
    let target = dist::target().join("android");
    let mut build = cargo();
    build.args([
        "build",
        "--quiet",
        "--locked",
        "--profile",
        "android",
        "--package",
        "leakline-android-library",
    ]);
    build.arg("--no-default-features").args(["--target", abi.target]).arg("--target-dir").arg(&target);
    if grpc {
        build.args(["--features", "grpc"]);
    }
    let mut flags = dist::flags()?;
    flags.extend(tools.flags(abi)?);
    let linker = format!("CARGO_TARGET_{}_LINKER", abi.target.to_uppercase().replace('-', "_"));
    build.env(linker, tools.linker(abi)).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    run(&mut build).with_context(|| {
        format!(
            "cannot build for {}; Rust's part of it comes by `rustup target add {}`",
            abi.name, abi.target
        )
    })?;
    // Beside each other; what goes into an AAR has the name that apps load.
    let to = folder().join(abi.name).join(if grpc { LIBRARY } else { "without-grpc.so" });
    let to = if grpc {
        to
    } else {
        dist::target().join("leakline-android").join(abi.name).with_extension("lean.so")
    };
    fs::create_dir_all(to.parent().unwrap_or(&to))
        .with_context(|| format!("cannot make the folder of {}", to.display()))?;
    fs::copy(target.join(abi.target).join("android").join(LIBRARY), &to)
        .with_context(|| format!("cannot write {}", to.display()))?;
    Ok(to)
}

/// Everything that is wrong with the library that has all sinks.
pub(crate) fn library_faults(file: &Path, abi: &Abi) -> anyhow::Result<Vec<String>> {
    faults(file, abi, MOST_BYTES)
}

fn faults(file: &Path, abi: &Abi, most: u64) -> anyhow::Result<Vec<String>> {
    let data = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut faults = elf::faults(&data, abi)?;
    let size = data.len() as u64;
    if abi.name == "arm64-v8a" && size > most {
        faults.push(format!("{size} bytes, {most} at most"));
    }
    Ok(faults.into_iter().map(|fault| format!("{}: {fault}", file.display())).collect())
}

fn kib(file: &Path) -> anyhow::Result<String> {
    let size = fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
    Ok(format!("{} KiB", size.div_ceil(1024)))
}
