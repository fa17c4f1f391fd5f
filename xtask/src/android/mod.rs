//! `cargo xtask android`: the libraries for Android's four kinds of processors, checked, with a table of their sizes.
//! With the NDK where there is one (`ANDROID_NDK_HOME`); otherwise with clang and a sysroot of stubs, which shows that the
//! code compiles, links, and uses only what Android has. A release is built with the NDK.
//! Never runs what it builds.

mod elf;
mod optional;
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

/// A library that is built.
#[derive(Debug)]
pub(crate) struct Product {
    package: &'static str,
    /// Its file, and the name that the loader knows it by.
    pub(crate) file: &'static str,
    features: &'static [&'static str],
    /// All that is called by name.
    exports: &'static [&'static str],
    /// Whether CPython's names may stay open.
    is_python: bool,
    /// Whether it goes into an AAR.
    is_packed: bool,
    /// Of the arm64 library.
    most_bytes: u64,
}

/// With all probes and sinks.
const FULL: Product = Product {
    package: "leakline-android-library",
    file: LIBRARY,
    features: &["grpc"],
    exports: &["JNI_OnLoad", "Agent_OnAttach"],
    is_python: false,
    is_packed: true,
    most_bytes: 4 << 20,
};

/// Without the stream to a collector.
const LEAN: Product = Product { features: &[], is_packed: false, most_bytes: 3 << 19, ..FULL };

/// The Python part. The second of its names is for debuggers and the unwinder.
const PYTHON: Product = Product {
    package: "leakline-python-extension",
    file: "libleakline_cpython.so",
    features: &[],
    exports: &["leakline_cpython_entry", "leakline_cpython_frames"],
    is_python: true,
    is_packed: true,
    most_bytes: 3 << 19,
};

/// What goes into an AAR.
pub(crate) const PRODUCTS: [&Product; 2] = [&FULL, &PYTHON];

/// For pyo3: the stable ABI that every CPython from 3.9 on has, and no library to link.
const PYTHON_CONFIG: &str = "\
implementation=CPython
version=3.9
shared=true
abi3=true
suppress_build_script_link_lines=true
";

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
        let mut row = format!("{:<12}", abi.name);
        for product in [&FULL, &LEAN, &PYTHON] {
            let file = build_one(&tools, abi, product)?;
            wrong.extend(faults(&file, abi, product)?);
            row += &format!("{:>16}", kib(&file)?);
        }
        rows.push(row);
    }
    println!("{:<12}{:>16}{:>16}{:>16}", "", "all", "without gRPC", "Python part");
    rows.iter().for_each(|row| println!("{row}"));
    if !wrong.is_empty() {
        bail!("what was built is not fit for Android:\n  {}", wrong.join("\n  "));
    }
    println!(
        "stripped; each is checked: machine, name, needs, alignment, relocations, exports, symbols of API {API}"
    );
    Ok(())
}

fn build_one(tools: &Tools, abi: &Abi, product: &Product) -> anyhow::Result<PathBuf> {
    let target = dist::target().join("android");
    let mut build = cargo();
    build.args(["build", "--quiet", "--locked", "--profile", "android", "--package", product.package]);
    build.arg("--no-default-features").args(["--target", abi.target]).arg("--target-dir").arg(&target);
    for feature in product.features {
        build.args(["--features", feature]);
    }
    if product.is_python {
        let config = target.join("pyo3.txt");
        fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
        write_if_new(&config, PYTHON_CONFIG)?;
        build.env("PYO3_CONFIG_FILE", config);
    }
    let mut flags = dist::flags()?;
    flags.extend(tools.flags(abi, product)?);
    let linker = format!("CARGO_TARGET_{}_LINKER", abi.target.to_uppercase().replace('-', "_"));
    build.env(linker, tools.linker(abi)).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    run(&mut build).with_context(|| {
        format!(
            "cannot build for {}; Rust's part of it comes by `rustup target add {}`",
            abi.name, abi.target
        )
    })?;
    // Beside each other; what goes into an AAR has the name that apps load.
    let to = if product.is_packed {
        folder().join(abi.name).join(product.file)
    } else {
        dist::target().join("leakline-android").join(abi.name).with_extension("lean.so")
    };
    fs::create_dir_all(to.parent().unwrap_or(&to))
        .with_context(|| format!("cannot make the folder of {}", to.display()))?;
    let from = target.join(abi.target).join("android").join(product.file);
    let mut data = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
    if product.is_python {
        optional::make_optional(&mut data).with_context(|| from.display().to_string())?;
    }
    fs::write(&to, data).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(to)
}

/// A file that changes makes cargo build what reads it anew.
fn write_if_new(path: &Path, text: &str) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Everything that is wrong with the file of a library.
pub(crate) fn faults(file: &Path, abi: &Abi, product: &Product) -> anyhow::Result<Vec<String>> {
    let data = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut faults = elf::faults(&data, abi, product)?;
    let size = data.len() as u64;
    if abi.name == "arm64-v8a" && size > product.most_bytes {
        faults.push(format!("{size} bytes, {} at most", product.most_bytes));
    }
    Ok(faults.into_iter().map(|fault| format!("{}: {fault}", file.display())).collect())
}

fn kib(file: &Path) -> anyhow::Result<String> {
    let size = fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
    Ok(format!("{} KiB", size.div_ceil(1024)))
}
