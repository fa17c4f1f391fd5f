//! The objects that are loaded: where they are, which file and which build each is, and where its unwind table is.
//! Asked of the loader on a thread of the agent's; in the hook only what needs no lock.

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use leakline_probing::loader;

/// A loaded object.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    /// Its first address.
    pub(crate) start: usize,
    /// One past its last.
    pub(crate) end: usize,
    /// What is added to addresses of its file.
    bias: usize,
    /// Its file; the program's by its real path.
    pub(crate) path: Arc<str>,
    /// In hexadecimal digits; empty where it has none.
    pub(crate) build_id: Arc<str>,
    /// Where its unwind table's header is; 0: it has none.
    header: usize,
}

/// All of them, by address.
#[derive(Debug, Default)]
pub(crate) struct Objects(Vec<Object>);

impl Objects {
    /// Those of this process.
    pub(crate) fn of_process() -> Self {
        let mut found: Vec<Object> = Vec::new();
        // SAFETY: `step` matches the signature, and `found` outlives the walk.
        unsafe { libc::dl_iterate_phdr(Some(step), (&raw mut found).cast()) };
        found.sort_unstable_by_key(|object| object.start);
        Self(found)
    }

    /// The object that begins at `start`.
    pub(crate) fn starting_at(&self, start: usize) -> Option<&Object> {
        let at = self.0.binary_search_by_key(&start, |object| object.start).ok()?;
        self.0.get(at)
    }

    /// All of them, by address.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Object> {
        self.0.iter()
    }

    /// The object that `address` lies in, and the address in its file.
    pub(crate) fn find(&self, address: usize) -> Option<(&Object, u64)> {
        let after = self.0.partition_point(|object| object.start <= address);
        let object = self.0.get(after.checked_sub(1)?).filter(|object| address < object.end)?;
        Some((object, address.wrapping_sub(object.bias) as u64))
    }
}

unsafe extern "C" fn step(info: *mut libc::dl_phdr_info, _: usize, found: *mut c_void) -> c_int {
    // SAFETY: it is what `of_process` passes, valid during the walk.
    let found = unsafe { &mut *found.cast::<Vec<Object>>() };
    // SAFETY: the loader hands in a valid entry for the time of this call.
    let info = unsafe { &*info };
    // A panic must not unwind into the loader.
    let object = std::panic::catch_unwind(|| object(info));
    found.extend(object.ok().flatten());
    0
}

fn object(info: &libc::dl_phdr_info) -> Option<Object> {
    const PT_LOAD: u32 = 1;
    const PT_NOTE: u32 = 4;
    const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
    let bias = info.dlpi_addr as usize;
    // SAFETY: the loader gives the object's own headers and their number.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    let (mut start, mut end, mut header, mut build_id) = (usize::MAX, 0, 0, String::new());
    for segment in headers {
        let from = bias.wrapping_add(segment.p_vaddr as usize);
        let size = segment.p_memsz as usize;
        match segment.p_type {
            PT_LOAD => (start, end) = (start.min(from), end.max(from.saturating_add(size))),
            PT_GNU_EH_FRAME => header = from,
            PT_NOTE if build_id.is_empty() => {
                // SAFETY: a segment of the object that is loaded, of that many bytes.
                let notes = unsafe { std::slice::from_raw_parts(from as *const u8, size) };
                let alignment = if segment.p_align == 8 { 8 } else { 4 };
                build_id = build_id_of(notes, alignment).unwrap_or_default();
            }
            _ => {}
        }
    }
    (start < end).then(|| Object {
        start,
        end,
        bias,
        path: path(info).into(),
        build_id: build_id.into(),
        header,
    })
}

fn path(info: &libc::dl_phdr_info) -> String {
    if info.dlpi_name.is_null() {
        return program();
    }
    // SAFETY: a name of the loader ends with a NUL and lives as long as the walk that handed it in.
    let name = unsafe { CStr::from_ptr(info.dlpi_name) }.to_bytes();
    match name {
        b"" => program(),
        b"linux-vdso.so.1" => "[vdso]".to_owned(),
        name => {
            let path = Path::new(OsStr::from_bytes(name));
            // A path relative to a folder of the past says nothing.
            let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
            path.to_string_lossy().into_owned()
        }
    }
}

fn program() -> String {
    std::env::current_exe()
        .map_or_else(|_| "<program>".to_owned(), |path| path.to_string_lossy().into_owned())
}

/// Of the notes of an object the one with the build id, in hexadecimal digits.
fn build_id_of(notes: &[u8], alignment: usize) -> Option<String> {
    build_id_in(notes, alignment).map(in_digits)
}

/// Bytes as hexadecimal digits.
pub(crate) fn in_digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As [`build_id_of`], the bytes.
fn build_id_in(notes: &[u8], alignment: usize) -> Option<&[u8]> {
    const NT_GNU_BUILD_ID: u32 = 3;
    let mut rest = notes;
    loop {
        let number = |at: usize| Some(u32::from_ne_bytes(rest.get(at..at + 4)?.try_into().ok()?));
        let (name_size, size, kind) = (number(0)? as usize, number(4)? as usize, number(8)?);
        let name = rest.get(12..12_usize.checked_add(name_size)?)?;
        let at = 12_usize.checked_add(name_size)?.next_multiple_of(alignment);
        let content = rest.get(at..at.checked_add(size)?)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" {
            return Some(content);
        }
        rest = rest.get(at.checked_add(size)?.next_multiple_of(alignment)..)?;
    }
}

/// Where the object is that an address lies in, and its unwind table's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) header: usize,
}

/// glibc's answer, see `_dl_find_object`.
#[repr(C)]
struct Found {
    flags: u64,
    start: *mut c_void,
    end: *mut c_void,
    link_map: *mut c_void,
    header: *mut c_void,
    reserved: [u64; 8],
}

type FindObject = unsafe extern "C" fn(*mut c_void, *mut Found) -> c_int;

/// glibc's `_dl_find_object` (from 2.35 on), which takes no lock; 0: it has none.
static FIND_OBJECT: AtomicUsize = AtomicUsize::new(0);
/// Where there is no such function: the objects of the last look, by address. Never freed, as somebody may be reading.
static PLACES: AtomicPtr<Vec<Place>> = AtomicPtr::new(std::ptr::null_mut());

/// Looks for what [`place_of`] needs; on a thread of the agent's, after something was loaded or unloaded.
pub(super) fn refresh() {
    if FIND_OBJECT.load(Relaxed) != 0 {
        return;
    }
    if let Some(found) = loader::symbol(c"_dl_find_object") {
        FIND_OBJECT.store(found.as_ptr() as usize, Release);
        return;
    }
    let places = Objects::of_process();
    let places: Vec<Place> = places
        .all()
        .map(|object| Place { start: object.start, end: object.end, header: object.header })
        .collect();
    // Some kilobytes for each change; what was there before may be read by a hook just now.
    PLACES.store(Box::into_raw(Box::new(places)), Release);
}

/// glibc's word for the object that `address` lies in; `None` also where it has no such function.
fn ask_loader(address: usize) -> Option<Found> {
    let find = FIND_OBJECT.load(Acquire);
    if find == 0 {
        return None;
    }
    // SAFETY: `refresh` stored the address of that function.
    let find = unsafe { std::mem::transmute::<usize, FindObject>(find) };
    let mut found = std::mem::MaybeUninit::<Found>::zeroed();
    // SAFETY: it compares the address only, and `found` is ours to write, with room for newer versions.
    if unsafe { find(address as *mut c_void, found.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: zeros are valid, and the function filled it in.
    Some(unsafe { found.assume_init() })
}

/// The object that `address` lies in; from any thread, in any state.
pub(super) fn place_of(address: usize) -> Option<Place> {
    if are_current() {
        let found = ask_loader(address)?;
        return Some(Place {
            start: found.start as usize,
            end: found.end as usize,
            header: found.header as usize,
        });
    }
    // SAFETY: null, or what `refresh` stored, which is never freed.
    let places = unsafe { PLACES.load(Acquire).as_ref() }?;
    let after = places.partition_point(|place| place.start <= address);
    places.get(after.checked_sub(1)?).filter(|place| address < place.end).copied()
}

/// Whether places are known by the loader's own word at the moment of the question.
pub(crate) fn are_current() -> bool {
    FIND_OBJECT.load(Relaxed) != 0
}

/// An object that is loaded, as the loader and its own headers have it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loaded {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) bias: usize,
    name: *const c_char,
}

/// The beginning of glibc's `struct link_map`, which is public.
#[repr(C)]
struct LinkMap {
    bias: usize,
    name: *const c_char,
}

/// The object that `address` lies in, which is on this thread's own stack, so that the object is loaded for as long as the
/// answer is used. Takes no lock; `None` also where the loader cannot be asked so.
pub(crate) fn loaded_at(address: usize) -> Option<Loaded> {
    let found = ask_loader(address)?;
    // SAFETY: the loader's own entry for an object that is loaded, see above.
    let map = unsafe { found.link_map.cast::<LinkMap>().as_ref() }?;
    Some(Loaded { start: found.start as usize, end: found.end as usize, bias: map.bias, name: map.name })
}

impl Loaded {
    /// Its file as the loader names it; empty for the program.
    pub(crate) fn name(&self) -> &[u8] {
        if self.name.is_null() {
            return &[];
        }
        // SAFETY: a name of the loader ends with a NUL and lives as long as the object is loaded.
        let name = unsafe { CStr::from_ptr(self.name) }.to_bytes();
        // No path of a file is longer.
        name.get(..4096).unwrap_or(name)
    }

    /// Its build id; empty where it has none, or where its headers are not at its beginning.
    #[cfg(target_pointer_width = "64")]
    pub(crate) fn build_id(&self) -> &[u8] {
        const PT_NOTE: u32 = 4;
        const FIRST_PAGE: usize = 4096;
        if self.end.saturating_sub(self.start) < FIRST_PAGE {
            return &[];
        }
        // SAFETY: the first page of an object that is loaded.
        let page = unsafe { std::slice::from_raw_parts(self.start as *const u8, FIRST_PAGE) };
        // Of the header: where those of the segments are (a long word at 32), and how many (a short one at 56).
        let at =
            page.get(32..40).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes) as usize;
        let count = page.get(56..58).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_ne_bytes);
        if !page.starts_with(b"\x7fELF") {
            return &[];
        }
        let each = size_of::<libc::Elf64_Phdr>();
        let headers = (0..usize::from(count)).filter_map(|index| {
            let at = at.checked_add(index.checked_mul(each)?)?;
            let bytes = page.get(at..at.checked_add(each)?)?;
            // SAFETY: as long as that, and plain numbers.
            Some(unsafe { bytes.as_ptr().cast::<libc::Elf64_Phdr>().read_unaligned() })
        });
        for note in headers.filter(|header| header.p_type == PT_NOTE) {
            let from = self.bias.wrapping_add(note.p_vaddr as usize);
            let end = from.saturating_add(note.p_memsz as usize);
            if from < self.start || end > self.end {
                continue;
            }
            // SAFETY: a segment of the object that is loaded, of that many bytes.
            let notes = unsafe { std::slice::from_raw_parts(from as *const u8, end - from) };
            if let Some(id) = build_id_in(notes, if note.p_align == 8 { 8 } else { 4 }) {
                return id;
            }
        }
        &[]
    }

    /// As above.
    #[cfg(not(target_pointer_width = "64"))]
    pub(crate) fn build_id(&self) -> &[u8] {
        &[]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn this_code_and_the_c_librarys_are_found_with_their_files() {
        let objects = Objects::of_process();
        let (own, address) = objects.find(build_id_of as *const () as usize).unwrap();
        assert_eq!(Path::new(&*own.path), std::env::current_exe().unwrap());
        assert!(address > 0 && own.header != 0);
        let malloc = loader::symbol(c"malloc").unwrap().as_ptr() as usize;
        let (libc, _) = objects.find(malloc).unwrap();
        assert!(libc.path.contains("libc") && libc.build_id.len() == 40, "{libc:?}");
        assert!(objects.find(8).is_none() && objects.find(usize::MAX).is_none());
        refresh();
        let place = place_of(malloc).unwrap();
        assert_eq!((place.start, place.header), (libc.start, libc.header));
        assert!(place_of(8).is_none());
    }

    #[test]
    fn the_build_id_stands_among_other_notes() {
        let note = |kind: u32, name: &[u8], content: &[u8]| {
            let mut bytes = Vec::new();
            bytes.extend((name.len() as u32).to_ne_bytes());
            bytes.extend((content.len() as u32).to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            for part in [name, content] {
                bytes.extend(part);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            bytes
        };
        let other = note(1, b"GNU\0", &[0; 16]);
        let id = note(3, b"GNU\0", &[0xab, 0x01, 0xff]);
        assert_eq!(build_id_of(&[other.clone(), id.clone()].concat(), 4).as_deref(), Some("ab01ff"));
        assert_eq!(build_id_of(&[id, other.clone()].concat(), 4).as_deref(), Some("ab01ff"));
        assert_eq!(build_id_of(&other, 4), None);
        assert_eq!(build_id_of(&note(3, b"Go\0\0", &[1]), 4), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_notes_that_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = build_id_of(&bytes, 4);
            let _ = build_id_of(&bytes, 8);
        }
    }
}
