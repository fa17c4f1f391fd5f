//! An Android SDK for one small build, put together from what there is: Debian's build tools and framework resources, dx and
//! Android 7.0's classes from Maven Central, Java's classes from the JDK. Enough to compile, dex and package.
//! Never anything that a device would have to run.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::hosts;
use crate::process::run;

/// What `./x gradle` installs, and a file by which each is known.
const PACKAGES: &[(&str, &str)] = &[
    ("gradle", "/usr/bin/gradle"),
    ("libgradle-android-plugin-java", "/usr/share/maven-repo/com/android/tools/build/gradle/2.2.2"),
    ("libjaxb-java", "/usr/share/maven-repo/org/glassfish/jaxb/jaxb-runtime/debian"),
    ("android-sdk-build-tools", TOOLS),
    ("aapt", "/usr/bin/aapt"),
    ("android-framework-res", RESOURCES),
];
const TOOLS: &str = "/usr/lib/android-sdk/build-tools/debian";
const RESOURCES: &str = "/usr/share/android-framework-res/framework-res.apk";

/// The version that Debian's tools call themselves.
const TOOLS_VERSION: &str = "29.0.3";
const API: &str = "24";
const CLASSES: &str = "org.robolectric:android-all:7.0.0_r1-robolectric-r1";
const DX: &str = "com.jakewharton.android.repackaged:dalvik-dx:11.0.0_r3";

/// Tools that the plugin looks for, and that nothing here calls.
const UNUSED: &[&str] = &[
    "llvm-rs-cc",
    "bcc_compat",
    "arm-linux-androideabi-ld",
    "aarch64-linux-android-ld",
    "i686-linux-android-ld",
    "x86_64-linux-android-ld",
    "mipsel-linux-android-ld",
];

/// For the module that is built from source.
pub(super) fn properties() -> Vec<String> {
    vec![format!("-Pleakline.compileSdk={API}"), format!("-Pleakline.buildTools={TOOLS_VERSION}")]
}

/// Makes it in `work`, once.
pub(super) fn make(work: &Path) -> anyhow::Result<PathBuf> {
    let missing: Vec<_> =
        PACKAGES.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(package, _)| *package).collect();
    if !missing.is_empty() {
        bail!("these Debian packages are missing, `./x gradle` installs them: {}", missing.join(" "));
    }
    let sdk = work.join("sdk");
    let done = sdk.join("done");
    if done.exists() {
        return Ok(sdk);
    }
    let _ = fs::remove_dir_all(&sdk);
    tools(&sdk.join("build-tools").join(TOOLS_VERSION))?;
    platform(&sdk.join("platforms").join(format!("android-{API}")))?;
    write(&done, "")?;
    Ok(sdk)
}

fn tools(folder: &Path) -> anyhow::Result<()> {
    for file in ["aapt", "aidl", "zipalign", "source.properties", "package.xml"] {
        copy(&Path::new(TOOLS).join(file), &folder.join(file))?;
    }
    fetch(DX, &folder.join("lib"))?;
    let dx = folder.join("lib/dx.jar");
    fs::rename(folder.join("lib/dalvik-dx.jar"), &dx).context("cannot rename dx's JAR")?;
    let start = format!("#!/bin/sh\nexec java -cp '{}' com.android.dx.command.Main \"$@\"\n", dx.display());
    program(&folder.join("dx"), &start)?;
    UNUSED.iter().try_for_each(|name| program(&folder.join(name), "#!/bin/sh\nexit 1\n"))
}

fn platform(folder: &Path) -> anyhow::Result<()> {
    fetch(CLASSES, folder)?;
    let android = folder.join("android.jar");
    fs::rename(folder.join("android-all.jar"), &android).context("cannot rename Android's classes")?;
    let home = hosts::java_home()?;
    let jar = home.join("bin/jar");
    let parts = folder.join("parts");
    fs::create_dir_all(&parts).with_context(|| format!("cannot make {}", parts.display()))?;
    // Resources as aapt wants them: compiled. Robolectric has them in another form.
    let mut unpack = Command::new(&jar);
    run(unpack.current_dir(&parts).args([
        "--extract",
        "--file",
        RESOURCES,
        "AndroidManifest.xml",
        "resources.arsc",
    ]))?;
    java8(&home, &jar, folder, &parts)?;
    run(Command::new(&jar).args(["--update", "--file"]).arg(&android).arg("-C").arg(&parts).arg("."))?;
    write(
        &folder.join("source.properties"),
        &format!(
            "Pkg.Desc=Android SDK Platform\nPlatform.Version=7.0\nAndroidVersion.ApiLevel={API}\nPkg.Revision=2\n\
             Layoutlib.Api=15\nLayoutlib.Revision=1\nPlatform.MinToolsRev=22\n"
        ),
    )?;
    write(
        &folder.join("build.prop"),
        &format!("ro.build.version.sdk={API}\nro.build.version.release=7.0\n"),
    )?;
    write(&folder.join("framework.aidl"), "")
}

/// Java 8's classes, as javac has them for `--release 8`: Android's have none of them.
fn java8(home: &Path, jar: &Path, folder: &Path, parts: &Path) -> anyhow::Result<()> {
    let all = folder.join("ct.sym");
    fs::create_dir_all(&all).with_context(|| format!("cannot make {}", all.display()))?;
    run(Command::new(jar).current_dir(&all).arg("--extract").arg("--file").arg(home.join("lib/ct.sym")))?;
    // Such as 879A/java.base/java/lang/Object.sig: of Java 8, 7, 9 and 10.
    for releases in fs::read_dir(&all).context("cannot read ct.sym")?.flatten() {
        if releases.file_name().to_string_lossy().contains('8') {
            signatures(&releases.path().join("java.base"), parts)?;
        }
    }
    fs::remove_dir_all(&all).context("cannot remove what was unpacked")
}

/// Copies `.sig` files as the class files that they are. A class that several sets have is the same in all of them.
fn signatures(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            signatures(&path, &target)?;
        } else if path.extension().is_some_and(|extension| extension == "sig") {
            copy(&path, &target.with_extension("class"))?;
        }
    }
    Ok(())
}

/// From Maven Central, without the version in its name.
fn fetch(artifact: &str, to: &Path) -> anyhow::Result<()> {
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--quiet", "dependency:copy", "-Dmdep.stripVersion=true"]);
    run(maven.arg(format!("-Dartifact={artifact}")).arg(format!("-DoutputDirectory={}", to.display())))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(to))
        .with_context(|| format!("cannot make the folder of {}", to.display()))?;
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

fn write(to: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(to, text).with_context(|| format!("cannot write {}", to.display()))
}

fn program(to: &Path, text: &str) -> anyhow::Result<()> {
    write(to, text)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot mark {}", to.display()))
}
