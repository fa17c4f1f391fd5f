//! Gives a loaded library of ours the symbols that it was allowed to be loaded without: each weak import is looked up with
//! whom the caller names, and written where the loader would have written it.
//!
//! Android's loader never looks in what was loaded with `RTLD_GLOBAL` when it binds another library: only in the program,
//! what was preloaded, and what the library itself needs (bionic's global group has the libraries with DF_1_GLOBAL, which
//! dlopen does not set). A library that must not need one certain libpython can only be bound by hand there.
//!
//! Never touches a library but the one it is given, nothing but slots of weak imports that the caller wants, and none
//! unless all are found. Every read is inside the library's own mapped segments.

use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr::NonNull;

/// What is bound, before anybody calls into the library: `address` is any in it. Gives the number of slots written.
///
/// `wanted` says of an import's name whether it is meant, `find` where it is. No other thread may be in the library yet.
pub fn bind(
    address: usize,
    wanted: impl Fn(&[u8]) -> bool,
    find: impl Fn(&CStr) -> Option<NonNull<c_void>>,
) -> Result<usize, String> {
    let image = Image::at(address).ok_or("the loader does not know the library")?;
    let mut writes = Vec::new();
    for slot in image.slots()? {
        if !wanted(slot.name.to_bytes()) {
            continue;
        }
        let found = find(&slot.name).ok_or_else(|| format!("no {}", slot.name.to_string_lossy()))?;
        writes.push((slot.address, (found.as_ptr() as usize).wrapping_add(slot.addend)));
    }
    if writes.is_empty() {
        return Ok(0);
    }
    image.unprotect()?;
    for (address, value) in &writes {
        image.write(*address, *value);
    }
    image.protect()?;
    Ok(writes.len())
}

#[cfg(target_pointer_width = "64")]
mod class {
    pub(super) const SYMBOL: usize = 24;
    pub(super) const INFO_AT: usize = 4;
    pub(super) const SECTION_AT: usize = 6;
    pub(super) const SYMBOL_SHIFT: u32 = 32;
    pub(super) const KIND: usize = 0xffff_ffff;
    /// DT_RELA, DT_RELASZ, and how long one is.
    pub(super) const TABLE: (usize, usize, usize) = (7, 8, 24);
}

#[cfg(target_pointer_width = "32")]
mod class {
    pub(super) const SYMBOL: usize = 16;
    pub(super) const INFO_AT: usize = 12;
    pub(super) const SECTION_AT: usize = 14;
    pub(super) const SYMBOL_SHIFT: u32 = 8;
    pub(super) const KIND: usize = 0xff;
    /// DT_REL, DT_RELSZ, and how long one is.
    pub(super) const TABLE: (usize, usize, usize) = (17, 18, 8);
}

/// A relocation that is the symbol's address, with and without an addend: ABS, GLOB_DAT, JUMP_SLOT.
#[cfg(target_arch = "x86_64")]
const KINDS: [usize; 3] = [1, 6, 7];
#[cfg(target_arch = "x86")]
const KINDS: [usize; 3] = [1, 6, 7];
#[cfg(target_arch = "aarch64")]
const KINDS: [usize; 3] = [257, 1025, 1026];
#[cfg(target_arch = "arm")]
const KINDS: [usize; 3] = [2, 21, 22];
#[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64", target_arch = "arm")))]
const KINDS: [usize; 3] = [usize::MAX; 3];

const DT_PLTRELSZ: usize = 2;
const DT_STRTAB: usize = 5;
const DT_SYMTAB: usize = 6;
const DT_JMPREL: usize = 23;
const WEAK: usize = 2;
const PF_W: u32 = 2;
const PF_R: u32 = 4;
const WORD: usize = size_of::<usize>();
/// More than any library of ours has.
const MOST: usize = 65_536;
const LONGEST_NAME: usize = 256;

/// A weak import's place.
struct Slot {
    name: CString,
    address: usize,
    addend: usize,
}

/// A loaded library, as far as it is mapped.
#[derive(Debug, Default)]
struct Image {
    bias: usize,
    /// Where its segments are, from and to, and whether they may be written to.
    segments: Vec<(usize, usize, bool)>,
    dynamic: Option<(usize, usize)>,
    /// What the loader made read-only when it was done.
    protected: Option<(usize, usize)>,
}

impl Image {
    /// The one that holds `address`.
    fn at(address: usize) -> Option<Self> {
        let mut search = (address, None);
        // SAFETY: `step` has the signature that the loader calls, and `search` outlives the walk.
        unsafe { libc::dl_iterate_phdr(Some(step), (&raw mut search).cast()) };
        search.1
    }

    /// Something of `N` bytes, where all of them are inside.
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let end = at.checked_add(N)?;
        let is_inside = self.segments.iter().any(|(start, stop, _)| *start <= at && end <= *stop);
        // SAFETY: the range is inside a segment that the loader mapped readable, and the library stays loaded.
        is_inside.then(|| unsafe { std::ptr::read_unaligned(at as *const [u8; N]) })
    }

    fn word(&self, at: usize) -> Option<usize> {
        self.read::<WORD>(at).map(usize::from_ne_bytes)
    }

    fn name(&self, mut at: usize) -> Option<CString> {
        let mut bytes = Vec::new();
        while bytes.len() < LONGEST_NAME {
            let [byte] = self.read::<1>(at)?;
            if byte == 0 {
                return CString::new(bytes).ok();
            }
            bytes.push(byte);
            at += 1;
        }
        None
    }

    /// The value of an entry of the dynamic section; an address is absolute then.
    fn entry(&self, tag: usize) -> Option<usize> {
        let (mut at, end) = self.dynamic?;
        while at < end {
            match self.word(at)? {
                0 => return None,
                found if found == tag => return self.word(at + WORD),
                _ => at += 2 * WORD,
            }
        }
        None
    }

    fn address(&self, tag: usize) -> Option<usize> {
        // glibc adds the bias in place, bionic does not.
        let value = self.entry(tag)?;
        Some(if value < self.bias { value + self.bias } else { value })
    }

    fn slots(&self) -> Result<Vec<Slot>, String> {
        let torn = || "its dynamic section is not what it should be".to_owned();
        let symbols = self.address(DT_SYMTAB).ok_or_else(torn)?;
        let strings = self.address(DT_STRTAB).ok_or_else(torn)?;
        let (table, table_size, length) = class::TABLE;
        let mut found = Vec::new();
        for (table, size) in [(table, table_size), (DT_JMPREL, DT_PLTRELSZ)] {
            let (Some(start), Some(size)) = (self.address(table), self.entry(size)) else { continue };
            for number in 0..(size / length).min(MOST) {
                let at = start + number * length;
                found.extend(self.slot(at, symbols, strings).ok_or_else(torn)?);
            }
        }
        Ok(found)
    }

    /// `Some(None)`: a relocation of another kind.
    fn slot(&self, at: usize, symbols: usize, strings: usize) -> Option<Option<Slot>> {
        let (offset, info) = (self.word(at)?, self.word(at + WORD)?);
        let (symbol, kind) = (info >> class::SYMBOL_SHIFT, info & class::KIND);
        if symbol == 0 || !KINDS.contains(&kind) {
            return Some(None);
        }
        let symbol = symbols.checked_add(symbol.checked_mul(class::SYMBOL)?)?;
        let [info] = self.read::<1>(symbol + class::INFO_AT)?;
        let section = u16::from_ne_bytes(self.read(symbol + class::SECTION_AT)?);
        if section != 0 || usize::from(info >> 4) != WEAK {
            return Some(None);
        }
        let name = u32::from_ne_bytes(self.read(symbol)?) as usize;
        let address = self.bias.wrapping_add(offset);
        let addend = match (WORD, KINDS.first() == Some(&kind)) {
            (8, _) => self.word(at + 2 * WORD)?,
            // Without a field of its own it stands in the slot.
            (_, true) => self.word(address)?,
            (_, false) => 0,
        };
        let may_be_written = self
            .segments
            .iter()
            .any(|(start, end, writable)| *writable && *start <= address && address + WORD <= *end);
        may_be_written.then_some(Some(Slot { name: self.name(strings.checked_add(name)?)?, address, addend }))
    }

    fn write(&self, address: usize, value: usize) {
        // SAFETY: `slot` found the address in a segment of the library's that is for writing, `unprotect` made it so, and
        // nobody else is in the library.
        unsafe { std::ptr::write_volatile(address as *mut usize, value) }
    }

    fn unprotect(&self) -> Result<(), String> {
        self.set(libc::PROT_READ | libc::PROT_WRITE)
    }

    fn protect(&self) -> Result<(), String> {
        self.set(libc::PROT_READ)
    }

    fn set(&self, access: c_int) -> Result<(), String> {
        let Some((start, end)) = self.protected else { return Ok(()) };
        // SAFETY: takes a number, touches no memory of ours.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        let down = |address: usize| address - address % page;
        // The loader protected whole pages: glibc those that are inside, bionic all that are touched.
        let end = if cfg!(target_os = "android") { down(end + page - 1) } else { down(end) };
        let start = down(start);
        if end <= start {
            return Ok(());
        }
        // SAFETY: these pages are the library's own, and the loader itself has set their access before.
        if unsafe { libc::mprotect(start as *mut c_void, end - start, access) } == 0 {
            return Ok(());
        }
        Err(format!("its imports cannot be written: {}", std::io::Error::last_os_error()))
    }
}

/// Looks whether this is the object that holds the address, and notes its segments.
unsafe extern "C" fn step(info: *mut libc::dl_phdr_info, _: usize, search: *mut c_void) -> c_int {
    // SAFETY: `search` is the pointer that `Image::at` passes, valid during the walk.
    let search = unsafe { &mut *search.cast::<(usize, Option<Image>)>() };
    // SAFETY: the loader hands in a valid entry for the time of this call.
    let info = unsafe { &*info };
    if info.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: the loader gives as many program headers as it says.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let mut image = Image { bias: info.dlpi_addr as usize, ..Image::default() };
    for header in headers {
        let start = image.bias.wrapping_add(header.p_vaddr as usize);
        let range = (start, start.saturating_add(header.p_memsz as usize));
        match header.p_type {
            libc::PT_LOAD if header.p_flags & PF_R != 0 => {
                image.segments.push((range.0, range.1, header.p_flags & PF_W != 0));
            }
            libc::PT_DYNAMIC => image.dynamic = Some(range),
            libc::PT_GNU_RELRO => image.protected = Some(range),
            _ => {}
        }
    }
    let is_it = image.segments.iter().any(|(start, end, _)| (*start..*end).contains(&search.0));
    if is_it {
        search.1 = Some(image);
    }
    c_int::from(is_it)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::loader::LoadedObject;

    #[test]
    fn imports_of_this_program_are_read_and_what_is_not_wanted_is_left_alone() {
        let image = Image::at(step as *const () as usize).unwrap();
        assert!(image.dynamic.is_some() && image.segments.iter().any(|(.., writable)| *writable));
        let names: Vec<CString> = image.slots().unwrap().into_iter().map(|slot| slot.name).collect();
        // Every Rust program for Linux may run without these.
        assert!(
            names
                .iter()
                .any(|name| name.as_c_str() == c"__cxa_thread_atexit_impl" || name.as_c_str() == c"gettid"),
            "{names:?}"
        );
        assert_eq!(bind(step as *const () as usize, |_| false, |_| None), Ok(0));
    }

    #[test]
    fn what_is_not_found_is_named_and_nothing_is_written() {
        let error = bind(step as *const () as usize, |_| true, |_| None).unwrap_err();
        assert!(error.starts_with("no "), "{error}");
        assert!(bind(8, |_| true, |_| None).unwrap_err().contains("does not know"));
    }

    /// A library with what compilers make of imports: calls, addresses in its data, and one into the middle of an array.
    const SOURCE: &str = "\
        extern int Py_given(int) __attribute__((weak));
        extern int Py_values[4] __attribute__((weak));
        extern int other(void) __attribute__((weak));
        int (*const table[])(int) = { Py_given };
        int *const middle = &Py_values[2];
        int call(int value) { return Py_given(value) + table[0](value) + *middle + Py_values[0]; }
        int has_other(void) { return other != 0; }";

    extern "C" fn given(value: c_int) -> c_int {
        value + 1
    }

    static VALUES: [c_int; 4] = [1000, 0, 200, 0];

    #[test]
    fn a_library_calls_what_it_was_bound_to() {
        let folder = std::env::temp_dir().join(format!("leakline-imports-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (source, library) = (folder.join("bound.c"), folder.join("bound.so"));
        std::fs::write(&source, SOURCE).unwrap();
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let mut compile = std::process::Command::new(compiler);
        compile.args(["-shared", "-fPIC", "-O1", "-Wl,-z,relro,-z,now", "-o"]).arg(&library).arg(&source);
        assert!(compile.status().unwrap().success());
        let loaded = LoadedObject::load(&library).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();

        let call = loaded.symbol(c"call").unwrap();
        let find = |name: &CStr| match name.to_bytes() {
            b"Py_given" => NonNull::new(given as *mut c_void),
            b"Py_values" => NonNull::new((&raw const VALUES).cast_mut().cast::<c_void>()),
            _ => None,
        };
        let of_python = |name: &[u8]| name.starts_with(b"Py");
        assert!(bind(call.as_ptr() as usize, of_python, |_| None).is_err());
        let bound = bind(call.as_ptr() as usize, of_python, find).unwrap();
        assert!((3..=6).contains(&bound), "{bound}");
        // SAFETY: the library defines it so.
        let call = unsafe { std::mem::transmute::<NonNull<c_void>, extern "C" fn(c_int) -> c_int>(call) };
        assert_eq!(call(20), 21 + 21 + 200 + 1000);
        let has_other = loaded.symbol(c"has_other").unwrap();
        // SAFETY: the library defines it so.
        let has_other =
            unsafe { std::mem::transmute::<NonNull<c_void>, extern "C" fn() -> c_int>(has_other) };
        assert_eq!(has_other(), 0);
    }

    #[test]
    fn nothing_is_read_outside_of_a_segment() {
        let image = Image { segments: vec![(4096, 8192, false)], ..Image::default() };
        assert_eq!(image.read::<8>(8190), None);
        assert_eq!(image.read::<8>(usize::MAX - 3), None);
        assert_eq!(image.word(4000), None);
        assert!(image.slots().is_err());
    }
}
