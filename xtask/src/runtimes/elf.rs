//! Gives a program another loader and a path for its libraries. What is new goes to a segment at the file's end, and a
//! note's place in the table of segments becomes that segment's: no byte of code or data moves. (patchelf 0.18 moves the
//! first segment of a program with a fixed address, and Debian's python3.15 crashes after it.)
//! Pure: opens no files. Knows 64-bit little-endian programs.

use anyhow::{Context as _, bail, ensure};

const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const INTERPRETER: u32 = 3;
const NOTE: u32 = 4;

const END: u64 = 0;
const STRINGS: u64 = 5;
const STRINGS_SIZE: u64 = 10;
const RPATH: u64 = 15;
const RUNPATH: u64 = 29;

/// Larger than every machine's pages.
const PAGE: u64 = 0x1_0000;
/// The size of an entry in the table of segments.
const ENTRY: usize = 56;

/// Whether `bytes` are a program that names a loader.
pub(super) fn names_a_loader(bytes: &[u8]) -> bool {
    segments(bytes).is_ok_and(|segments| segments.iter().any(|segment| segment.kind == INTERPRETER))
}

/// `bytes` with `loader`, and with `path` as the old kind of path (DT_RPATH): it also counts for what libraries need.
pub(super) fn start_with(bytes: &[u8], loader: &str, path: &str) -> anyhow::Result<Vec<u8>> {
    let mut segments = segments(bytes)?;
    let dynamic = *segments.iter().find(|segment| segment.kind == DYNAMIC).context("no dynamic segment")?;
    let end = segments.iter().filter(|segment| segment.kind == LOAD).map(|load| load.address + load.memory);
    let address = end.max().context("no loaded segment")?.next_multiple_of(PAGE);
    let mut out = bytes.to_vec();
    out.resize(bytes.len().next_multiple_of(usize::try_from(PAGE)?), 0);
    let offset = out.len() as u64;

    // The names of symbols and libraries, the path behind them, and then the loader.
    let value =
        |tag| entries(bytes, &dynamic).find(|(_, found, _)| *found == tag).map(|(at, _, value)| (at, value));
    let (strings_at, strings) = value(STRINGS).context("no names")?;
    let (size_at, size) = value(STRINGS_SIZE).context("no size of the names")?;
    let home = segments.iter().find(|s| s.kind == LOAD && (s.address..s.address + s.file).contains(&strings));
    let home = home.context("the names are in no segment")?;
    let from = usize::try_from(home.offset + (strings - home.address))?;
    out.extend(
        bytes.get(from..from + usize::try_from(size)?).context("the names end behind the file's end")?,
    );
    out.extend(path.bytes().chain([0]));
    let loader_at = out.len() as u64;
    out.extend(loader.bytes().chain([0]));
    let length = out.len() as u64 - offset;

    put(&mut out, strings_at + 8, &address.to_le_bytes())?;
    put(&mut out, size_at + 8, &(loader_at - offset).to_le_bytes())?;
    // A path that is there already, or the first of the empty entries at the end, of which one must stay.
    let (free, _) =
        value(RPATH).or_else(|| value(RUNPATH)).or_else(|| value(END)).context("no place for a path")?;
    let empty = entries(bytes, &dynamic).filter(|(_, tag, _)| *tag == END).count();
    ensure!(
        empty >= 2 || value(END).is_none_or(|(at, _)| at != free),
        "the dynamic segment has no free entry"
    );
    put(&mut out, free, &RPATH.to_le_bytes())?;
    put(&mut out, free + 8, &size.to_le_bytes())?;

    let spare = segments.iter().position(|segment| segment.kind == NOTE).context("no note to replace")?;
    segments.remove(spare);
    let last = segments.iter().rposition(|segment| segment.kind == LOAD).context("no loaded segment")?;
    let new = Segment { kind: LOAD, flags: 4, offset, address, file: length, memory: length, align: PAGE };
    segments.insert(last + 1, new);
    for segment in segments.iter_mut().filter(|segment| segment.kind == INTERPRETER) {
        let (offset, size) = (loader_at, loader.len() as u64 + 1);
        let address = address + (loader_at - new.offset);
        *segment = Segment { offset, address, file: size, memory: size, ..*segment };
    }
    let table = usize::try_from(number(bytes, 32)?)?;
    for (index, segment) in segments.iter().enumerate() {
        put(&mut out, table + index * ENTRY, &segment.bytes())?;
    }
    Ok(out)
}

/// An entry of the table of segments.
#[derive(Debug, Clone, Copy)]
struct Segment {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    file: u64,
    memory: u64,
    align: u64,
}

impl Segment {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.kind.to_le_bytes(), self.flags.to_le_bytes()].concat();
        let fields = [self.offset, self.address, self.address, self.file, self.memory, self.align];
        bytes.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
        bytes
    }
}

fn segments(bytes: &[u8]) -> anyhow::Result<Vec<Segment>> {
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        bail!("not a 64-bit little-endian ELF file");
    }
    let table = usize::try_from(number(bytes, 32)?)?;
    let count = (number(bytes, 56)? & 0xffff) as usize;
    let read = |index| {
        let at = table + index * ENTRY;
        let [words, offset, address, file, memory, align] =
            [0, 8, 16, 32, 40, 48].map(|field| number(bytes, at + field));
        let words = words?;
        let (kind, flags) = ((words & 0xffff_ffff) as u32, (words >> 32) as u32);
        Ok(Segment {
            kind,
            flags,
            offset: offset?,
            address: address?,
            file: file?,
            memory: memory?,
            align: align?,
        })
    };
    (0..count).map(read).collect()
}

/// The dynamic segment's entries: where each stands, what it is, its value.
fn entries<'a>(bytes: &'a [u8], dynamic: &Segment) -> impl Iterator<Item = (usize, u64, u64)> + use<'a> {
    let (from, size) = (dynamic.offset as usize, dynamic.file as usize);
    (from..from + size)
        .step_by(16)
        .map_while(|at| Some((at, number(bytes, at).ok()?, number(bytes, at + 8).ok()?)))
}

fn number(bytes: &[u8], at: usize) -> anyhow::Result<u64> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk()).context("the file is cut off")?;
    Ok(u64::from_le_bytes(*field))
}

fn put(out: &mut [u8], at: usize, what: &[u8]) -> anyhow::Result<()> {
    let place = out.get_mut(at..at + what.len()).context("the file is cut off")?;
    place.copy_from_slice(what);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    use super::*;

    /// What the loader lists for `program`, and the program's own answer.
    #[test]
    fn a_real_program_runs_with_its_new_loader_and_path() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = std::fs::read("/bin/true").unwrap();
        let old = segments(&bytes).unwrap();
        let loader = old.iter().find(|segment| segment.kind == INTERPRETER).unwrap();
        let name = &bytes[loader.offset as usize..(loader.offset + loader.file) as usize - 1];
        let link = folder.path().join("loader");
        std::os::unix::fs::symlink(std::str::from_utf8(name).unwrap(), &link).unwrap();
        // The C library is found by the path: a copy of it stands there, and the loader lists it.
        let listed = Command::new(&link).args(["--list", "/bin/true"]).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let libc =
            listed.split_whitespace().find(|word| word.starts_with('/') && word.contains("libc.so")).unwrap();
        std::fs::copy(libc, folder.path().join("libc.so.6")).unwrap();
        let program = folder.path().join("program");
        let (path, link) = (folder.path().to_str().unwrap(), link.to_str().unwrap());
        std::fs::write(&program, start_with(&bytes, link, path).unwrap()).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Command::new(&program).status().unwrap().success());
        let listed = Command::new(link).arg("--list").arg(&program).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.contains(&format!("{path}/libc.so.6")), "{listed}");
        // The shell's own start, not the loader's by name: the kernel read our PT_INTERP.
        std::fs::remove_file(link).unwrap();
        assert!(Command::new(&program).status().is_err(), "it still starts with the old loader");
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert!(!names_a_loader(b"#!/bin/sh\n"));
        let short = start_with(b"\x7fELF\x02\x01", "l", "p").unwrap_err();
        assert_eq!(short.to_string(), "the file is cut off");
    }
}
