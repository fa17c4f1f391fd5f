//! `cargo xtask android`: the libraries for Android's four kinds of processors, checked, with a table of their sizes.
//! With the NDK where there is one (`ANDROID_NDK_HOME`); otherwise with clang and a sysroot of stubs, which shows that the
//! code compiles, links, and uses only what Android has. A release is built with the NDK.
//! Never runs what it builds.

mod elf;
mod optional;
mod rust;
mod sysroot;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, anyhow, bail};

use crate::dist;
use crate::process::{root, run};
use rust::{Aim, BUILD_STD, Rust};
use tools::Tools;

/// The oldest Android that is supported: 7.0.
pub(crate) const API: u32 = 24;

/// The file that an app loads.
pub(crate) const LIBRARY: &str = "libleakline_jni.so";

/// A library that is built.
#[derive(Debug)]
pub(crate) struct Product {
    /// What it is, in the table.
    is: &'static str,
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
    is: "all",
    package: "leakline-android-library",
    file: LIBRARY,
    features: &["grpc"],
    exports: &[
        "Agent_OnAttach",
        "JNI_OnLoad",
        "leakline_close_window",
        "leakline_free",
        "leakline_is_running",
        "leakline_look_for_cycles",
        "leakline_mark",
        "leakline_open_window",
        "leakline_reader_close",
        "leakline_reader_done",
        "leakline_reader_open",
        "leakline_reader_tell",
        "leakline_reader_wait",
        "leakline_reset_baseline",
        "leakline_snapshot_now",
        "leakline_stats_json",
        "leakline_stop",
        "leakline_take_census",
    ],
    is_python: false,
    is_packed: true,
    most_bytes: 4 << 20,
};

/// Without the stream to a collector.
const LEAN: Product =
    Product { is: "without gRPC", features: &[], is_packed: false, most_bytes: 3 << 19, ..FULL };

/// The Python part. All of its names but the first are for tests, debuggers and the unwinder.
const PYTHON: Product = Product {
    is: "Python part",
    package: "leakline-python-extension",
    file: "libleakline_cpython.so",
    features: &[],
    exports: &[
        "leakline_cpython_entry",
        "leakline_cpython_frames",
        "leakline_cpython_frames_of",
        "leakline_cpython_loops",
    ],
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

/// What a step of the tests builds: the kinds of devices and emulators that there are today.
const TESTED: [&str; 2] = ["arm64-v8a", "x86_64"];

/// Builds and checks the ABIs called `only`, or all, in every variant.
pub(crate) fn build(only: &[String]) -> anyhow::Result<()> {
    for name in only {
        if !ABIS.iter().any(|abi| abi.name == *name) {
            let known: Vec<_> = ABIS.iter().map(|abi| abi.name).collect();
            bail!("no ABI is called {name}; there are {}", known.join(", "));
        }
    }
    let abis: Vec<&Abi> =
        ABIS.iter().filter(|abi| only.is_empty() || only.iter().any(|name| name == abi.name)).collect();
    let with = With::find(&abis, Aim::Small)?.map_err(|reason| anyhow!(reason))?;
    build_with(&with, &abis, &[&[&FULL, &PYTHON], &[&LEAN]])
}

/// The same as a step of the tests: two ABIs, as they go into an AAR. A machine that has not got what it takes leaves it
/// out, and says what that is.
pub(crate) fn test() -> anyhow::Result<()> {
    let abis: Vec<&Abi> = ABIS.iter().filter(|abi| TESTED.contains(&abi.name)).collect();
    match With::find(&abis, Aim::Quick)? {
        Ok(with) => build_with(&with, &abis, &[&PRODUCTS]),
        Err(reason) => {
            println!("skipped: {reason}");
            Ok(())
        }
    }
}

/// What it is built with.
struct With {
    tools: Tools,
    rust: Rust,
}

impl With {
    /// What this machine has; the inner error is what it has not.
    fn find(abis: &[&Abi], aim: Aim) -> anyhow::Result<Result<Self, String>> {
        let rust = match Rust::find(abis, aim) {
            Ok(rust) => rust,
            Err(reason) => return Ok(Err(reason)),
        };
        Ok(Tools::find(abis)?.map(|tools| Self { tools, rust }))
    }
}

/// Builds `variants` one after the other, each with all of its products for all ABIs at once: what they share is compiled
/// once, and the linker's long last step runs for several at a time.
fn build_with(with: &With, abis: &[&Abi], variants: &[&[&Product]]) -> anyhow::Result<()> {
    println!("{}\n{}", with.rust.says(), with.tools.says());
    for products in variants {
        compile(with, abis, products)?;
        for (abi, product) in abis.iter().flat_map(|abi| products.iter().map(move |product| (abi, product))) {
            lay_down(abi, product)?;
        }
    }
    let products: Vec<&Product> = variants.concat();
    let mut wrong = Vec::new();
    println!(
        "{:<12}{}",
        "",
        products.iter().map(|product| format!("{:>16}", product.is)).collect::<String>()
    );
    for abi in abis {
        let mut row = format!("{:<12}", abi.name);
        for product in &products {
            let file = place(abi, product);
            wrong.extend(faults(&file, abi, product)?);
            row += &format!("{:>16}", kib(&file)?);
        }
        println!("{row}");
    }
    if !wrong.is_empty() {
        bail!("what was built is not fit for Android:\n  {}", wrong.join("\n  "));
    }
    println!(
        "stripped; each is checked: machine, name, needs, alignment, relocations, exports, symbols of API {API}"
    );
    Ok(())
}

/// Cargo's folder for these builds.
fn target() -> PathBuf {
    dist::target().join("android")
}

fn compile(with: &With, abis: &[&Abi], products: &[&Product]) -> anyhow::Result<()> {
    let config = target().join("pyo3.txt");
    fs::create_dir_all(target()).with_context(|| format!("cannot make {}", target().display()))?;
    write_if_new(&config, PYTHON_CONFIG)?;
    let mut build = Command::new(&with.rust.cargo);
    build.current_dir(root()).env("RUSTC", &with.rust.rustc).env("PYO3_CONFIG_FILE", config);
    build.args(["build", "--quiet", "--locked", "--profile", "android", "--no-default-features"]);
    build.arg("--target-dir").arg(target());
    if with.rust.builds_std {
        build.env("RUSTC_BOOTSTRAP", "1").args(BUILD_STD);
    }
    for product in products {
        build.args(["--package", product.package]);
        for feature in product.features {
            build.args(["--features", &format!("{}/{feature}", product.package)]);
        }
    }
    // Of these cargo takes one, and with it everywhere; what is in them is among the flags.
    build.env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("RUSTFLAGS");
    let flags = dist::flags(&with.rust.rustc)?;
    for abi in abis {
        let flags = [flags.clone(), with.tools.flags(abi)?].concat();
        let of_target = |key: &str, value: &str| format!("target.{}.{key}={value}", abi.target);
        build.args(["--target", abi.target]);
        // Text and lists are the same in TOML as in Rust, but for characters that no path of ours has.
        build.args(["--config", &of_target("linker", &format!("{:?}", with.tools.linker(abi)))]);
        build.args(["--config", &of_target("rustflags", &format!("{flags:?}"))]);
    }
    run(&mut build).context("cannot build for Android")
}

/// Where a library is laid; what goes into an AAR has the name that apps load.
fn place(abi: &Abi, product: &Product) -> PathBuf {
    match product.is_packed {
        true => folder().join(abi.name).join(product.file),
        false => dist::target().join("leakline-android").join(abi.name).with_extension("lean.so"),
    }
}

fn lay_down(abi: &Abi, product: &Product) -> anyhow::Result<()> {
    let to = place(abi, product);
    fs::create_dir_all(to.parent().unwrap_or(&to))
        .with_context(|| format!("cannot make the folder of {}", to.display()))?;
    let from = target().join(abi.target).join("android").join(product.file);
    let mut data = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
    if product.is_python {
        optional::make_optional(&mut data).with_context(|| from.display().to_string())?;
    }
    fs::write(&to, data).with_context(|| format!("cannot write {}", to.display()))
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
