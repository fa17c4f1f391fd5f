//! Derives from an interpreter's own headers where it keeps what leakline reads, and compares that with the table in
//! `probes/python/src/layouts.rs`. For a version that is not in the table it shows the numbers to be put there.
//!
//! Compiles a small program against CPython's internal headers and runs it; changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::bench::installed_pythons;
use crate::process;

// The table itself; the crate that has it would bring the whole probe.
#[path = "../../../probes/python/src/layouts.rs"]
#[expect(dead_code, unreachable_pub, reason = "the probe uses all of it, and other crates do")]
mod table;

use table::{Attributes, Collections, Collector, Frames, Version, same};

const PROGRAM: &str = include_str!("fields.c");

/// What to derive from.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The interpreter
    #[arg(value_name = "PYTHON")]
    python: PathBuf,
    /// Where its headers are, instead of where it says; may be given again
    #[arg(long, value_name = "FOLDER")]
    include: Vec<PathBuf>,
}

/// Compares every installed Python that has its internal headers.
pub(crate) fn check_installed() -> anyhow::Result<()> {
    for (_, python) in installed_pythons() {
        let (_, folders) = ask(&python)?;
        if folders.iter().any(|folder| folder.join("internal/pycore_interp.h").is_file()) {
            check_one(&python, &[], false)?;
        }
    }
    Ok(())
}

type Facts = BTreeMap<String, u64>;

/// Derives, shows and compares.
pub(crate) fn check(options: &Options) -> anyhow::Result<()> {
    check_one(&options.python, &options.include, true)
}

fn check_one(python: &Path, include: &[PathBuf], shows: bool) -> anyhow::Result<()> {
    let (version, mut folders) = ask(python)?;
    if !include.is_empty() {
        folders = include.to_vec();
    }
    let found = derive(version, &folders)?;
    let Version { major, minor, patch } = version;
    let name = format!("CPython {major}.{minor}.{patch}");
    let expected = expected(version);
    if shows || expected.is_none() {
        for (name, value) in &found {
            println!("{name} {value}");
        }
    }
    let Some(expected) = expected else {
        bail!("{name} is not in the table; these are its numbers: probes/python/src/layouts.rs");
    };
    let wrong = differences(&expected, &found);
    if !wrong.is_empty() {
        bail!("{name} is not as the table has it: {}: probes/python/src/layouts.rs", wrong.join("; "));
    }
    println!("{name}: {} fields are as the table has them", expected.len());
    Ok(())
}

/// The interpreter's version and where its headers are.
fn ask(python: &Path) -> anyhow::Result<(Version, Vec<PathBuf>)> {
    const QUESTION: &str = "import sys, sysconfig as s; print(*sys.version_info[:3]); \
                            print(s.get_path('include')); print(s.get_path('platinclude'))";
    let said = process::stdout_of(Command::new(python).args(["-Ic", QUESTION]))?;
    let mut lines = said.lines();
    let numbers: Vec<u8> =
        lines.next().unwrap_or_default().split(' ').filter_map(|n| n.parse().ok()).collect();
    let [major, minor, patch] = *numbers.as_slice() else {
        bail!("it does not say its version as CPython does: {}", python.display());
    };
    Ok((Version { major, minor, patch }, lines.map(PathBuf::from).collect()))
}

fn derive(version: Version, folders: &[PathBuf]) -> anyhow::Result<Facts> {
    let folder = process::root().join("target/layouts");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (source, program) = (folder.join("fields.c"), folder.join("fields"));
    std::fs::write(&source, PROGRAM).with_context(|| format!("cannot write {}", source.display()))?;
    let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    // CPython's own headers warn.
    compiler.args(["-w", "-o"]).arg(&program).arg(&source);
    if is_incremental(version) {
        compiler.arg("-DLEAKLINE_INCREMENTAL");
    }
    for folder in folders {
        compiler.arg("-I").arg(folder);
    }
    process::run(&mut compiler).context("needs CPython's internal headers, such as Debian's python3-dev")?;
    let said = process::stdout_of(&mut Command::new(&program))?;
    let fact = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    Ok(said.lines().filter_map(fact).collect())
}

fn is_incremental(version: Version) -> bool {
    (version.major, version.minor) == (3, 14) && version.patch < 5
}

/// What the table says, by the names that the program gives; `None` where it has no such version.
fn expected(version: Version) -> Option<Facts> {
    let objects = table::objects(version)?;
    let mut facts = Facts::new();
    let mut say = |name: &str, value: u64| {
        facts.insert(name.to_owned(), value);
    };
    say("version", u32::from_be_bytes([0, version.major, version.minor, version.patch]).into());
    match table::frames(version)? {
        Frames::Objects(frames) => {
            say("frame.innermost", frames.innermost.into());
            say("frame.back", frames.back.into());
            say("frame.code", frames.code.into());
            say("frame.last_instruction", frames.last_instruction.into());
        }
        Frames::Interpreter(frames) => {
            say("frame.innermost", frames.innermost.into());
            frames.through.into_iter().for_each(|through| say("frame.through", through.into()));
            say("frame.previous", frames.previous.into());
            say("frame.code", frames.code.into());
            say("frame.instruction", frames.instruction.into());
            say("frame.owner", frames.owner.into());
            say("frame.first_entry_mark", table::FIRST_ENTRY_MARK.into());
            say("code.from_first_traceable", table::FROM_FIRST_TRACEABLE.into());
        }
    }
    if let Ok(collector) = table::collector(version) {
        let [old, middle, _] = Collector::GENERATIONS;
        say("collector.old", old.into());
        say("collector.middle", middle.into());
        say("collector.frozen", collector.frozen.into());
        say("collector.to_young", collector.to_young.into());
        match collector.collections {
            Collections::Here(at) => {
                say("collector.stats", at.into());
                say("collector.collections", 0);
                say("collector.stats_size", Collections::STEP.into());
            }
            Collections::Behind(at) => {
                let [(_, young), (middle_at, _), (old_at, old)] = Collections::RINGS;
                say("collector.stats", at.into());
                say("collector.collections", Collections::COUNT.into());
                say("collector.stats_size", Collections::RECORD.into());
                say("collector.young_ring", young.into());
                say("collector.young_index", (young * Collections::RECORD).into());
                say("collector.middle_ring_at", middle_at.into());
                say("collector.old_ring_at", old_at.into());
                say("collector.old_ring", old.into());
                say("collector.old_index", (old * Collections::RECORD).into());
            }
        }
    }
    say("object.tuple_items", objects.tuple_items.into());
    let attributes = match objects.attributes {
        Attributes::InDict => None,
        Attributes::Pointer { keys } | Attributes::Tagged { keys } => Some((keys, 0)),
        Attributes::Inline { keys } => Some((keys, same::INLINE_VALUES as u64)),
    };
    if let Some((keys, values)) = attributes {
        let [index_bytes, kind, count, indices] = same::KEYS;
        say("object.shared_keys", keys.into());
        say("object.values", values);
        say("object.keys_index_bytes", index_bytes as u64);
        say("object.keys_kind", kind as u64);
        say("object.keys_count", count as u64);
        say("object.keys_indices", indices as u64);
    }
    say("object.type_flags", same::TYPE_FLAGS as u64);
    say("object.type_traverse", same::TYPE_TRAVERSE as u64);
    say("object.type_dict", same::TYPE_DICT as u64);
    say("object.type_dictoffset", same::TYPE_DICT_OFFSET as u64);
    say("object.type_mro", same::TYPE_ORDER as u64);
    let [mask, set_table, inside] = same::SET;
    say("object.set_mask", mask as u64);
    say("object.set_table", set_table as u64);
    say("object.set_smalltable", inside as u64);
    say("object.list_allocated", same::LIST_ALLOCATED as u64);
    if let Some(how) = table::published(version).first() {
        say("published.version", table::Published::VERSION.into());
        say("published.free_threaded", table::Published::FREE_THREADED.into());
        say("published.thread_size", how.thread.into());
        say("published.innermost", how.innermost().into());
        say("published.frame_size", how.frame.into());
        say("published.previous", how.previous().into());
        say("published.code", how.code_of_frame().into());
        say("published.instruction", how.instruction().into());
        say("published.owner", how.owner().into());
        say("published.code_size", how.code.into());
        say("published.code_start", how.code_start().into());
    }
    Some(facts)
}

/// In words, each field that is missing or has another number.
fn differences(expected: &Facts, found: &Facts) -> Vec<String> {
    let difference = |(name, expected): (&String, &u64)| match found.get(name) {
        Some(found) if found == expected => None,
        Some(found) => Some(format!("{name} is {found}, not {expected}")),
        None => Some(format!("{name} is missing, not {expected}")),
    };
    expected.iter().filter_map(difference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_version_has_all_of_its_parts() {
        for minor in 9..=table::NEWEST.1 {
            let version = Version::of_3(minor, 9);
            let facts = expected(version).unwrap();
            assert!(table::collector(version).is_ok() && facts.len() > 15, "3.{minor}");
            assert_eq!(table::published(version).len(), usize::from(minor >= 13), "3.{minor}");
        }
    }

    #[test]
    fn what_is_not_known_has_none() {
        let next = Version::of_3(table::NEWEST.1 + 1, 0);
        assert_eq!(expected(next), None);
        assert!(table::frames(next).is_none() && table::collector(next).is_err());
        assert_eq!(table::published(next).len(), 3, "all ways are tried");
        assert!(table::published(Version::of_3(12, 9)).is_empty());
    }

    #[test]
    fn the_exact_version_decides_which_collector_it_is() {
        assert!(table::collector(Version::of_3(14, 4)).unwrap_err().contains("incremental"));
        assert!(table::collector(Version::of_3(14, 5)).is_ok() && !is_incremental(Version::of_3(14, 5)));
        assert!(table::frames(Version::of_3(14, 0)).is_some());
    }

    #[test]
    fn another_number_and_none_are_told() {
        let facts =
            |facts: &[(&str, u64)]| facts.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let expected: Facts = facts(&[("a", 1), ("b", 2), ("c", 3)]);
        assert_eq!(
            differences(&expected, &facts(&[("a", 1), ("b", 9)])),
            ["b is 9, not 2", "c is missing, not 3"]
        );
    }
}
