//! Which malloc the host uses.
//! Looks only at names that are exported: an allocator that was linked in without them is not seen.

pub(crate) mod jemalloc;
pub(crate) mod tcmalloc;

use std::ffi::CStr;

use leakline_probing::loader::symbol;

/// An allocator that is known by a name it exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Glibc,
    Bionic,
    Jemalloc,
    Mimalloc,
    Tcmalloc,
    /// musl, or one that exports nothing of its own.
    Unknown,
}

impl Kind {
    /// The one that stands before the C library's; that it serves `malloc` is likely, not proven.
    pub(crate) fn of_host() -> Self {
        let has = |names: &[&CStr]| names.iter().any(|name| symbol(name).is_some());
        if cfg!(target_os = "android") {
            Self::Bionic
        } else if has(&[c"mallctl", c"je_mallctl"]) {
            Self::Jemalloc
        } else if has(&[c"mi_version", c"mi_malloc"]) {
            Self::Mimalloc
        } else if has(&[c"MallocExtension_GetNumericProperty", c"tc_malloc"]) {
            Self::Tcmalloc
        } else if has(&[c"__libc_malloc"]) {
            Self::Glibc
        } else {
            Self::Unknown
        }
    }

    /// What it is called, for a reading without its numbers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Glibc => "glibc malloc",
            Self::Bionic => "bionic malloc",
            Self::Jemalloc => "jemalloc",
            Self::Mimalloc => "mimalloc",
            Self::Tcmalloc => "tcmalloc",
            Self::Unknown => "an allocator that leakline does not know",
        }
    }
}

/// The sanitizer that the host was built with, whose own interposition nothing may stand before.
pub(crate) fn sanitizer() -> Option<&'static str> {
    [
        (c"__asan_init", "AddressSanitizer"),
        (c"__hwasan_init", "HWAddressSanitizer"),
        (c"__tsan_init", "ThreadSanitizer"),
        (c"__msan_init", "MemorySanitizer"),
        (c"__lsan_init", "LeakSanitizer"),
    ]
    .into_iter()
    .find_map(|(name, sanitizer)| symbol(name).map(|_| sanitizer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_env = "gnu")]
    fn a_plain_program_has_its_c_librarys_malloc_and_no_sanitizer() {
        assert_eq!((Kind::of_host(), sanitizer()), (Kind::Glibc, None));
    }
}
