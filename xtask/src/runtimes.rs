//! Prepares today's runtimes from Debian's sid in `.leakline/runtimes`, beside their own libc: packages are downloaded,
//! checked against the signed lists, unpacked, and their programs are made to start with the loader of that folder. No root,
//! no chroot, so `/proc/self/exe`, `sys.executable` and `java.home` are what they seem, and the host's libraries load too.
//! Never installs anything, runs no package's scripts, and touches nothing outside that folder.

mod elf;
mod packages;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

use crate::process::{root, run, stdout_of};
use packages::Packages;

/// Which runtimes the tests take: `system` (the default), `ends` (also the newest), `all`.
pub(crate) const CHOICE: &str = "XTASK_RUNTIMES";

const MIRROR: &str = "https://deb.debian.org/debian";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A runtime: what it is, its package, the version that the probes were last tested with, and whether it is the newest.
struct Runtime {
    kind: &'static str,
    package: &'static str,
    tested: &'static str,
    newest: bool,
}

const RUNTIMES: &[Runtime] = &[
    Runtime { kind: "python", package: "python3.14", tested: "3.14.10-1", newest: false },
    Runtime { kind: "python", package: "python3.15", tested: "3.15.2-1", newest: true },
    Runtime { kind: "jdk", package: "openjdk-21-jre-headless", tested: "", newest: false },
    Runtime { kind: "jdk", package: "openjdk-25-jre-headless", tested: "", newest: false },
    Runtime { kind: "jdk", package: "openjdk-26-jre-headless", tested: "", newest: false },
    Runtime { kind: "jdk", package: "openjdk-27-jre-headless", tested: "27.0.1.0.3+1-1", newest: true },
];

/// Debian's name of this machine, the folder of its libraries, and its loader.
const MACHINE: Option<(&str, &str, &str)> = if cfg!(target_arch = "x86_64") {
    Some(("amd64", "usr/lib/x86_64-linux-gnu", "ld-linux-x86-64.so.2"))
} else if cfg!(target_arch = "aarch64") {
    Some(("arm64", "usr/lib/aarch64-linux-gnu", "ld-linux-aarch64.so.1"))
} else {
    None
};

fn folder() -> PathBuf {
    root().join(".leakline/runtimes")
}

/// For the tests: prepares what they are asked to take. Where that cannot be had, it says so and the tests go on without.
pub(crate) fn for_tests() -> anyhow::Result<()> {
    let choice = std::env::var(CHOICE).unwrap_or_default();
    let all = match choice.as_str() {
        "" | "system" => return Ok(()),
        "ends" => false,
        "all" => true,
        other => bail!("{CHOICE} is `{other}`: it takes system, ends or all"),
    };
    if let Err(error) = prepare(all) {
        // An older set must not be taken for the one that was asked for.
        let _ = fs::remove_file(folder().join("list"));
        println!("skipped: the tests with today's runtimes: {error:#}");
    }
    Ok(())
}

/// Makes the folder, unless it is there: with the newest runtime of each kind, or with all.
pub(crate) fn prepare(all: bool) -> anyhow::Result<()> {
    let stamp = |all: bool| format!("{all} {} {}", folder().display(), include_str!("runtimes.rs"));
    // All of them hold the newest, too.
    let made = fs::read_to_string(folder().join("stamp")).unwrap_or_default();
    if made == stamp(true) || made == stamp(all) {
        print!("{}", fs::read_to_string(folder().join("list")).unwrap_or_default());
        return Ok(());
    }
    let (machine, libraries, loader) = MACHINE.context("no packages are known for this architecture")?;
    for program in ["curl", "xz", "dpkg-deb", "sha256sum"] {
        let there =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        ensure!(there.is_ok(), "there is no {program}: install it, then run this again");
    }
    let (debs, tree) = (folder().join("debs"), folder().join("root"));
    let _ = fs::remove_file(folder().join("stamp"));
    let _ = fs::remove_file(folder().join("list"));
    let _ = fs::remove_dir_all(&tree);
    for folder in [&debs, &tree] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let packages = lists(machine)?;
    let wanted: Vec<&Runtime> = RUNTIMES.iter().filter(|runtime| all || runtime.newest).collect();
    let names = wanted.iter().map(|runtime| runtime.package).chain(["libc6"]);
    for package in packages.with_dependencies(names)? {
        let deb = debs.join(package.path.rsplit('/').next().unwrap_or(package.path));
        if !matches(&deb, package.sha256) {
            download(package.path, &deb)?;
            ensure!(
                matches(&deb, package.sha256),
                "{} is not what the list says: {}",
                deb.display(),
                package.sha256
            );
        }
        run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&tree))?;
    }
    let libraries = tree.join(libraries);
    let loader = libraries.join(loader);
    links_inside(&tree, &tree)?;
    let mut list = String::new();
    for runtime in wanted {
        let version = packages.get(runtime.package).map_or("", |package| package.version);
        if !runtime.tested.is_empty() && version != runtime.tested {
            println!("{} is {version}; the probes were last tested with {}", runtime.package, runtime.tested);
        }
        let program = program(runtime, &tree)?;
        let home = if runtime.kind == "jdk" { program.ancestors().nth(2) } else { Some(program.as_path()) };
        start_with(&loader, &libraries, home.unwrap_or(&program))?;
        let option = if runtime.kind == "jdk" { "-version" } else { "-V" };
        let status = Command::new(&program).arg(option).stdout(Stdio::null()).stderr(Stdio::null()).status();
        ensure!(status.is_ok_and(|status| status.success()), "{} does not run here", program.display());
        let which = if runtime.newest { "ends" } else { "all" };
        list += &format!("{} {which} {}\n", runtime.kind, program.display());
    }
    print!("{list}");
    fs::write(folder().join("list"), list).context("cannot write .leakline/runtimes/list")?;
    fs::write(folder().join("stamp"), stamp(all)).context("cannot write .leakline/runtimes/stamp")
}

/// What sid has, from its signed list.
fn lists(machine: &str) -> anyhow::Result<Packages> {
    let release = folder().join("InRelease");
    download("dists/sid/InRelease", &release)?;
    let gpgv = Command::new("gpgv")
        .args(["--quiet", "--keyring", KEYRING])
        .arg(&release)
        .stderr(Stdio::null())
        .status();
    match gpgv {
        Ok(status) if Path::new(KEYRING).is_file() => {
            ensure!(status.success(), "the signature of {} is not by a key in {KEYRING}", release.display());
        }
        _ => println!("no gpgv or no {KEYRING}: the list's signature was not checked"),
    }
    let name = format!("main/binary-{machine}/Packages.xz");
    let packed = folder().join("Packages.xz");
    download(&format!("dists/sid/{name}"), &packed)?;
    let release = fs::read_to_string(&release).context("cannot read InRelease")?;
    let sum = packages::sum_of(&release, &name).with_context(|| format!("InRelease does not name {name}"))?;
    ensure!(matches(&packed, sum), "{name} is not what InRelease says: the archive changes, run this again");
    Ok(Packages::new(stdout_of(Command::new("xz").arg("-dc").arg(&packed))?))
}

fn download(path: &str, to: &Path) -> anyhow::Result<()> {
    let mut curl = Command::new("curl");
    curl.args(["-sSfL", "--connect-timeout", "10", "--max-time", "300", "--retry", "2", "-o"]).arg(to);
    run(curl.arg(format!("{MIRROR}/{path}")))
}

fn matches(file: &Path, sha256: &str) -> bool {
    let sum = || stdout_of(Command::new("sha256sum").arg(file)).ok();
    file.is_file() && sum().is_some_and(|line| line.split_whitespace().next() == Some(sha256))
}

/// Links to `/…` mean the unpacked tree's own files.
fn links_inside(tree: &Path, folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?.flatten()
    {
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            links_inside(tree, &path)?;
        } else if kind.is_symlink() {
            let to = fs::read_link(&path)?;
            if let Ok(to) = to.strip_prefix("/") {
                fs::remove_file(&path)?;
                symlink(tree.join(to), &path).with_context(|| format!("cannot link {}", path.display()))?;
            }
        }
    }
    Ok(())
}

fn program(runtime: &Runtime, tree: &Path) -> anyhow::Result<PathBuf> {
    if runtime.kind == "python" {
        return Ok(tree.join("usr/bin").join(runtime.package));
    }
    let major = runtime.package.split('-').nth(1).unwrap_or_default();
    let homes = fs::read_dir(tree.join("usr/lib/jvm")).context("the packages have no /usr/lib/jvm")?;
    let name = format!("java-{major}-openjdk-");
    let found = homes.flatten().find(|home| home.file_name().to_string_lossy().starts_with(&name));
    Ok(found.with_context(|| format!("{} has no JVM", runtime.package))?.path().join("bin/java"))
}

/// Makes every program at or below `path` start with `loader` and take its libraries from `libraries` first. The old
/// kind of path (DT_RPATH) is needed: it also counts for what the libraries themselves need.
fn start_with(loader: &Path, libraries: &Path, path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)?
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink()))
        {
            start_with(loader, libraries, &entry.path())?;
        }
        return Ok(());
    }
    let mode = fs::metadata(path)?.permissions();
    if mode.mode() & 0o111 == 0 {
        return Ok(());
    }
    let bytes = fs::read(path)?;
    if !elf::names_a_loader(&bytes) {
        return Ok(());
    }
    let text = |path: &Path| path.to_str().map(str::to_owned).context("the workspace's path is not UTF-8");
    let changed = elf::start_with(&bytes, &text(loader)?, &format!("{}:$ORIGIN/../lib", text(libraries)?))
        .with_context(|| format!("cannot change the loader of {}", path.display()))?;
    fs::write(path, changed).with_context(|| format!("cannot write {}", path.display()))
}
