//! What a host that is watched loses: children that start, and programs of one thread, whose C library knows shorter ways
//! for as long as there is no second one. Runs come in pairs, bare and watched, so that both see the same machine.
//! Never measured from inside of leakline.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};

use super::{keep, median, recording};
use crate::dist;
use crate::process::{root, run as run_program, stdout_of};

/// Most that a child may cost, as a multiple of what it costs in the bare program.
const FORK_LIMIT: f64 = 1.10;
const CHILDREN: u32 = 2000;
const FORK_PAIRS: usize = 5;

/// Most that a whole run may take, as a multiple of the bare program's.
const SINGLE_LIMIT: f64 = 1.01;
const SINGLE_PAIRS: usize = 11;

/// What `n` children cost, by each call that makes them.
pub(super) fn fork(smoke: bool) -> anyhow::Result<()> {
    let program = compiled("forks")?;
    let (children, pairs) = if smoke { (CHILDREN / 20, 1) } else { (CHILDREN, FORK_PAIRS) };
    for way in ["fork", "vfork", "spawn"] {
        let words = [way.to_owned(), children.to_string()];
        let seconds = |command: &mut Command| -> anyhow::Result<f64> {
            stdout_of(command.args(&words).stdin(Stdio::null()))?.trim().parse().context("no time was said")
        };
        paired(&format!("{children} children by {way}"), FORK_LIMIT, pairs, |is_watched| {
            seconds(&mut started(&program, is_watched)?)
        })?;
    }
    Ok(())
}

/// Whole runs of three programs of one thread.
pub(super) fn single(smoke: bool) -> anyhow::Result<()> {
    let (pairs, size) = if smoke { (1, 20) } else { (SINGLE_PAIRS, 1) };
    let folder = dist::folder().join("bench/single");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let numbers = file(&folder.join("numbers"), || numbers(1_500_000 / size))?;
    let script = file(&folder.join("script.sql"), || script(600_000 / size))?;
    let numbers_name = numbers.to_string_lossy().into_owned();
    let getc = compiled("getc")?;

    measured("a loop of getc", pairs, &getc, &[&numbers_name, "40"], None)?;
    measured(
        "sort",
        pairs,
        Path::new("/usr/bin/sort"),
        &["--parallel=1", "-n", "-o", "/dev/null", &numbers_name],
        None,
    )?;
    let sqlite = Path::new("/usr/bin/sqlite3");
    if sqlite.is_file() {
        measured("sqlite3's shell", pairs, sqlite, &[":memory:"], Some(&script))?;
    } else {
        println!("sqlite3's shell is left out: it is not installed");
    }
    Ok(())
}

fn measured(
    what: &str,
    pairs: usize,
    program: &Path,
    words: &[&str],
    input: Option<&Path>,
) -> anyhow::Result<()> {
    paired(what, SINGLE_LIMIT, pairs, |is_watched| {
        let mut command = started(program, is_watched)?;
        command.args(words).stdout(Stdio::null());
        command.stdin(match input {
            Some(path) => fs::File::open(path).with_context(|| path.display().to_string())?.into(),
            None => Stdio::null(),
        });
        let begun = Instant::now();
        run_program(&mut command)?;
        Ok(begun.elapsed().as_secs_f64())
    })
}

/// Runs both ways, in turns, the first of each pair in turns, too; keeps the median of the ratios.
fn paired(
    what: &str,
    limit: f64,
    pairs: usize,
    run: impl Fn(bool) -> anyhow::Result<f64>,
) -> anyhow::Result<()> {
    let (mut bare, mut watched, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    // Files come into the cache, libraries are mapped for the first time.
    run(false)?;
    for pair in 0..pairs {
        let (one, other) = if pair % 2 == 0 {
            let one = run(false)?;
            (one, run(true)?)
        } else {
            let other = run(true)?;
            (run(false)?, other)
        };
        // A program that runs unwatched costs nothing, and says nothing of what watching costs.
        let is_recorded = fs::metadata(super::recording_path("host")?).is_ok_and(|file| file.len() > 0);
        ensure!(is_recorded, "{what}: leakline did not watch the program");
        ratios.push(other / one);
        bare.push(one);
        watched.push(other);
    }
    println!(
        "  {what}: bare {:.3} s, watched {:.3} s, ratios from {:.3} to {:.3}",
        median(bare),
        median(watched),
        ratios.iter().copied().fold(f64::INFINITY, f64::min),
        ratios.iter().copied().fold(0.0, f64::max),
    );
    keep(&format!("{what}, watched over bare"), median(ratios), limit, "times");
    Ok(())
}

/// The program, or `leakline run` with it, at the settings that users have.
fn started(program: &Path, is_watched: bool) -> anyhow::Result<Command> {
    if !is_watched {
        return Ok(Command::new(program));
    }
    let mut command = Command::new(dist::installed().join("bin/leakline"));
    command.args(["run", "--quiet", "-o"]).arg(recording("host")?).arg("--").arg(program);
    Ok(command)
}

/// A program of this folder, compiled as its users would.
fn compiled(name: &str) -> anyhow::Result<PathBuf> {
    let folder = dist::folder().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let program = folder.join(name);
    let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    cc.args(["-O2", "-g", "-fno-builtin", "-Wall", "-Wextra", "-Werror"]).arg("-o").arg(&program);
    run_program(cc.arg(root().join(format!("xtask/src/bench/host/{name}.c"))))?;
    Ok(program)
}

fn file(path: &Path, contents: impl Fn() -> String) -> anyhow::Result<PathBuf> {
    fs::write(path, contents()).with_context(|| format!("cannot write {}", path.display()))?;
    ensure!(path.is_file(), "no file at {}", path.display());
    Ok(path.to_owned())
}

/// Lines in no order, the same each time.
fn numbers(lines: u64) -> String {
    (0..lines).fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{}", line.wrapping_mul(6_364_136_223_846_793_005) >> 24);
        text
    })
}

fn script(rows: u64) -> String {
    format!(
        "create table t(a integer primary key, b text, c integer);\n\
         insert into t with recursive n(i) as (select 1 union all select i + 1 from n where i < {rows})\n\
         select i, hex(i * 7919), i * 104729 % 1000003 from n;\n\
         create index by_c on t(c);\n\
         select c % 97, count(*), sum(length(b)), max(b) from t group by 1 order by 3 desc limit 5;\n\
         select count(*) from t x join t y on y.c = x.a where x.b < y.b;\n\
         update t set b = upper(b) || c where c % 3 = 0;\n\
         select sum(length(b)) from t;\n"
    )
}
