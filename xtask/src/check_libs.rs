//! Checks the built libraries: what they need, what they export, and that no path of this machine is in them.
//! Reads files only; loads nothing.

use std::fs;

use anyhow::{Context as _, bail};
use object::{Object as _, ObjectSymbol as _};

use crate::dist;

/// What one file must not do.
struct Rules {
    file: &'static str,
    /// Beginnings of libraries' names that the loader must not be told to load with it.
    no_need: &'static [&'static str],
    /// Beginnings of symbols that it must not take from others.
    no_import: &'static [&'static str],
    /// Whether Python's stable ABI is there for it.
    stable_abi: bool,
    /// What it may export beside symbols that begin with `leakline_`; `None`: anything.
    exports: Option<&'static [&'static str]>,
}

const RULES: &[Rules] = &[
    Rules {
        file: "bin/leakline",
        no_need: &["libpython", "libjvm"],
        no_import: RUNTIMES,
        stable_abi: false,
        exports: None,
    },
    Rules {
        file: "lib/leakline/libleakline_agent.so",
        no_need: &["libpython", "libjvm"],
        no_import: RUNTIMES,
        stable_abi: false,
        exports: Some(IN_FRONT),
    },
    Rules {
        file: "lib/leakline/libleakline_jni.so",
        no_need: &["libpython", "libjvm"],
        no_import: RUNTIMES,
        stable_abi: false,
        exports: Some(&["JNI_OnLoad", "Agent_OnAttach"]),
    },
    Rules {
        file: "lib/leakline/libleakline_junit.so",
        no_need: &["libpython", "libjvm"],
        no_import: RUNTIMES,
        stable_abi: false,
        exports: Some(JUNIT),
    },
    // The Python part takes its symbols from the interpreter that is in the process already: the stable ABI's, no other.
    Rules {
        file: "lib/leakline/libleakline_cpython.so",
        no_need: &["libpython", "libjvm"],
        no_import: &["JNI_", "JVM_", "_Py"],
        stable_abi: true,
        exports: Some(&[]),
    },
];

/// Symbols with an underscore that belong to the stable ABI all the same, since 3.2.
const STABLE: &[&str] = &[
    "_Py_Dealloc",
    "_Py_EllipsisObject",
    "_Py_FalseStruct",
    "_Py_NoneStruct",
    "_Py_NotImplementedStruct",
    "_Py_TrueStruct",
];

const RUNTIMES: &[&str] = &["Py", "_Py", "JNI_", "JVM_"];

/// Beginnings of what a library of ours may export.
const OURS: &[&str] = &["leakline_", "__start_leakline_", "__stop_leakline_"];

/// And what the agent's library exports in order to stand in front of it: malloc and mappings, the ways to end and to become
/// another program, and the moments at which a runtime shows up.
const IN_FRONT: &[&str] = &[
    "_Exit",
    "__libc_start_main",
    "_exit",
    "aligned_alloc",
    "calloc",
    "dlclose",
    "execv",
    "execve",
    "execvp",
    "execvpe",
    "exit",
    "free",
    "malloc",
    "memalign",
    "mmap",
    "mmap64",
    "mremap",
    "munmap",
    "posix_memalign",
    "posix_spawn",
    "posix_spawnp",
    "prctl",
    "pthread_create",
    "pthread_key_create",
    "pvalloc",
    "quick_exit",
    "realloc",
    "reallocarray",
    "valloc",
];

/// What a JVM looks up by these names, for the methods of `leakline.junit.NativeSites`.
const JUNIT: &[&str] = &[
    "Java_leakline_junit_NativeSites_begin",
    "Java_leakline_junit_NativeSites_end",
    "Java_leakline_junit_NativeSites_forget",
    "Java_leakline_junit_NativeSites_held",
    "Java_leakline_junit_NativeSites_isTold",
    "Java_leakline_junit_NativeSites_part",
    "Java_leakline_junit_NativeSites_sweep",
];

/// Fails with everything that is wrong with the files in `target/leakline`.
pub(crate) fn check() -> anyhow::Result<()> {
    let needles = needles()?;
    let mut wrong = Vec::new();
    for file in dist::files() {
        let rules =
            RULES.iter().find(|rules| rules.file == file).with_context(|| format!("no rules for {file}"))?;
        let path = dist::folder().join(file);
        let data = fs::read(&path)
            .with_context(|| format!("cannot read {}: run `cargo xtask build` first", path.display()))?;
        let found = faults(&data, rules).with_context(|| format!("cannot read {} as ELF", path.display()))?;
        wrong.extend(
            found
                .into_iter()
                .chain(paths_in(&data, &needles))
                .map(|fault| format!("{}: {fault}", rules.file)),
        );
    }
    if !wrong.is_empty() {
        bail!("what was built is not fit to be given away:\n  {}", wrong.join("\n  "));
    }
    println!("{} files: no runtime linked, nothing foreign exported, no path of this machine", RULES.len());
    Ok(())
}

/// Everything in a file that its rules forbid.
fn faults(data: &[u8], rules: &Rules) -> anyhow::Result<Vec<String>> {
    let starts = |name: &str, list: &[&str]| list.iter().any(|start| name.starts_with(start));
    let file = object::File::parse(data)?;
    let mut faults = Vec::new();
    for library in file.import_libraries()? {
        let library = String::from_utf8_lossy(library?.name()).into_owned();
        if starts(&library, rules.no_need) {
            faults.push(format!("makes the loader load {library}"));
        }
    }
    for symbol in file.dynamic_symbols() {
        let name = symbol.name().unwrap_or_default();
        let excused = rules.stable_abi && STABLE.contains(&name);
        if symbol.is_undefined() && starts(name, rules.no_import) && !excused {
            faults.push(format!("needs the symbol {name}, which not every host has"));
        } else if symbol.is_definition()
            && rules.exports.is_some_and(|exports| !exports.contains(&name))
            && !starts(name, OURS)
        {
            faults.push(format!("exports {name}, which could take the place of the host's own"));
        }
    }
    Ok(faults)
}

/// Paths that only this machine has.
fn needles() -> anyhow::Result<Vec<String>> {
    let mut paths: Vec<String> =
        dist::build_paths(&dist::rustc())?.iter().map(|(path, _)| path.display().to_string()).collect();
    paths.extend(std::env::var("HOME").ok().filter(|home| home.len() > 1).map(|home| format!("{home}/")));
    Ok(paths)
}

fn paths_in<'a>(data: &'a [u8], needles: &'a [String]) -> impl Iterator<Item = String> + 'a {
    needles.iter().filter_map(move |needle| {
        let at = data.windows(needle.len()).position(|window| window == needle.as_bytes())?;
        let end = data[at..].iter().take(160).position(|byte| !(0x20..0x7f).contains(byte)).unwrap_or(160);
        let text = String::from_utf8_lossy(&data[at..(at + end).min(data.len())]).into_owned();
        Some(format!("has a path of this machine in it: {text}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_and_shown_up_to_its_end() {
        let data = b"\0junk\0/home/me/work/a.rs\0more";
        let found: Vec<_> = paths_in(data, &["/home/me/".into(), "/nowhere".into()]).collect();
        assert_eq!(found, ["has a path of this machine in it: /home/me/work/a.rs"]);
    }

    #[test]
    fn a_foreign_symbol_and_a_foreign_library_are_faults() {
        // A file that every system has: this very program. It needs libc and imports from it.
        let data = fs::read(std::env::current_exe().unwrap()).unwrap();
        let rules = Rules {
            file: "",
            no_need: &["libc.so"],
            no_import: &["__libc_start_main"],
            stable_abi: false,
            exports: None,
        };
        let found = faults(&data, &rules).unwrap();
        assert!(found.iter().any(|fault| fault.contains("load libc.so")), "{found:?}");
        assert!(found.iter().any(|fault| fault.contains("__libc_start_main")), "{found:?}");
    }
}
