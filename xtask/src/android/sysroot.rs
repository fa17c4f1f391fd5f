//! A sysroot without the NDK: the beginning and the end of a library, stubs with the names that Android's libraries have,
//! and LLVM's libunwind from its sources, which the Python package `ziglang` carries.
//! Nothing in it is ever given to anybody: libunwind alone becomes part of what is built.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::tools::System;
use super::{API, Abi};
use crate::process::{root, run};

const ZIGLANG: &str = "ziglang==0.17.1";
const STUBS: &[&str] = &["libc", "libm", "libdl", "liblog"];

/// Names that Android's libraries have at API 24, and what is newer and may be missing. A line: name, then `O` for data.
pub(crate) fn symbols(library: &str, abi: &Abi) -> anyhow::Result<Vec<(String, bool)>> {
    let folder = root().join("xtask/android/syms");
    let mut text = read(&folder.join(format!("{library}.syms")))?;
    let special = folder.join(format!("{library}.{}.syms", abi.folder));
    if special.is_file() {
        text.push_str(&read(&special)?);
    }
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.next() == Some("O")))
    });
    Ok(lines.collect())
}

/// Every name of every library.
pub(crate) fn all_symbols(abi: &Abi) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for library in STUBS {
        names.extend(symbols(library, abi)?.into_iter().map(|(name, _)| name));
    }
    Ok(names)
}

/// Makes it, in a few seconds; the libraries are made anew each time, for the lists may have changed.
pub(crate) fn make(system: &System, abis: &[&Abi], sources: &Path) -> anyhow::Result<PathBuf> {
    let sysroot = root().join(".leakline/android/sysroot");
    for abi in abis {
        let folder = sysroot.join("usr/lib").join(abi.folder).join(API.to_string());
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let crt = root().join("xtask/android/crt");
        compile(system, abi, &crt.join("crt_so.c"), &folder.join("crtbegin_so.o"))?;
        compile(system, abi, &crt.join("crt_end.c"), &folder.join("crtend_so.o"))?;
        for library in STUBS {
            stub(system, abi, library, &folder)?;
        }
        let unwind = folder.join("libunwind.a");
        if !unwind.is_file() {
            libunwind(system, abi, sources, &unwind)?;
        }
    }
    Ok(sysroot)
}

fn clang(system: &System, abi: &Abi) -> Command {
    let mut clang = Command::new(system.program("clang"));
    clang.arg(format!("--target={}{API}", abi.clang)).args([
        "-O2",
        "-fPIC",
        "-fno-stack-protector",
        "-Wno-unused-command-line-argument",
    ]);
    clang
}

fn compile(system: &System, abi: &Abi, from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut clang = clang(system, abi);
    clang.args(["-ffreestanding", "-ffunction-sections", "-nostdlibinc", "-c"]).arg(from).arg("-o").arg(to);
    run(&mut clang)
}

fn stub(system: &System, abi: &Abi, library: &str, folder: &Path) -> anyhow::Result<()> {
    let mut text = String::new();
    for (name, is_data) in symbols(library, abi)? {
        let _ = if is_data {
            writeln!(
                text,
                ".globl {name}; .type {name},%object; .section .data.{name},\"aw\"; {name}: .zero 16; .size {name},16"
            )
        } else {
            writeln!(text, ".globl {name}; .type {name},%function; .text; {name}: .byte 0; .size {name},1")
        };
    }
    let (assembly, object) = (folder.join(format!("{library}.s")), folder.join(format!("{library}.o")));
    fs::write(&assembly, text).with_context(|| format!("cannot write {}", assembly.display()))?;
    run(clang(system, abi).arg("-c").arg(&assembly).arg("-o").arg(&object))?;
    let mut lld = Command::new(system.program("ld.lld"));
    lld.args(["-shared", "--hash-style=both"]).arg(format!("-soname={library}.so"));
    run(lld.arg("-o").arg(folder.join(format!("{library}.so"))).arg(&object))
}

/// The package's folder `lib`, fetched once, by the project's own Python where there is one.
pub(crate) fn libunwind_sources() -> anyhow::Result<PathBuf> {
    let folder = root().join(".leakline/android/ziglang");
    let lib = folder.join("ziglang/lib");
    if !lib.join("libunwind/src").is_dir() {
        let own = root().join(".leakline/venv/bin/python");
        let mut pip = Command::new(if own.exists() { own } else { "python3".into() });
        pip.args(["-m", "pip", "install", "--quiet", "--root-user-action=ignore", "--no-deps", "--target"])
            .arg(&folder)
            .arg(ZIGLANG);
        run(&mut pip).context("cannot fetch the sources of libunwind")?;
    }
    Ok(lib)
}

fn libunwind(system: &System, abi: &Abi, lib: &Path, to: &Path) -> anyhow::Result<()> {
    let kind = match abi.name {
        "arm64-v8a" => "aarch64",
        "armeabi-v7a" => "arm",
        _ => "x86",
    };
    let sources = lib.join("libunwind/src");
    let objects = to.with_extension("objects");
    fs::create_dir_all(&objects).with_context(|| format!("cannot make {}", objects.display()))?;
    let mut ar = Command::new(system.program("llvm-ar"));
    ar.arg("rcs").arg(to);
    const CPP: &[&str] = &["-std=c++17", "-nostdinc++", "-fno-exceptions", "-fno-rtti"];
    let mut files: Vec<(&str, &[&str])> = vec![
        ("libunwind.cpp", CPP),
        ("UnwindLevel1.c", &["-std=c99", "-fexceptions"]),
        ("UnwindLevel1-gcc-ext.c", &["-std=c99", "-fexceptions"]),
        ("UnwindRegistersRestore.S", &[]),
        ("UnwindRegistersSave.S", &[]),
    ];
    if kind == "arm" {
        files.push(("Unwind-EHABI.cpp", CPP));
    }
    for (file, how) in files {
        let object = objects.join(file).with_extension("o");
        let mut clang = clang(system, abi);
        clang.args(["-fvisibility=hidden", "-funwind-tables", "-fstrict-aliasing", "-nostdlibinc"]);
        clang.args(["-D__BIONIC__", "-DNDEBUG", "-D_LIBUNWIND_HIDE_SYMBOLS", "-D_LIBUNWIND_IS_NATIVE_ONLY"]);
        clang.arg("-isystem").arg(root().join("xtask/android/include"));
        clang.arg("-isystem").arg(lib.join(format!("libc/include/{kind}-linux-any")));
        clang.arg("-isystem").arg(lib.join("libc/include/any-linux-any"));
        clang.arg("-I").arg(lib.join("libunwind/include"));
        run(clang.args(how).arg("-c").arg(sources.join(file)).arg("-o").arg(&object))?;
        ar.arg(object);
    }
    run(&mut ar)
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
