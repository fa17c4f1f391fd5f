//! Whether the loader can bring leakline's library into a program that is about to be started: a program of another processor, of
//! another C library or with a sanitizer would not start, or print a warning, and a static one would only see the variables.
//! Whatever cannot be read or is not known does not fit.
//!
//! Called between `vfork` and `exec`, where the parent's memory is shared and other threads' locks stay held: never allocates,
//! locks, or writes to anything but its caller's stack and the kernel's descriptors, each of which is closed again.

use std::ffi::{CStr, c_char, c_int};

/// Scripts may name scripts as their interpreters; the kernel follows this many.
const MOST_INTERPRETERS: usize = 5;
/// The kernel reads no more of a script's first line.
const LINE: usize = 256;
const LONGEST_PATH: usize = 1024;
/// Where `execvp` looks without `PATH`.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

const ELF: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const MACHINE: u16 = 0;
/// Of the program headers that are looked at; the system's programs have 13.
const MOST_HEADERS: usize = 32;
const HEADER: usize = 56;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
/// Entries of the dynamic section, and libraries that a program asks for by name.
const MOST_ENTRIES: usize = 128;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;

/// Beginnings of the names of sanitizers' libraries, as GCC and Clang have them.
const SANITIZERS: [&[u8]; 6] =
    [b"libasan.", b"liblsan.", b"libtsan.", b"libhwasan.", b"libclang_rt.asan", b"libclang_rt.tsan"];

/// How the C library looks for a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// The name is the path.
    None,
    /// A name without a slash is looked for in `PATH`.
    Path,
}

/// Whether leakline's library can be loaded into the program `name`.
///
/// # Safety
/// `name` is null or a text, and so is each of `environment`, a list that ends with null, or null.
pub(crate) unsafe fn fits(name: *const c_char, search: Search, environment: *const *const c_char) -> bool {
    if name.is_null() {
        return false;
    }
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(name) };
    let mut path = PathText::new();
    match search {
        Search::Path if !name.to_bytes().contains(&b'/') => {
            // SAFETY: as above.
            let list = unsafe { variable(environment, b"PATH=") }.unwrap_or(DEFAULT_PATH);
            path.find(name.to_bytes(), list).is_some() && fits_at(&mut path, list)
        }
        _ => path.set(&[name.to_bytes()]).is_some() && fits_at(&mut path, DEFAULT_PATH),
    }
}

/// The value of the variable that begins with `name`.
///
/// # Safety
/// As [`fits`].
unsafe fn variable<'a>(environment: *const *const c_char, name: &[u8]) -> Option<&'a [u8]> {
    for index in 0.. {
        if environment.is_null() {
            return None;
        }
        // SAFETY: the list goes on up to its null.
        let text = unsafe { environment.wrapping_add(index).read() };
        if text.is_null() {
            return None;
        }
        // SAFETY: each is a text.
        let text = unsafe { CStr::from_ptr(text) }.to_bytes();
        if let Some(value) = text.strip_prefix(name) {
            return Some(value);
        }
    }
    None
}

/// A path with its NUL.
struct PathText {
    bytes: [u8; LONGEST_PATH],
}

impl PathText {
    const fn new() -> Self {
        Self { bytes: [0; LONGEST_PATH] }
    }

    /// Puts the parts one after the other; `None`: they are too long.
    fn set(&mut self, parts: &[&[u8]]) -> Option<()> {
        let mut end = 0;
        for part in parts {
            self.bytes.get_mut(end..end + part.len())?.copy_from_slice(part);
            end += part.len();
        }
        *self.bytes.get_mut(end)? = 0;
        Some(())
    }

    fn as_text(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }

    /// The first file of that name in the folders of `list` that may be executed.
    fn find(&mut self, name: &[u8], list: &[u8]) -> Option<()> {
        for folder in list.split(|byte| *byte == b':') {
            let folder = if folder.is_empty() { b"." } else { folder };
            if self.set(&[folder, b"/", name]).is_some()
                // SAFETY: the path ends with a NUL.
                && unsafe { libc::access(self.as_text().as_ptr(), libc::X_OK) } == 0
            {
                return Some(());
            }
        }
        None
    }
}

/// A file that is closed again.
struct Open(c_int);

impl Open {
    fn new(path: &CStr) -> Option<Self> {
        // SAFETY: the path ends with a NUL. By a system call, which is no point at which a thread may be cancelled.
        let file = unsafe {
            libc::syscall(
                libc::SYS_openat,
                libc::AT_FDCWD,
                path.as_ptr(),
                libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK,
            )
        };
        c_int::try_from(file).ok().filter(|file| *file >= 0).map(Self)
    }

    /// What is there at `offset`, as much as there is room for.
    fn read<'a>(&self, offset: u64, into: &'a mut [u8]) -> Option<&'a [u8]> {
        // SAFETY: the kernel writes at most so many bytes into ours.
        let read = unsafe { libc::syscall(libc::SYS_pread64, self.0, into.as_mut_ptr(), into.len(), offset) };
        into.get(..usize::try_from(read).ok()?)
    }

    /// Whether it is a file that takes no rights of its own.
    fn is_plain(&self, path: &CStr) -> bool {
        let mut told = std::mem::MaybeUninit::<libc::stat>::zeroed();
        // SAFETY: the kernel writes one `stat` into ours.
        if unsafe { libc::fstat(self.0, told.as_mut_ptr()) } != 0 {
            return false;
        }
        // SAFETY: zeroes are a valid `stat`, and the call has filled it.
        let mode = unsafe { told.assume_init() }.st_mode;
        // SAFETY: both texts end with a NUL; a size of 0 asks for the size only.
        let rights = || unsafe {
            libc::getxattr(path.as_ptr(), c"security.capability".as_ptr(), std::ptr::null_mut(), 0)
        };
        mode & libc::S_IFMT == libc::S_IFREG && mode & (libc::S_ISUID | libc::S_ISGID) == 0 && rights() <= 0
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: it was opened here. By a system call, as above.
        unsafe { libc::syscall(libc::SYS_close, self.0) };
    }
}

/// The program at `path`, or what runs it.
fn fits_at(path: &mut PathText, list: &[u8]) -> bool {
    for _ in 0..MOST_INTERPRETERS {
        let Some(file) = Open::new(path.as_text()).filter(|file| file.is_plain(path.as_text())) else {
            return false;
        };
        let mut head = [0; LINE];
        let Some(head) = file.read(0, &mut head) else { return false };
        let Some(line) = head.strip_prefix(b"#!") else { return is_fit(&file, head) };
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let mut words = line.split(|byte| b" \t".contains(byte)).filter(|word| !word.is_empty());
        let Some(interpreter) = words.next() else { return false };
        let is_env = interpreter.rsplit(|byte| *byte == b'/').next() == Some(b"env");
        // `env` becomes what it is told, which this process has no part in: it gets the same environment.
        let named = words.find(|word| !word.starts_with(b"-") && !word.contains(&b'='));
        let found = match named.filter(|_| is_env) {
            Some(name) => path.find(name, list),
            None => path.set(&[interpreter]),
        };
        if found.is_none() {
            return false;
        }
    }
    false
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    word(bytes, at).map(u64::from_le_bytes)
}

/// A program of this processor that glibc's loader starts, without a sanitizer.
fn is_fit(file: &Open, head: &[u8]) -> bool {
    fit(file, head).unwrap_or(false)
}

fn fit(file: &Open, head: &[u8]) -> Option<bool> {
    if !head.starts_with(&ELF) || u16::from_le_bytes(word(head, 18)?) != MACHINE {
        return Some(false);
    }
    let (offset, count) = (u64_at(head, 32)?, usize::from(u16::from_le_bytes(word(head, 56)?)));
    let mut room = [0; MOST_HEADERS * HEADER];
    let headers = file.read(offset, room.get_mut(..count.checked_mul(HEADER)?)?)?;
    let of_kind = |kind: u32| {
        headers
            .chunks_exact(HEADER)
            .filter(move |header| word(header, 0).map(u32::from_le_bytes) == Some(kind))
    };
    let Some(interpreter) = of_kind(PT_INTERP).next() else { return Some(false) };
    let mut name = [0; LINE];
    let name = file.read(u64_at(interpreter, 8)?, &mut name)?;
    let name = name.split(|byte| *byte == 0).next()?;
    let loader = name.rsplit(|byte| *byte == b'/').next()?;
    if !loader.starts_with(b"ld-linux") {
        return Some(false);
    }
    let dynamic = of_kind(PT_DYNAMIC).next()?;
    let mut entries = [0; MOST_ENTRIES * 16];
    let length = usize::try_from(u64_at(dynamic, 32)?).ok()?.min(entries.len());
    let entries = file.read(u64_at(dynamic, 8)?, entries.get_mut(..length)?)?;
    let values = |tag: u64| {
        let entries = entries.chunks_exact(16).take_while(|entry| u64_at(entry, 0) != Some(0));
        entries.filter(move |entry| u64_at(entry, 0) == Some(tag)).filter_map(|entry| u64_at(entry, 8))
    };
    let address = values(DT_STRTAB).next()?;
    let strings = of_kind(PT_LOAD).find_map(|header| {
        let (offset, start, length) = (u64_at(header, 8)?, u64_at(header, 16)?, u64_at(header, 32)?);
        let within = address.checked_sub(start).filter(|within| *within < length)?;
        offset.checked_add(within)
    })?;
    let is_sanitizer = |needed: u64| {
        let mut name = [0; 32];
        let name = strings.checked_add(needed).and_then(|at| file.read(at, &mut name));
        // What cannot be read may be one.
        name.is_none_or(|name| SANITIZERS.iter().any(|sanitizer| name.starts_with(sanitizer)))
    };
    Some(!values(DT_NEEDED).any(is_sanitizer))
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn check(name: &str, search: Search, path: &str, expected: bool) {
        let name = CString::new(name).unwrap();
        let path = CString::new(format!("PATH={path}")).unwrap();
        let environment = [c"A=1".as_ptr(), path.as_ptr(), std::ptr::null()];
        // SAFETY: the name is a text, and the list ends with null.
        let found = unsafe { fits(name.as_ptr(), search, environment.as_ptr()) };
        assert_eq!(found, expected, "{name:?} {path:?}");
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn the_systems_programs_fit_and_so_do_scripts_that_they_run() {
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let path = format!("/nowhere:{}:/usr/bin:/bin", folder.path().display());
        check("/bin/sh", Search::None, "", true);
        check("sh", Search::Path, &path, true);
        check("sh", Search::None, &path, false);
        check("sh", Search::Path, "/nowhere", false);
        check("no-such-program", Search::Path, &path, false);
        check(&script("a", "#!/bin/sh -e\necho\n"), Search::None, &path, true);
        check("a", Search::Path, &path, true);
        check(&script("b", &format!("#!{}/a\n", folder.path().display())), Search::None, &path, true);
        check("b", Search::Path, &path, true);
        check(&script("c", "#!/usr/bin/env -S sh\n"), Search::Path, &path, true);
        check(&script("d", "#!/usr/bin/env sh\n"), Search::None, &path, true);
        check(&script("e", "#!/nowhere/sh\n"), Search::None, &path, false);
        check(&script("f", "#!\n"), Search::None, &path, false);
        check(&script("g", "echo\n"), Search::None, &path, false);
        check(&script("h", "\x7fELF"), Search::None, &path, false);
        let circle = folder.path().join("i");
        check(&script("i", &format!("#!{}\n", circle.display())), Search::None, &path, false);
        check(folder.path().to_str().unwrap(), Search::None, &path, false);
        check("/dev/null", Search::None, &path, false);
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn a_damaged_program_never_fits_by_accident() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let whole = fs::read("/bin/sh").unwrap();
        let text = path.to_str().unwrap();
        for length in [0, 1, 6, 18, 20, 63, 64, 65, 100, 500, 800] {
            fs::write(&path, whole.get(..length).unwrap()).unwrap();
            check(text, Search::None, "", false);
        }
        // Each of the first bytes another: whatever comes of it, it comes.
        for at in 0..1024 {
            let mut bytes = whole.clone();
            *bytes.get_mut(at).unwrap() ^= 0xff;
            fs::write(&path, bytes).unwrap();
            let name = CString::new(text).unwrap();
            // SAFETY: the name is a text.
            unsafe { fits(name.as_ptr(), Search::None, std::ptr::null()) };
        }
        fs::write(&path, &whole).unwrap();
        check(text, Search::None, "", true);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
        check(text, Search::None, "", false);
    }
}
