//! Finds runtimes in this process through the dynamic loader.
//! Never links one, never loads one that is not there already, and never unloads anything.

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

/// The address of `name` in whatever the process can see globally: the program, the libraries it was linked with, and
/// those that were loaded with `RTLD_GLOBAL`.
pub fn symbol(name: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: `name` ends with a NUL, and RTLD_DEFAULT is always a valid handle.
    NonNull::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) })
}

/// The address of `name` in what comes after this library in the loader's order: past the program and what was
/// preloaded before us.
pub fn next_symbol(name: &CStr) -> Option<NonNull<c_void>> {
    // SAFETY: `name` ends with a NUL, and RTLD_NEXT is valid in code that the loader knows.
    NonNull::new(unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) })
}

/// The addresses of the function `name` as [`symbol`] finds it: the first, and the one after the last. `None` also where
/// the loader does not tell sizes.
pub fn symbol_range(name: &CStr) -> Option<(usize, usize)> {
    range_of(symbol(name)?)
}

/// As [`symbol_range`], of a function that was found already.
pub fn range_of(function: NonNull<c_void>) -> Option<(usize, usize)> {
    let start = function.as_ptr();
    #[cfg(all(target_env = "gnu", target_pointer_width = "64"))]
    {
        let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
        let mut entry: *mut c_void = std::ptr::null_mut();
        const RTLD_DL_SYMENT: c_int = 1;
        // SAFETY: dladdr1 only compares the address; `info` and `entry` are ours to write.
        let known = unsafe { libc::dladdr1(start, info.as_mut_ptr(), &mut entry, RTLD_DL_SYMENT) };
        if known != 0 && !entry.is_null() {
            // SAFETY: with RTLD_DL_SYMENT the loader gives its own symbol table's entry, which stays as long as the object.
            let size = unsafe { (*entry.cast::<libc::Elf64_Sym>()).st_size } as usize;
            return (size > 0).then(|| (start as usize, start as usize + size));
        }
    }
    let _ = start;
    None
}

/// A shared object that is loaded, pinned: it stays loaded as long as the process lives, so what [`symbol`] found in it
/// stays valid.
///
/// [`symbol`]: LoadedObject::symbol
#[derive(Debug, Clone)]
pub struct LoadedObject {
    path: PathBuf,
    handle: NonNull<c_void>,
}

// SAFETY: a handle of the loader belongs to no thread, and it is never closed.
unsafe impl Send for LoadedObject {}
// SAFETY: the loader takes its own lock in every call that is made with the handle.
unsafe impl Sync for LoadedObject {}

impl LoadedObject {
    /// Loads `path` privately (`RTLD_LOCAL`), everything bound at once, for good. The error is the loader's own text.
    ///
    /// Runs the constructors of the object: only for leakline's own libraries.
    pub fn load(path: &Path) -> Result<Self, String> {
        open(path, libc::RTLD_NOW | libc::RTLD_LOCAL)
    }

    /// Where it was loaded from, as the loader names it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The address of `name` in this object or in what it needs.
    pub fn symbol(&self, name: &CStr) -> Option<NonNull<c_void>> {
        // SAFETY: the handle is open for good, and `name` ends with a NUL.
        NonNull::new(unsafe { libc::dlsym(self.handle.as_ptr(), name.as_ptr()) })
    }

    /// Makes its symbols visible to everything that is loaded from now on, as if it had been loaded with `RTLD_GLOBAL`.
    pub fn promote_to_global(&self) -> Result<(), String> {
        open(&self.path, libc::RTLD_NOW | libc::RTLD_NOLOAD | libc::RTLD_GLOBAL).map(drop)
    }
}

/// The first loaded object whose file name begins with one of `prefixes` (such as `libpython3`, `libjvm.so`).
/// The program itself is never meant: it has no name here.
pub fn loaded_object(prefixes: &[&str]) -> Option<LoadedObject> {
    let mut found = Vec::new();
    each_object(&mut |object| {
        if file_name_begins(object.name, prefixes) {
            found.push(PathBuf::from(OsStr::from_bytes(object.name)));
        }
        true
    });
    // Opened outside the walk, which holds the loader's lock.
    found.iter().find_map(|path| {
        let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD;
        // Android's loader knows a library that stands inside of an APK by its name, too.
        open(path, flags).ok().or_else(|| open(Path::new(path.file_name()?), flags).ok())
    })
}

/// How many objects were loaded and unloaded so far: as long as the number is the same, nothing new can be found.
/// `None` where the system does not count them.
pub fn generation() -> Option<u64> {
    counts().map(|counts| counts.adds.wrapping_add(counts.subs))
}

/// How many objects were unloaded so far; 0 where the system does not count them.
pub fn unloaded() -> u64 {
    counts().map_or(0, |counts| counts.subs)
}

fn counts() -> Option<Counts> {
    let mut found = None;
    each_object(&mut |object| {
        found = object.counts;
        false
    });
    found
}

/// Asks for objects again and again, and looks only when something was loaded since.
#[derive(Debug)]
pub struct Watch {
    prefixes: &'static [&'static str],
    seen: Option<u64>,
}

impl Watch {
    /// Watches for a file name that begins with one of `prefixes`.
    pub fn new(prefixes: &'static [&'static str]) -> Self {
        Self { prefixes, seen: None }
    }

    /// Whether something was loaded or unloaded since the last call; true the first time.
    pub fn changed(&mut self) -> bool {
        let now = generation();
        let changed = now.is_none() || now != self.seen;
        self.seen = now;
        changed
    }

    /// The object, if it is there and was not seen to be missing since the last load.
    pub fn look(&mut self) -> Option<LoadedObject> {
        if self.changed() { loaded_object(self.prefixes) } else { None }
    }
}

/// Where the object begins that holds the code or data at `address`. Nothing is read there, and nothing is allocated.
pub fn base_of(address: usize) -> Option<usize> {
    info_of(address).map(|info| info.dli_fbase as usize)
}

/// Whether the shared object at `one` comes before that at `other` in the loader's order, in which names are looked up.
/// False where either is none. Nothing is allocated.
pub fn comes_before(one: usize, other: usize) -> bool {
    let (Some(one), Some(other)) = (base_of(one), base_of(other)) else { return false };
    let mut first = None;
    each_object(&mut |object| {
        first = Some(object.base).filter(|base| *base == one || *base == other);
        first.is_none()
    });
    one != other && first == Some(one)
}

/// The file that holds the code or data at `address`, made absolute where possible; `None` for memory that belongs to
/// no object. Nothing is read at the address.
pub fn object_at(address: usize) -> Option<PathBuf> {
    let info = info_of(address)?;
    if info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader keeps the name as long as the object is loaded.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    let path = PathBuf::from(OsStr::from_bytes(name.to_bytes()));
    Some(std::fs::canonicalize(&path).unwrap_or(path))
}

/// Whether both addresses lie in the same loaded object.
pub fn same_object(one: usize, other: usize) -> bool {
    let base = |address| info_of(address).map(|info| info.dli_fbase);
    base(one).is_some_and(|one| base(other) == Some(one))
}

/// Whether `address` lies in the program itself, and not in a library.
pub fn is_program(address: usize) -> bool {
    // SAFETY: takes a number.
    let headers = unsafe { libc::getauxval(libc::AT_PHDR) };
    same_object(address, headers as usize)
}

fn info_of(address: usize) -> Option<libc::Dl_info> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: dladdr only compares the address, and `info` is ours to write.
    if unsafe { libc::dladdr(address as *const c_void, info.as_mut_ptr()) } == 0 {
        return None;
    }
    // SAFETY: zeroed is valid for a struct of pointers, and dladdr filled it.
    Some(unsafe { info.assume_init() })
}

/// The folder of the library (or program) that this code was linked into.
pub fn own_directory() -> Option<PathBuf> {
    let path = object_at(own_directory as *const () as usize).filter(|path| path.is_absolute());
    // The main program is named by argv[0], which may be anything.
    let path = path.or_else(|| std::env::current_exe().ok())?;
    path.parent().map(Path::to_path_buf)
}

fn open(path: &Path, flags: c_int) -> Result<LoadedObject, String> {
    let name =
        CString::new(path.as_os_str().as_bytes()).map_err(|_| "the path has a NUL in it".to_owned())?;
    // SAFETY: `name` ends with a NUL; with RTLD_NOLOAD no foreign constructor runs, without it the caller asked for it.
    match NonNull::new(unsafe { libc::dlopen(name.as_ptr(), flags) }) {
        Some(handle) => Ok(LoadedObject { path: path.to_path_buf(), handle }),
        None => Err(loader_error()),
    }
}

fn loader_error() -> String {
    // SAFETY: dlerror has no preconditions; its text is this thread's own.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "it is not loaded".to_owned();
    }
    // SAFETY: the text is valid until this thread's next call of the loader.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn file_name_begins(path: &[u8], prefixes: &[&str]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    prefixes.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
}

/// Objects that were loaded and unloaded so far.
#[derive(Debug, Clone, Copy)]
struct Counts {
    adds: u64,
    subs: u64,
}

/// An object on a walk.
struct Seen<'a> {
    name: &'a [u8],
    base: usize,
    counts: Option<Counts>,
}

/// What is done with each object; false ends the walk.
type Visit<'a> = &'a mut dyn FnMut(Seen<'_>) -> bool;

#[cfg(any(target_os = "linux", target_os = "android"))]
fn each_object(visit: Visit<'_>) {
    unsafe extern "C" fn step(info: *mut libc::dl_phdr_info, size: usize, visit: *mut c_void) -> c_int {
        // SAFETY: `visit` is the pointer that `each_object` passes below, valid during the walk.
        let visit = unsafe { &mut *visit.cast::<Visit<'_>>() };
        // SAFETY: the loader hands in a valid entry for the time of this call.
        let info = unsafe { &*info };
        // Old bionic passes a shorter struct, which ends before the counters.
        #[expect(clippy::useless_conversion, reason = "32 bits wide on some targets")]
        let counts = (size >= std::mem::offset_of!(libc::dl_phdr_info, dlpi_tls_modid))
            .then(|| Counts { adds: u64::from(info.dlpi_adds), subs: u64::from(info.dlpi_subs) });
        let seen = Seen { name: name_of(&info.dlpi_name), base: info.dlpi_addr as usize, counts };
        // A panic must not unwind into the loader; the closures here do nothing but compare and push.
        let go_on = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| visit(seen)));
        c_int::from(!go_on.unwrap_or(false))
    }

    let mut visit: Visit<'_> = visit;
    // SAFETY: `step` matches the signature, and `visit` outlives the walk.
    unsafe { libc::dl_iterate_phdr(Some(step), (&raw mut visit).cast()) };
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn name_of(name: &*const c_char) -> &[u8] {
    if name.is_null() {
        return &[];
    }
    // SAFETY: a name of the loader ends with a NUL and lives as long as the walk that handed it in.
    unsafe { CStr::from_ptr(*name) }.to_bytes()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn each_object(_visit: Visit<'_>) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_of_libc_is_found_and_a_made_up_one_is_not() {
        assert!(symbol(c"malloc").is_some());
        assert!(symbol(c"leakline_has_no_such_symbol").is_none());
    }

    #[test]
    fn objects_come_in_the_order_in_which_they_were_loaded() {
        let address = |name| symbol(name).unwrap().as_ptr() as usize;
        let (own, libc) = (comes_before as *const () as usize, address(c"malloc"));
        assert!(!comes_before(libc, libc) && !comes_before(libc, own) && !comes_before(0, libc));
        assert!(comes_before(address(c"_Unwind_Backtrace"), libc), "libc is needed by libgcc_s");
    }

    #[test]
    fn a_loaded_object_is_found_by_the_beginning_of_its_file_name() {
        let libc = loaded_object(&["libnothing", "libc.so"]).unwrap();
        assert!(libc.path().is_absolute());
        assert_eq!(libc.symbol(c"getpid"), symbol(c"getpid"));
        assert!(loaded_object(&["ibc.so"]).is_none());
        libc.promote_to_global().unwrap();
    }

    #[test]
    fn prefixes_are_compared_with_the_file_name_only() {
        let cases = [
            ("/usr/lib/libpython3.11.so.1.0", true),
            ("libpython3.so", true),
            ("/opt/libpython3/libother.so", false),
            ("/data/app/base.apk!/lib/arm64-v8a/libpython3.11.so", true),
            ("", false),
        ];
        for (path, expected) in cases {
            assert_eq!(file_name_begins(path.as_bytes(), &["libpython3"]), expected, "{path}");
        }
    }

    #[test]
    fn a_watch_looks_again_only_after_something_was_loaded() {
        let mut watch = Watch::new(&["libc.so"]);
        assert!(watch.look().is_some());
        assert!(watch.look().is_none());
    }

    #[test]
    fn loading_what_is_not_there_says_so_with_the_path() {
        let error = LoadedObject::load(Path::new("/nowhere/libx.so")).unwrap_err();
        assert!(error.contains("/nowhere/libx.so"), "{error}");
    }

    #[test]
    fn our_own_folder_is_where_the_test_program_is() {
        let program = std::env::current_exe().unwrap();
        assert_eq!(own_directory().as_deref(), program.parent());
    }
}
