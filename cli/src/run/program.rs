//! Finds a command as a shell would, and says whether the loader can bring a library into it.
//! Never runs anything; the parsers take bytes and open no files.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind, ReadCache, ReadRef};

/// Where commands are looked for when `PATH` is not set at all.
const DEFAULT_PATH: &str = "/bin:/usr/bin";
/// Scripts may name scripts as their interpreter; the kernel follows this many.
const MAX_INTERPRETERS: usize = 5;

/// Beginnings of the names of sanitizers' libraries, as GCC and Clang have them.
const SANITIZERS: &[&[u8]] =
    &[b"libasan.", b"liblsan.", b"libtsan.", b"libhwasan.", b"libclang_rt.asan", b"libclang_rt.tsan"];

/// Why a command cannot be run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotRunnable {
    /// Nothing by this name.
    Missing,
    /// It is there, but is not a program that this user may run.
    NotExecutable(PathBuf),
}

/// The file that `command` stands for: itself when it has a slash, otherwise the first on `path`.
pub(crate) fn resolve(command: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, NotRunnable> {
    if command.is_empty() {
        return Err(NotRunnable::Missing);
    }
    if command.as_bytes().contains(&b'/') {
        let file = PathBuf::from(command);
        return match () {
            () if is_executable(&file) => Ok(file),
            () if file.exists() => Err(NotRunnable::NotExecutable(file)),
            () => Err(NotRunnable::Missing),
        };
    }
    let mut refused = None;
    for folder in std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH))) {
        // An empty element is the current folder; with `./` the file's name still has a slash.
        let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
        let file = folder.join(command);
        if is_executable(&file) {
            return Ok(file);
        }
        if file.is_file() && refused.is_none() {
            refused = Some(file);
        }
    }
    Err(refused.map_or(NotRunnable::Missing, NotRunnable::NotExecutable))
}

fn is_executable(file: &Path) -> bool {
    let Ok(name) = CString::new(file.as_os_str().as_bytes()) else { return false };
    // SAFETY: `name` is a string with its end, made just above, and access only reads it.
    file.is_file() && unsafe { libc::access(name.as_ptr(), libc::X_OK) } == 0
}

/// What stands in the way of a preloaded library.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// No loader takes part, so nothing is preloaded.
    Static,
    /// It runs with rights of its own, so the loader ignores `LD_PRELOAD`.
    Privileged,
    /// It is made for another processor than the agent.
    OtherMachine,
    /// Its loader is musl's, which refuses to start a program with a library made for glibc.
    Musl,
    /// It needs a sanitizer's library, which refuses to start behind any other.
    Sanitizer,
}

/// What keeps `library` out of `program`, and the file that is to blame: a script's interpreter is followed.
/// `None` where nothing does, or where the file cannot be read to tell.
pub(crate) fn obstacle(program: &Path, library: &Path, path: Option<&OsStr>) -> Option<(Obstacle, PathBuf)> {
    let mut program = program.to_owned();
    for _ in 0..MAX_INTERPRETERS {
        let Some(interpreter) = interpreter_of(&program, path) else { break };
        program = interpreter;
    }
    if is_privileged(&program) {
        return Some((Obstacle::Privileged, program));
    }
    let facts = elf_facts(&ReadCache::new(File::open(&program).ok()?))?;
    let ours = elf_facts(&ReadCache::new(File::open(library).ok()?));
    let obstacle = judge(&facts, ours.as_ref())?;
    Some((obstacle, program))
}

fn judge(program: &ElfFacts, library: Option<&ElfFacts>) -> Option<Obstacle> {
    let Some(loader) = &program.loader else { return Some(Obstacle::Static) };
    if library.is_some_and(|library| library.machine != program.machine || library.wide != program.wide) {
        return Some(Obstacle::OtherMachine);
    }
    let musl = loader.windows(b"ld-musl".len()).any(|window| window == b"ld-musl");
    if musl && cfg!(target_env = "gnu") {
        return Some(Obstacle::Musl);
    }
    program.sanitized.then_some(Obstacle::Sanitizer)
}

fn is_privileged(program: &Path) -> bool {
    let Ok(meta) = program.metadata() else { return false };
    // SAFETY: getuid has no precondition and cannot fail.
    let user = unsafe { libc::getuid() };
    // SAFETY: getgid has no precondition and cannot fail.
    let group = unsafe { libc::getgid() };
    let changes_user = meta.mode() & libc::S_ISUID != 0 && meta.uid() != user;
    let changes_group =
        meta.mode() & libc::S_ISGID != 0 && meta.mode() & libc::S_IXGRP != 0 && meta.gid() != group;
    changes_user || changes_group || (user != 0 && has_capabilities(program))
}

fn has_capabilities(program: &Path) -> bool {
    let Ok(name) = CString::new(program.as_os_str().as_bytes()) else { return false };
    // SAFETY: both names end with a zero byte and live through the call; a size of 0 asks for the size only.
    unsafe { libc::getxattr(name.as_ptr(), c"security.capability".as_ptr(), std::ptr::null_mut(), 0) > 0 }
}

/// The interpreter of the script `program`; `/usr/bin/env NAME` is looked up. `None` for what is no script.
fn interpreter_of(program: &Path, path: Option<&OsStr>) -> Option<PathBuf> {
    // The kernel reads no more of a first line.
    let mut head = [0_u8; 256];
    let length = File::open(program).ok()?.read(&mut head).ok()?;
    let (interpreter, arguments) = shebang(head.get(..length)?)?;
    let interpreter = PathBuf::from(interpreter);
    if interpreter.file_name() != Some(OsStr::new("env")) {
        return Some(interpreter);
    }
    let named = arguments.into_iter().find(|word| {
        let bytes = word.as_bytes();
        !bytes.starts_with(b"-") && !bytes.contains(&b'=')
    });
    named.and_then(|command| resolve(&command, path).ok()).or(Some(interpreter))
}

/// The interpreter and the words after it on a script's first line.
fn shebang(head: &[u8]) -> Option<(OsString, Vec<OsString>)> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty())
        .map(|word| OsStr::from_bytes(word).to_owned());
    Some((words.next()?, words.collect()))
}

/// What of an executable or a library decides whether they fit.
#[derive(Debug, PartialEq, Eq)]
struct ElfFacts {
    machine: u16,
    wide: bool,
    /// The loader that the kernel starts (`PT_INTERP`); `None` for static programs, and for libraries.
    loader: Option<Vec<u8>>,
    /// Whether it needs the library of a sanitizer.
    sanitized: bool,
}

fn elf_facts<'data, R: ReadRef<'data>>(data: R) -> Option<ElfFacts> {
    match FileKind::parse(data).ok()? {
        FileKind::Elf32 => header_facts::<FileHeader32<Endianness>, R>(data, false),
        FileKind::Elf64 => header_facts::<FileHeader64<Endianness>, R>(data, true),
        _ => None,
    }
}

fn header_facts<'data, Elf: FileHeader, R: ReadRef<'data>>(data: R, wide: bool) -> Option<ElfFacts> {
    let header = Elf::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, data).ok()?;
    let loader = segments.iter().find_map(|segment| segment.interpreter(endian, data).ok().flatten());
    let machine = header.e_machine(endian).0;
    let sanitized = needs_sanitizer(header, endian, data);
    Some(ElfFacts { machine, wide, loader: loader.map(<[u8]>::to_vec), sanitized })
}

/// A program without section headers tells nothing.
fn needs_sanitizer<'data, Elf: FileHeader, R: ReadRef<'data>>(
    header: &Elf,
    endian: Elf::Endian,
    data: R,
) -> bool {
    let Ok(table) = header.sections(endian, data).and_then(|sections| sections.dynamic_table(endian, data))
    else {
        return false;
    };
    table.iter().filter(|entry| entry.tag == object::elf::DT_NEEDED).any(|entry| {
        table.string(entry).is_ok_and(|name| SANITIZERS.iter().any(|sanitizer| name.starts_with(sanitizer)))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_line_of_a_script_names_its_interpreter() {
        let cases: [(&str, Option<&str>); 8] = [
            ("#!/bin/sh\necho", Some("/bin/sh")),
            ("#! /bin/sh -e\n", Some("/bin/sh -e")),
            ("#!/usr/bin/env python3", Some("/usr/bin/env python3")),
            ("#!/usr/bin/env -S A=1 python3 -u\r\n", Some("/usr/bin/env -S A=1 python3 -u")),
            ("#!\n", None),
            ("#!", None),
            ("\x7fELF", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let found = shebang(text.as_bytes()).map(|(first, rest)| {
                let words: Vec<String> =
                    [first].into_iter().chain(rest).map(|word| word.to_string_lossy().into_owned()).collect();
                words.join(" ")
            });
            assert_eq!(found.as_deref(), expected, "{text:?}");
        }
    }

    /// `files` are `path:mode`; the answer is the path found, or the error.
    fn check_resolve(files: &str, command: &str, path: &str, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        for word in files.split_whitespace() {
            let (name, mode) = word.split_once(':').unwrap();
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, PermissionsExt::from_mode(u32::from_str_radix(mode, 8).unwrap()))
                .unwrap();
        }
        let path = std::env::join_paths(path.split(':').map(|part| folder.path().join(part))).unwrap();
        let command = match command.contains('/') {
            true => folder.path().join(command).into_os_string(),
            false => OsString::from(command),
        };
        let relative = |file: &Path| file.strip_prefix(folder.path()).unwrap().display().to_string();
        let found = match resolve(&command, Some(&path)) {
            Ok(file) => relative(&file),
            Err(NotRunnable::Missing) => "missing".to_owned(),
            Err(NotRunnable::NotExecutable(file)) => format!("not executable: {}", relative(&file)),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_command_is_found_as_shells_find_it() {
        check_resolve("a/x:755 b/x:755", "x", "a:b", "a/x");
        check_resolve("a/x:644 b/x:755", "x", "a:b", "b/x");
        check_resolve("a/x:644", "x", "a:b", "not executable: a/x");
        check_resolve("a/x:755", "y", "a", "missing");
        check_resolve("a/x:755", "a/x", "", "a/x");
        check_resolve("a/x:644", "a/x", "", "not executable: a/x");
        check_resolve("a/x:755", "a/y", "", "missing");
        check_resolve("a/x:755", "a/", "", "not executable: a");
        check_resolve("a/x/y:755", "x", "a", "missing");
    }

    #[test]
    fn without_a_path_the_standard_folders_are_searched() {
        assert!(resolve(OsStr::new("sh"), None).is_ok());
        assert_eq!(resolve(OsStr::new(""), None), Err(NotRunnable::Missing));
    }

    #[test]
    fn what_the_loader_cannot_reach_is_told() {
        let facts = |machine, wide, loader: Option<&str>| ElfFacts {
            machine,
            wide,
            loader: loader.map(|loader| loader.as_bytes().to_vec()),
            sanitized: false,
        };
        let library = facts(62, true, None);
        let loader = "/lib64/ld-linux-x86-64.so.2";
        let sanitized = ElfFacts { sanitized: true, ..facts(62, true, Some(loader)) };
        let cases = [
            (sanitized, Some(Obstacle::Sanitizer)),
            (facts(62, true, Some(loader)), None),
            (facts(62, true, None), Some(Obstacle::Static)),
            (facts(3, false, Some("/lib/ld-linux.so.2")), Some(Obstacle::OtherMachine)),
            (facts(62, false, Some("/libx32/ld-linux-x32.so.2")), Some(Obstacle::OtherMachine)),
            (facts(183, true, Some("/lib/ld-linux-aarch64.so.1")), Some(Obstacle::OtherMachine)),
            (
                facts(62, true, Some("/lib/ld-musl-x86_64.so.1")),
                cfg!(target_env = "gnu").then_some(Obstacle::Musl),
            ),
        ];
        for (program, expected) in cases {
            assert_eq!(judge(&program, Some(&library)), expected, "{program:?}");
        }
    }

    #[test]
    fn a_real_program_and_a_script_of_it_have_a_loader() {
        let shell = Path::new("/bin/sh");
        let facts = elf_facts(&ReadCache::new(File::open(shell).unwrap())).unwrap();
        assert!(facts.loader.is_some(), "{facts:?}");
        assert_eq!(obstacle(shell, shell, None), None);

        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, "#!/usr/bin/env sh\n").unwrap();
        assert_eq!(obstacle(&script, shell, None), None);
        assert!(interpreter_of(&script, None).unwrap().ends_with("sh"));
    }

    #[test]
    fn a_static_program_is_found_through_its_script() {
        // A 64-bit header of this machine with no program headers: as static as can be.
        let mut image = std::fs::read("/bin/sh").unwrap();
        image.truncate(64);
        image[32..40].fill(0);
        image[56..58].fill(0);
        let folder = tempfile::tempdir().unwrap();
        let (program, script) = (folder.path().join("program"), folder.path().join("script"));
        std::fs::write(&program, image).unwrap();
        std::fs::write(&script, format!("#!{}\n", program.display())).unwrap();
        assert_eq!(obstacle(&script, Path::new("/bin/sh"), None), Some((Obstacle::Static, program)));
    }

    #[test]
    fn garbage_is_no_elf_and_does_no_harm() {
        for bytes in [
            &b""[..],
            b"\x7fELF",
            b"\x7fELF\x02\x01\x01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert!(elf_facts(bytes).is_none_or(|facts| facts.loader.is_none()));
        }
    }
}
