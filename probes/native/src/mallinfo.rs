//! Finds and asks the C library's own count of its heap.
//! Never reads an allocator that is not the one behind the host's `malloc`.

use std::borrow::Cow;
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

use leakline_probing::loader::{self, symbol};

use crate::allocator::jemalloc::{self, Mallctl};
use crate::allocator::tcmalloc::{self, GetProperty};

/// The address of a function.
type Symbol = NonNull<c_void>;

/// What malloc counts, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// In use, blocks that were mapped one by one included. On glibc also what its threads cache for reuse.
    pub(crate) live: u64,
    /// Free inside malloc's heaps.
    pub(crate) free: u64,
    /// In blocks that were mapped one by one; `None` where malloc does not tell them apart.
    pub(crate) mapped: Option<u64>,
}

/// A way to ask.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    /// `mallinfo2`: glibc 2.33 and later.
    Wide(unsafe extern "C" fn() -> Fields<usize>),
    /// glibc's `mallinfo`: 32 bits, so numbers wrap at 4 GiB.
    Narrow(unsafe extern "C" fn() -> Fields<c_int>),
    /// bionic's `mallinfo`: wide, and its `hblkhd` is everything that is mapped.
    Bionic(unsafe extern "C" fn() -> Fields<usize>),
    /// jemalloc's own statistics.
    Jemalloc(Mallctl),
    /// gperftools' own statistics. Its `mallinfo` has 32 bits.
    Tcmalloc(GetProperty),
}

/// `struct mallinfo` and `struct mallinfo2`, in the C library's names.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fields<T> {
    pub(crate) arena: T,
    pub(crate) ordblks: T,
    pub(crate) smblks: T,
    pub(crate) hblks: T,
    pub(crate) hblkhd: T,
    pub(crate) usmblks: T,
    pub(crate) fsmblks: T,
    pub(crate) uordblks: T,
    pub(crate) fordblks: T,
    pub(crate) keepcost: T,
}

impl Source {
    /// The one that speaks for the `malloc` which the host calls, or why there is none.
    pub(crate) fn find() -> Result<Self, Cow<'static, str>> {
        let malloc = host_malloc().ok_or("the process has no malloc that can be found")?;
        if let Some((_, mallctl)) = jemalloc::find().filter(|(found, _)| library(*found) == library(malloc)) {
            return Ok(Self::Jemalloc(mallctl));
        }
        if let Some((_, property)) = tcmalloc::find().filter(|(found, _)| library(*found) == library(malloc))
        {
            return Ok(Self::Tcmalloc(property));
        }
        if let Some(mallinfo2) = symbol(c"mallinfo2").filter(|_| cfg!(not(target_os = "android"))) {
            same_library(malloc, mallinfo2)?;
            // SAFETY: a function of this name returns ten `size_t` and takes nothing, wherever it exists.
            let ask =
                unsafe { std::mem::transmute::<Symbol, unsafe extern "C" fn() -> Fields<usize>>(mallinfo2) };
            return Ok(Self::Wide(ask));
        }
        let mallinfo = symbol(c"mallinfo").ok_or("this C library's malloc does not count (musl does not)")?;
        same_library(malloc, mallinfo)?;
        Ok(if cfg!(target_os = "android") { Self::bionic(mallinfo) } else { Self::narrow(mallinfo) })
    }

    fn bionic(mallinfo: Symbol) -> Self {
        // SAFETY: on Android a function of this name returns ten `size_t` and takes nothing.
        let ask = unsafe { std::mem::transmute::<Symbol, unsafe extern "C" fn() -> Fields<usize>>(mallinfo) };
        Self::Bionic(ask)
    }

    fn narrow(mallinfo: Symbol) -> Self {
        // SAFETY: outside of Android a function of this name returns ten `int` and takes nothing.
        let ask = unsafe { std::mem::transmute::<Symbol, unsafe extern "C" fn() -> Fields<c_int>>(mallinfo) };
        Self::Narrow(ask)
    }

    /// Asks. Takes each arena's lock in turn; its time follows the number of free blocks.
    pub(crate) fn ask(self) -> Counts {
        match self {
            Self::Jemalloc(mallctl) => jemalloc::ask(mallctl),
            Self::Tcmalloc(property) => tcmalloc::ask(property),
            Self::Wide(ask) => {
                // SAFETY: `find` looked this function up; it may be called from any thread at any time.
                let fields = unsafe { ask() };
                glibc(fields.hblkhd as u64, fields.uordblks as u64, fields.fordblks as u64)
            }
            Self::Narrow(ask) => {
                // SAFETY: `find` looked this function up; it may be called from any thread at any time.
                let fields = unsafe { ask() };
                let wide = |value: c_int| u64::from(value as u32);
                glibc(wide(fields.hblkhd), wide(fields.uordblks), wide(fields.fordblks))
            }
            Self::Bionic(ask) => {
                // SAFETY: `find` looked this function up; it may be called from any thread at any time.
                let fields = unsafe { ask() };
                Counts { live: fields.uordblks as u64, free: fields.fordblks as u64, mapped: None }
            }
        }
    }

    /// What a user must know of the numbers.
    pub(crate) fn caveat(self) -> Option<&'static str> {
        matches!(self, Self::Narrow(_))
            .then_some("this glibc (older than 2.33) counts malloc in 32 bits: its numbers wrap at 4 GiB")
    }

    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Wide(_) => "glibc malloc (mallinfo2)",
            Self::Narrow(_) => "glibc malloc (mallinfo)",
            Self::Bionic(_) => "bionic malloc (mallinfo)",
            Self::Jemalloc(_) => "jemalloc (mallctl)",
            Self::Tcmalloc(_) => "tcmalloc (gperftools)",
        }
    }
}

fn glibc(hblkhd: u64, uordblks: u64, fordblks: u64) -> Counts {
    Counts { live: uordblks.saturating_add(hblkhd), free: fordblks, mapped: Some(hblkhd) }
}

/// The `malloc` that the host calls, or that the hook calls for it.
pub(crate) fn host_malloc() -> Option<Symbol> {
    if let Some(behind) = crate::hook::behind() {
        return Some(behind);
    }
    let found = symbol(c"malloc")?;
    if is_stub(found) { loader::next_symbol(c"malloc").or(Some(found)) } else { Some(found) }
}

/// Whether `function` is only a jump in a program that was not built position-independent (Debian's python3) and that
/// takes malloc's address: the loader then calls that jump the function, and the real one stands in a library.
#[cfg(target_env = "gnu")]
pub(crate) fn is_stub(function: Symbol) -> bool {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    let mut entry: *mut c_void = std::ptr::null_mut();
    const RTLD_DL_SYMENT: c_int = 1;
    // SAFETY: dladdr1 only compares the address; `info` and `entry` are ours to write.
    let known = unsafe { libc::dladdr1(function.as_ptr(), info.as_mut_ptr(), &mut entry, RTLD_DL_SYMENT) };
    if known == 0 || entry.is_null() {
        return false;
    }
    #[cfg(target_pointer_width = "64")]
    type Entry = libc::Elf64_Sym;
    #[cfg(target_pointer_width = "32")]
    type Entry = libc::Elf32_Sym;
    // SAFETY: with RTLD_DL_SYMENT the loader gives its own symbol table's entry, which stays as long as the object.
    let section = unsafe { (*entry.cast::<Entry>()).st_shndx };
    const SHN_UNDEF: u16 = 0;
    section == SHN_UNDEF
}

#[cfg(not(target_env = "gnu"))]
pub(crate) fn is_stub(_: Symbol) -> bool {
    false
}

/// An allocator that was preloaded or linked brings `malloc`, but often not `mallinfo`: then the C library's answer is
/// about a heap that nobody uses.
fn same_library(malloc: Symbol, mallinfo: Symbol) -> Result<(), Cow<'static, str>> {
    match (library(malloc), library(mallinfo)) {
        (Some(ours), Some(theirs)) if ours != theirs => Err(Cow::Owned(format!(
            "malloc is that of {ours}, which has no mallinfo; {theirs}'s would count a heap that is not used"
        ))),
        _ => Ok(()),
    }
}

/// The file name of the library (or program) that `function` lies in.
fn library(function: Symbol) -> Option<String> {
    let path = loader::object_at(function.as_ptr() as usize)?;
    // The loader knows the program by its first argument only, which a watcher has changed in its copy.
    let path = if loader::is_program(function.as_ptr() as usize) {
        std::env::current_exe().unwrap_or(path)
    } else {
        path
    };
    Some(path.file_name()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_env = "gnu")]
    fn the_narrow_and_the_wide_count_agree_below_4_gib() {
        let wide = Source::find().unwrap();
        let narrow = Source::narrow(symbol(c"mallinfo").unwrap());
        assert!(narrow.caveat().is_some() && wide.caveat().is_none());
        // Other tests allocate meanwhile.
        let close = (0..1000).any(|_| wide.ask() == narrow.ask());
        assert!(close, "{:?} {:?}", wide.ask(), narrow.ask());
    }

    #[test]
    fn another_library_than_mallocs_own_is_named() {
        let malloc = symbol(c"malloc").unwrap();
        let elsewhere = NonNull::from(&ELSEWHERE).cast();
        let reason = same_library(elsewhere, malloc).unwrap_err();
        assert!(reason.contains("libc.so.6"), "{reason}");
        assert_eq!(same_library(malloc, malloc), Ok(()));
    }

    static ELSEWHERE: u8 = 1;
}
