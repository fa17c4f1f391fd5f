//! `cargo xtask aar`: the facade as a JAR, the runtime as an AAR and the JUnit extension as a JAR, in a Maven repository in a
//! folder that a Gradle build can use as it is; checked, with lists of what is in them. Maven compiles and tests; there is no
//! Gradle in it.
//! Never builds a native library: what `cargo xtask android` has built so far goes in, and the table tells which.

mod check;
mod pom;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::bench::installed_pythons;
use crate::process::{root, run, stdout_of};
use crate::{android, dist, hosts, r8};

/// What Maven says when it cannot fetch something, as opposed to what our code did wrong.
const UNREACHABLE: &[&str] = &["Could not transfer", "Failure to transfer", "offline mode"];

/// What the artifacts are called; all have the workspace's version.
const API: &str = "leakline-api";
const ANDROID: &str = "leakline-android";
const JUNIT: &str = "leakline-junit";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Files beside `classes.jar` that every AAR of ours has, and where they come from.
const FILES: &[(&str, &str)] =
    &[("AndroidManifest.xml", "src/main/AndroidManifest.xml"), ("proguard.txt", "consumer-rules.pro")];

/// The Maven repository in a folder.
fn repository() -> PathBuf {
    dist::target().join("leakline-android/maven")
}

/// Builds, checks, and tells what is in them.
pub(crate) fn build() -> anyhow::Result<()> {
    package()?.map_or_else(lay_together, |reason| {
        bail!("{reason}; `./x aar` installs Maven where the system has it")
    })
}

/// The same as a step of the tests: a machine that cannot have Maven, or cannot reach Maven Central, leaves it out.
pub(crate) fn test() -> anyhow::Result<()> {
    package()?.map_or_else(lay_together, |reason| {
        println!("skipped: {reason}");
        Ok(())
    })
}

/// Compiles and tests both modules; or why that cannot be done here.
fn package() -> anyhow::Result<Option<String>> {
    let mut maven = Command::new("mvn");
    if maven.arg("--version").output().map_or(true, |output| !output.status.success()) {
        return Ok(Some("there is no Maven (mvn)".to_owned()));
    }
    let mut maven = of("kotlin/pom.xml")?;
    // For this machine, not for Android: the tests start it on OpenJDK.
    let library = dist::folder().join("lib/leakline").join(android::LIBRARY);
    if library.is_file() {
        maven.arg(format!("-Dleakline.test.library={}", library.display()));
    } else {
        println!(
            "without {}: the tests that start leakline are skipped; `cargo xtask build` makes it",
            library.display()
        );
    }
    match r8::jar() {
        Ok(jar) => _ = maven.arg(format!("-Dleakline.test.r8={}", jar.display())),
        Err(reason) => println!("without R8: the rules are read by ProGuard alone: {reason}"),
    }
    let host = hosts::folder().join("libpython_host.so");
    match libpython().filter(|_| host.is_file()) {
        Some(python) => {
            maven.arg(format!("-Dleakline.test.python={}", python.display()));
            maven.arg(format!("-Dleakline.test.python_host={}", host.display()));
        }
        None => println!("without a libpython, or `cargo xtask hosts`: the test with Python is skipped"),
    }
    for mut maven in [maven, of("junit/pom.xml")?] {
        if let Some(reason) = ran(&mut maven)? {
            return Ok(Some(reason));
        }
    }
    println!("{}", tests_run()?);
    Ok(None)
}

/// Maven for a project, which must have the workspace's version.
fn of(project: &str) -> anyhow::Result<Command> {
    ensure!(
        fs::read_to_string(root().join(project))
            .is_ok_and(|text| text.contains(&format!("<version>{VERSION}</version>"))),
        "{project} has another version than Cargo.toml, which has {VERSION}"
    );
    let mut maven = Command::new("mvn");
    maven.current_dir(root()).args(["--batch-mode", "--quiet", "-f", project, "clean", "package"]);
    if let Ok(java_home) = hosts::java_home() {
        maven.env("JAVA_HOME", java_home);
    }
    Ok(maven)
}

/// Runs Maven; or why it cannot do its work here.
fn ran(maven: &mut Command) -> anyhow::Result<Option<String>> {
    let output = maven.output().context("cannot start mvn")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(None);
    }
    let line = |line: &&str| UNREACHABLE.iter().any(|sign| line.contains(sign));
    if let Some(reason) = said.lines().find(line) {
        return Ok(Some(format!("Maven cannot fetch what it needs: {}", reason.trim())));
    }
    bail!("Maven failed: {}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr))
}

/// That of the newest CPython that has one.
fn libpython() -> Option<PathBuf> {
    const SCRIPT: &str =
        "import sysconfig as s; print(s.get_config_var('LIBDIR') + '/' + s.get_config_var('INSTSONAME'))";
    let library = |python: PathBuf| {
        let said = stdout_of(Command::new(python).args(["-S", "-c", SCRIPT])).ok()?;
        let path = PathBuf::from(said.trim());
        (path.is_file() && said.contains(".so")).then_some(path)
    };
    installed_pythons().into_iter().rev().find_map(|(_, python)| library(python))
}

/// Surefire's own line.
fn tests_run() -> anyhow::Result<String> {
    let folder = module(ANDROID).join("target/surefire-reports");
    let mut lines = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?.flatten()
    {
        if entry.path().extension().is_some_and(|extension| extension == "txt") {
            let text = fs::read_to_string(entry.path()).context("cannot read Surefire's report")?;
            lines.extend(text.lines().filter(|line| line.starts_with("Tests run")).map(str::to_owned));
        }
    }
    lines.sort();
    Ok(lines.join("\n"))
}

fn module(name: &str) -> PathBuf {
    root().join("kotlin").join(name)
}

fn jar_of(name: &str) -> PathBuf {
    module(name).join("target").join(format!("{name}-{VERSION}.jar"))
}

fn lay_together() -> anyhow::Result<()> {
    let tool = hosts::java_home()?.join("bin/jar");
    let (api, aar) = (place(API, "jar")?, place(ANDROID, "aar")?);
    copy(&jar_of(API), &api)?;
    let stage = stage()?;
    run(Command::new(&tool)
        .args(["--create", "--no-manifest", "--file"])
        .arg(&aar)
        .arg("-C")
        .arg(&stage)
        .arg("."))?;
    pom::write(&place(API, "pom")?, API, "jar", VERSION, &[])?;
    pom::write(&place(ANDROID, "pom")?, ANDROID, "aar", VERSION, &[API])?;

    // From the archives themselves, not from what went into them.
    let list = |archive: &Path| -> anyhow::Result<Vec<String>> {
        let listed = stdout_of(Command::new(&tool).args(["--list", "--file"]).arg(archive))?;
        Ok(listed.lines().map(str::to_owned).collect())
    };
    let (api_entries, aar_entries, classes) = (list(&api)?, list(&aar)?, list(&stage.join("classes.jar"))?);
    tell(&api, &api_entries)?;
    tell(&aar, &aar_entries)?;
    println!("classes.jar in it");
    classes.iter().filter(|entry| !entry.ends_with('/')).for_each(|entry| println!("  {entry}"));

    let mut faults = check::api(&api_entries, &classes);
    faults.extend(check::aar(&aar_entries));
    faults.extend(check::runtime(&classes, &api_entries));
    for name in [API, ANDROID] {
        faults.extend(check::versions(&module(name).join("target/classes"))?);
    }
    for abi in android::ABIS {
        for product in android::PRODUCTS {
            let library = stage.join("jni").join(abi.name).join(product.file);
            if library.is_file() {
                faults.extend(android::faults(&library, abi, product)?);
            } else {
                println!(
                    "without {} for {}: not built; `cargo xtask android {}`",
                    product.file, abi.name, abi.name
                );
            }
        }
    }
    ensure!(faults.is_empty(), "what was packed is not right:\n  {}", faults.join("\n  "));
    junit(&tool)?;
    println!("checked; for Gradle: maven {{ url = uri(\"{}\") }}", repository().display());
    Ok(())
}

/// The JUnit extension, with the library for this machine in it where that was built.
fn junit(tool: &Path) -> anyhow::Result<()> {
    let project = root().join("junit");
    let (jar, library) = (place(JUNIT, "jar")?, dist::folder().join("lib/leakline/libleakline_junit.so"));
    copy(&project.join(format!("target/{JUNIT}-{VERSION}.jar")), &jar)?;
    copy(&project.join("pom.xml"), &place(JUNIT, "pom")?)?;
    let listed = stdout_of(Command::new(tool).args(["--list", "--file"]).arg(&jar))?;
    let entries: Vec<String> = listed.lines().map(str::to_owned).collect();
    tell(&jar, &entries)?;
    // As NativeSites calls it.
    let name = format!("leakline/junit/linux-{}/libleakline_junit.so", std::env::consts::ARCH);
    ensure!(!library.is_file() || entries.contains(&name), "{} has no {name}", jar.display());
    Ok(())
}

/// The folder that becomes the AAR, made anew.
fn stage() -> anyhow::Result<PathBuf> {
    let stage = dist::target().join("leakline-android/aar");
    let _ = fs::remove_dir_all(&stage);
    for (name, from) in FILES {
        copy(&module(ANDROID).join(from), &stage.join(name))?;
    }
    copy(&jar_of(ANDROID), &stage.join("classes.jar"))?;
    // It has no resources of its own; the format wants the list of them all the same.
    fs::write(stage.join("R.txt"), "").context("cannot write R.txt")?;
    for abi in android::ABIS {
        for product in android::PRODUCTS {
            let library = android::folder().join(abi.name).join(product.file);
            if library.is_file() {
                copy(&library, &stage.join("jni").join(abi.name).join(product.file))?;
            }
        }
    }
    Ok(stage)
}

/// Where an artifact's file stands in the repository; its folder is made.
fn place(name: &str, kind: &str) -> anyhow::Result<PathBuf> {
    let folder = repository().join("io/leakline").join(name).join(VERSION);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    Ok(folder.join(format!("{name}-{VERSION}.{kind}")))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn tell(archive: &Path, entries: &[String]) -> anyhow::Result<()> {
    let size = fs::metadata(archive).with_context(|| format!("cannot read {}", archive.display()))?.len();
    println!("{}: {} KiB", archive.display(), size.div_ceil(1024));
    entries.iter().filter(|entry| !entry.ends_with('/')).for_each(|entry| println!("  {entry}"));
    Ok(())
}
