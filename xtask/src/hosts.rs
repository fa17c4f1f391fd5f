//! Compiles the host programs of the demo and of the end-to-end tests into `.leakline/hosts`, when they changed.
//! They know nothing of leakline and link nothing of it.

use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::process::{root, run};
use crate::{java_library, maven};

/// Programs of one C file, as (source, what is made of it, how).
const C_PROGRAMS: &[(&str, &str, &[&str])] = &[
    ("plain.c", "plain", &[]),
    ("plain.c", "plain_static", &["-static"]),
    ("exit_at_once.c", "exit_at_once", &[]),
    ("native/stress.c", "native_stress", &[]),
    ("native/planted.c", "planted", &[]),
    ("native/many_sites.c", "many_sites", &[]),
    ("native/own_malloc.c", "own_malloc", &[]),
    ("twice/ends.c", "ends", &["-fno-builtin"]),
    ("twice/ends.c", "ends_static", &["-static", "-fno-builtin"]),
    ("twice/closing.c", "closing", &["-fno-builtin"]),
    ("twice/room.c", "room", &["-fno-builtin"]),
    ("twice/children.c", "children", &["-fno-builtin"]),
    ("twice/counts.c", "counts", &["-fno-builtin"]),
    ("twice/rights.c", "rights", &["-fno-builtin"]),
    ("twice/paths.c", "paths", &["-fno-builtin", "-fno-optimize-sibling-calls"]),
    ("twice/statics.cpp", "statics", &["-Wl,--no-as-needed", "-lstdc++"]),
    ("families/tree.c", "tree", &["-pthread"]),
    ("relay/codec.c", "libcodec.so", &["-shared", "-fPIC"]),
    ("jni/bridge.c", "libbridge.so", &["-shared", "-fPIC"]),
    ("android/python.c", "libpython_host.so", &["-shared", "-fPIC"]),
    ("chaquopy/library.c", "libchaquopy_java.so", &["-shared", "-fPIC"]),
];

/// What the host programs of this machine are run with.
pub(crate) struct Hosts {
    /// The Python of the project's own environment, which has JPype, jep, Reticulum and LXMF.
    pub(crate) python: PathBuf,
    /// The JDK.
    pub(crate) java_home: PathBuf,
}

/// Where the compiled ones are.
pub(crate) fn folder() -> PathBuf {
    root().join(".leakline/hosts")
}

/// A host program that is run from its source.
pub(crate) fn source(name: &str) -> PathBuf {
    root().join("tests/hosts").join(name)
}

/// Compiles what changed.
pub(crate) fn build() -> anyhow::Result<Hosts> {
    let python = root().join(".leakline/venv/bin/python");
    if !python.exists() {
        bail!("no Python environment at {}: run `./x hosts`, which makes it", python.display());
    }
    let hosts = Hosts { python, java_home: java_home()? };
    let chaquopy = maven::CHAQUOPY.file();
    let stamp = format!("{} {:x} {}", hosts.java_home.display(), sources_hash()?, chaquopy.is_ok());
    let stamp_file = folder().join("stamp");
    if fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) {
        return Ok(hosts);
    }
    let _ = fs::remove_dir_all(folder());
    fs::create_dir_all(folder()).with_context(|| format!("cannot make the folder {}", folder().display()))?;
    compile_c(&hosts)?;
    compile_java(&hosts)?;
    match chaquopy {
        Ok(jar) => compile_chaquopy(&hosts, &jar)?,
        Err(reason) => eprintln!("skipped: the host program with Chaquopy's classes: {reason}"),
    }
    fs::write(&stamp_file, stamp).with_context(|| format!("cannot write {}", stamp_file.display()))?;
    Ok(hosts)
}

fn compile_c(hosts: &Hosts) -> anyhow::Result<()> {
    let jni = hosts.java_home.join("include");
    for (file, program, how) in C_PROGRAMS {
        let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        cc.args(["-g", "-O1", "-Wall", "-Wextra", "-Werror"]).args(*how);
        cc.arg("-I").arg(&jni).arg("-I").arg(jni.join("linux"));
        run(cc.arg("-o").arg(folder().join(program)).arg(source(file)).arg("-lpthread"))?;
    }
    Ok(())
}

fn compile_java(hosts: &Hosts) -> anyhow::Result<()> {
    let jep = jep_jar(hosts)?;
    // From version 9 on, texts are put together by code that is made at run time: milliseconds for the first one.
    compile_classes(hosts, "8", &java_library::sources()?, "leakline", None)?;
    let both = std::env::join_paths([&jep, &folder().join("leakline")]).context("a path with a colon")?;
    for (from, to, class_path) in [
        ("java", "java", None),
        ("twice", "twice", None),
        ("jni", "jni", None),
        ("relay/java", "relay", Some(gson()?)),
        ("jep_host", "jep_host", Some(jep.clone())),
        ("jep_app", "jep_app", Some(both.into())),
        ("android", "android", Some(folder().join("leakline"))),
        ("android/os", "android_os", None),
    ] {
        compile_classes(hosts, "11", &files_in(&source(from), "java")?, to, class_path)?;
    }
    // Beside the classes, so that a host program that is started by itself finds it.
    fs::copy(gson()?, folder().join("gson.jar")).context("cannot copy gson.jar")?;
    let arguments = folder().join("jep_host.arguments");
    fs::write(&arguments, jep_arguments(&jep))
        .with_context(|| format!("cannot write {}", arguments.display()))
}

fn compile_chaquopy(hosts: &Hosts, jar: &Path) -> anyhow::Result<()> {
    compile_classes(hosts, "11", &files_in(&source("chaquopy"), "java")?, "chaquopy", Some(jar.to_owned()))?;
    // Beside the classes, as Gson.
    fs::copy(jar, folder().join("chaquopy_java.jar")).context("cannot copy Chaquopy's classes").map(drop)
}

fn compile_classes(
    hosts: &Hosts,
    release: &str,
    sources: &[PathBuf],
    to: &str,
    class_path: Option<PathBuf>,
) -> anyhow::Result<()> {
    let to = folder().join(to);
    fs::create_dir_all(&to).with_context(|| format!("cannot make the folder {}", to.display()))?;
    let mut javac = Command::new(hosts.java_home.join("bin/javac"));
    javac.args(["--release", release, "-g", "-Xlint:all,-options", "-Werror", "-d"]).arg(&to);
    if let Some(class_path) = class_path {
        javac.arg("-cp").arg(class_path);
    }
    run(javac.args(sources))
}

/// What `java @jep_host.arguments` starts: jep's library stands beside its jar, which stands in site-packages.
fn jep_arguments(jar: &Path) -> String {
    let jep = jar.parent().unwrap_or(jar);
    let packages = jep.parent().unwrap_or(jep);
    let (library, classes, modules) = (jep.join("libjep.so"), folder().join("jep_host"), source("jep_host"));
    let words = [
        format!("\"-Djep.library={}\"", library.display()),
        format!("\"-Djep.path={}:{}\"", packages.display(), modules.display()),
        format!("-Xmx256m -Xmn8m -cp \"{}:{}\"", classes.display(), jar.display()),
        "JepHost\n".to_owned(),
    ];
    words.join("\n")
}

/// The Java library that does the demo's work.
fn gson() -> anyhow::Result<PathBuf> {
    let jar = PathBuf::from("/usr/share/java/gson.jar");
    if !jar.is_file() {
        bail!("no Gson at {}: run `./x hosts`, which installs it", jar.display());
    }
    Ok(jar)
}

fn jep_jar(hosts: &Hosts) -> anyhow::Result<PathBuf> {
    let library =
        hosts.python.parent().and_then(Path::parent).map(|venv| venv.join("lib")).unwrap_or_default();
    let versions = fs::read_dir(&library).with_context(|| format!("cannot read {}", library.display()))?;
    for version in versions.flatten() {
        let jars = files_in(&version.path().join("site-packages/jep"), "jar").unwrap_or_default();
        if let Some(jar) = jars.into_iter().next() {
            return Ok(jar);
        }
    }
    bail!(
        "no jep.jar below {}: remove .leakline/venv and run `./x hosts`, which makes it anew",
        library.display()
    )
}

/// JAVA_HOME, then the javac on PATH, then what Debian installs; the rule of `./x`.
pub(crate) fn java_home() -> anyhow::Result<PathBuf> {
    let on_path = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).find_map(|folder| folder.join("javac").canonicalize().ok())
    });
    let installed = fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut candidates: Vec<PathBuf> = std::env::var_os("JAVA_HOME").map(PathBuf::from).into_iter().collect();
    candidates.extend(on_path.and_then(|javac| Some(javac.parent()?.parent()?.to_owned())));
    candidates.extend(installed);
    candidates
        .into_iter()
        .find(|home| home.join("bin/javac").is_file() && home.join("include/jni.h").is_file())
        .context("no JDK: run `./x hosts`, which installs one, or set JAVA_HOME")
}

fn files_in(folder: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension() == Some(OsStr::new(extension)))
        .collect();
    files.sort();
    Ok(files)
}

/// Changes when anything that is compiled changes, or how.
fn sources_hash() -> anyhow::Result<u64> {
    let mut hasher = DefaultHasher::new();
    include_str!("hosts.rs").hash(&mut hasher);
    let mut files: Vec<PathBuf> = C_PROGRAMS.iter().map(|(file, ..)| source(file)).collect();
    for folder in
        ["java", "twice", "jni", "relay/java", "jep_host", "jep_app", "android", "android/os", "chaquopy"]
    {
        files.extend(files_in(&source(folder), "java")?);
    }
    files.extend(java_library::sources()?);
    files.push(root().join("tests/hosts/requirements.txt"));
    for file in files {
        fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}
