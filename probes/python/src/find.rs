//! Finds CPython in this process, and the library with leakline's Python part on disk.
//! Never links, starts or changes an interpreter; reads two facts about it that need no GIL.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use leakline_core::ProbeError;
use leakline_probing::loader::{self, LoadedObject};

use crate::wire::LIBRARY_NAME;

/// File names of libpython begin so; the program itself may be one, too.
const LIBPYTHON: &[&str] = &["libpython3"];
/// Names the file of the Python part, where it does not stand beside the agent's.
pub(crate) const LIBRARY_VARIABLE: &str = "LEAKLINE_PYTHON_LIBRARY";

/// A CPython that is loaded; it may not have been started yet.
#[derive(Debug, Clone)]
pub(crate) struct CPython {
    is_initialized: unsafe extern "C" fn() -> c_int,
    version: String,
    /// The library it is in; `None` where its symbols are visible to everybody.
    library: Option<LoadedObject>,
}

impl CPython {
    /// Looks for it: in the program and what it shows to everybody, then in libraries that were loaded privately.
    pub(crate) fn find() -> Option<Self> {
        let everywhere = |name: &CStr| loader::symbol(name);
        Self::from_symbols(everywhere, None).or_else(|| {
            let library = loader::loaded_object(LIBPYTHON)?;
            Self::from_symbols(|name| library.symbol(name), Some(library.clone()))
        })
    }

    fn from_symbols(
        symbol: impl Fn(&CStr) -> Option<NonNull<c_void>>,
        library: Option<LoadedObject>,
    ) -> Option<Self> {
        let is_initialized = symbol(c"Py_IsInitialized")?;
        let version = symbol(c"Py_GetVersion")?;
        // SAFETY: this name has had this signature in every CPython.
        let is_initialized = unsafe {
            std::mem::transmute::<NonNull<c_void>, unsafe extern "C" fn() -> c_int>(is_initialized)
        };
        // SAFETY: as above.
        let version = unsafe {
            std::mem::transmute::<NonNull<c_void>, unsafe extern "C" fn() -> *const c_char>(version)
        };
        // SAFETY: it may be called before the interpreter is started, and needs no GIL.
        let version = unsafe { version() };
        if version.is_null() {
            return None;
        }
        // SAFETY: CPython gives a text of its own that is never freed.
        let version = unsafe { CStr::from_ptr(version) }.to_string_lossy().into_owned();
        Some(Self { is_initialized, version, library })
    }

    /// Whether its interpreter runs. Cheap, from any thread.
    pub(crate) fn is_initialized(&self) -> bool {
        // SAFETY: it reads a flag, and may be called at any time from any thread.
        unsafe { (self.is_initialized)() != 0 }
    }

    /// Why leakline cannot read it; `None` if it can.
    pub(crate) fn unfit(&self) -> Option<String> {
        unfit(&self.version)
    }

    /// Whether `os.fork` warns of a process that has threads: from 3.12 on.
    pub(crate) fn warns_of_threads(&self) -> bool {
        let mut parts = self.version.split(['.', ' ']).map(|part| part.parse::<u32>().unwrap_or(0));
        let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        (major, minor) >= (3, 12)
    }

    /// The library it is in, where its names are not visible to everybody.
    pub(crate) fn library(&self) -> Option<&LoadedObject> {
        self.library.as_ref()
    }

    /// The address of one of its names.
    pub(crate) fn symbol(&self, name: &CStr) -> Option<NonNull<c_void>> {
        self.library.as_ref().and_then(|library| library.symbol(name)).or_else(|| loader::symbol(name))
    }

    /// Makes its symbols visible to the Python part. Android's loader does as if, and looks there for nobody.
    pub(crate) fn promote(&self) -> Result<(), ProbeError> {
        match &self.library {
            None => Ok(()),
            Some(library) => library.promote_to_global().map_err(|reason| {
                ProbeError::failed(
                    "making libpython visible",
                    format!("{reason}: {}", library.path().display()),
                )
            }),
        }
    }
}

/// Judges what `Py_GetVersion` says, such as `3.11.7 (main, Dec  8 2023, 18:56:57) [GCC 12.2.0]`.
fn unfit(version: &str) -> Option<String> {
    let number = version.split_whitespace().next().unwrap_or(version);
    let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if (major, minor) < (3, 9) {
        return Some(format!("CPython {number} is too old: leakline reads 3.9 and newer"));
    }
    if version.contains("free-threading") {
        return Some(format!("CPython {number} is a free-threaded build, which leakline cannot read yet"));
    }
    None
}

/// The file with the Python part: where somebody says, or beside our own image, or in `../lib/leakline` from there.
pub(crate) fn python_part(option: Option<&Path>) -> Result<PathBuf, ProbeError> {
    let told =
        option.map(Path::to_path_buf).or_else(|| std::env::var_os(LIBRARY_VARIABLE).map(PathBuf::from));
    let places = match (told.filter(|told| !told.as_os_str().is_empty()), loader::own_directory()) {
        (Some(told), _) => vec![told],
        (None, Some(own)) => vec![own.join(LIBRARY_NAME), own.join("../lib/leakline").join(LIBRARY_NAME)],
        (None, None) => Vec::new(),
    };
    match places.iter().find(|place| place.is_file()) {
        Some(found) => Ok(found.clone()),
        // It may stand inside of the APK, where only the loader finds it, by its name.
        None if cfg!(target_os = "android") => Ok(PathBuf::from(LIBRARY_NAME)),
        None => {
            let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
            Err(ProbeError::failed(
                "finding leakline's Python part",
                format!(
                    "no such file: {} (put {LIBRARY_NAME} beside the agent's library, or name it in {LIBRARY_VARIABLE})",
                    places.join(", ")
                ),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_from_3_9_on_are_read_and_others_are_named() {
        let cases = [
            ("3.9.18 (main, Oct  1 2023) [GCC]", None),
            ("3.14.0 (main) [Clang]", None),
            ("3.8.18 (default) [GCC]", Some("CPython 3.8.18 is too old: leakline reads 3.9 and newer")),
            ("2.7.18 (default)", Some("CPython 2.7.18 is too old: leakline reads 3.9 and newer")),
            (
                "3.13.0 experimental free-threading build (main)",
                Some("CPython 3.13.0 is a free-threaded build, which leakline cannot read yet"),
            ),
        ];
        for (version, expected) in cases {
            assert_eq!(unfit(version).as_deref(), expected, "{version}");
        }
    }

    #[test]
    fn a_missing_python_part_names_the_place_and_the_remedy() {
        let error = python_part(Some(Path::new("/nowhere/x.so"))).unwrap_err().to_string();
        assert_eq!(
            error,
            "finding leakline's Python part: no such file: /nowhere/x.so (put libleakline_cpython.so beside the \
             agent's library, or name it in LEAKLINE_PYTHON_LIBRARY)"
        );
    }

    #[test]
    fn a_program_without_python_has_none() {
        assert!(CPython::find().is_none());
    }
}
