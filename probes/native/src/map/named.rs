//! What the names of mappings stand for, on Linux and on Android.
//! Pure: tables, and nothing but the name. What has a name that is not in them is never guessed at.
//!
//! Android's names are those by which its own `dumpsys meminfo` counts (AOSP, libmeminfo's androidprocheaps.cpp), and those
//! that ART, bionic and scudo give to their memory. Which of that command's rows becomes which part of the ledger:
//!
//! | `meminfo` | here |
//! |---|---|
//! | Dalvik Heap | jvm heap |
//! | Dalvik Other | jvm code cache, jvm other |
//! | Native Heap | malloc |
//! | Stack | thread stacks |
//! | .so mmap | library data, and files |
//! | .dex, .oat, .art mmap | jvm other where written to, java code files |
//! | .apk, .jar mmap | app packages |
//! | .ttf mmap | fonts |
//! | Gfx dev | graphics |
//! | Ashmem, Cursor, Other dev | shared memory, or other mappings where written to |
//! | Unknown | other mappings where they have a name, otherwise unexplained |

use super::class::{Class, Files, Pages};

/// Names that Android, glibc, CPython and others give to anonymous memory, by how they begin.
const LABELS: [(&[u8], Class); 29] = [
    (b"libc_malloc", Class::Malloc),
    (b"scudo:", Class::Malloc),
    (b"GWP-ASan", Class::Malloc),
    (b"jemalloc", Class::Malloc),
    (b"mimalloc", Class::Malloc),
    (b"tcmalloc", Class::Malloc),
    (b" glibc: malloc", Class::Malloc),
    (b" glibc: pthread stack", Class::Stacks),
    (b" glibc: loader malloc", Class::Libraries),
    (b"stack_and_tls", Class::Stacks),
    (b"stack_mte_ring", Class::Stacks),
    (b"thread signal stack", Class::Stacks),
    (b".bss", Class::Libraries),
    (b"linker_alloc", Class::Libraries),
    (b"cpython:", Class::Python),
    (b"dalvik-jit-code-cache", Class::JavaCode),
    (b"dalvik-data-code-cache", Class::JavaCode),
    (b"dalvik-zygote-jit-code-cache", Class::JavaCode),
    (b"dalvik-zygote-data-code-cache", Class::JavaCode),
    // The collector's tables have names that begin almost alike: `large object free list space allocation info map`,
    // `allocspace non moving space live-bitmap`.
    (b"dalvik-main space", Class::JavaHeap),
    (b"dalvik-alloc space", Class::JavaHeap),
    (b"dalvik-large object space", Class::JavaHeap),
    (b"dalvik-free list large object space", Class::JavaHeap),
    (b"dalvik-non moving space", Class::JavaHeap),
    (b"dalvik-zygote space", Class::JavaHeap),
    (b"dalvik-zygote / non moving space", Class::JavaHeap),
    (b"dalvik-bump pointer space", Class::JavaHeap),
    (b"dalvik-", Class::JavaOther),
    (b"leakline", Class::Leakline),
];

/// Paths of memory that no disk is behind, by how they begin.
const SHARED: [(&[u8], Class); 9] = [
    (b"/memfd:java_heap", Class::JavaHeap),
    (b"/memfd:jit-cache", Class::JavaCode),
    (b"/memfd:jit-zygote-cache", Class::JavaCode),
    (b"/dev/ashmem/jit-zygote-cache", Class::JavaCode),
    (b"/memfd:", Class::Other),
    (b"/dev/ashmem", Class::Other),
    (b"/dev/shm/", Class::Other),
    (b"/dev/zero", Class::Other),
    (b"/SYSV", Class::Other),
];

/// What stands before a label, where the memory is shared.
const SHARED_LABELS: [&[u8]; 3] = [b"[anon_shmem:", b"/dev/ashmem/", b"/memfd:"];

/// Devices and buffers of graphics, by how they begin.
const GRAPHICS: [&[u8]; 8] = [
    b"/dev/dri/",
    b"/dev/mali",
    b"/dev/nvidia",
    b"/dmabuf",
    b"anon_inode:dmabuf",
    b"anon_inode:/dmabuf",
    b"anon_inode:i915",
    b"/i915",
];

/// A device whose driver hands out plain pages.
const PAGED_DEVICE: &[u8] = b"/dev/kgsl";

/// Files that a Java runtime maps privately and may write to, by how they end.
const JAVA_FILES: [&[u8]; 6] = [b".jsa", b".art", b".oat", b".odex", b".vdex", b".dex"];

const PACKAGES: [&[u8]; 2] = [b".apk", b".jar"];

const FONTS: [&[u8]; 3] = [b".ttf", b".otf", b".ttc"];

/// What is in a mapping of this name beside a file's pages, and how it is counted.
pub(crate) fn class(name: &[u8]) -> (Class, Pages) {
    let name = present(name);
    if let Some(label) = SHARED_LABELS.iter().find_map(|before| name.strip_prefix(*before)) {
        // ART's memory on older and on the newest versions. Any program may give its memory file any name, and only ART's
        // are as long and as odd as these.
        let art = label.starts_with(b"dalvik-").then(|| by_label(label)).flatten();
        if let Some(class) = art {
            return (class, Pages::Shared);
        }
    }
    if let Some((_, class)) = SHARED.iter().find(|(start, _)| name.starts_with(start)) {
        return (*class, Pages::Shared);
    }
    if name.starts_with(PAGED_DEVICE) {
        return (Class::GraphicsDevice, Pages::Shared);
    }
    if GRAPHICS.iter().any(|start| name.starts_with(start)) {
        return (Class::Graphics, Pages::Shared);
    }
    match name {
        [] => (Class::Unnamed, Pages::Anonymous),
        b"[heap]" => (Class::Malloc, Pages::Anonymous),
        b"[vvar]" | b"[vvar_vclock]" | b"[vsyscall]" | b"[vdso]" => (Class::Other, Pages::Uncounted),
        _ if name.starts_with(b"[stack") => (Class::Stacks, Pages::Anonymous),
        _ if name.starts_with(b"[anon_shmem") => (Class::Other, Pages::Shared),
        _ if name.starts_with(b"/anon_hugepage") || name.starts_with(b"/dev/hugepages") => {
            (Class::Other, Pages::Uncounted)
        }
        [b'[', b'a', b'n', b'o', b'n', b':', label @ ..] => {
            (by_label(label).unwrap_or(Class::Other), Pages::Anonymous)
        }
        [b'/', ..] if ends(name, &JAVA_FILES) => (Class::JavaOther, Pages::Anonymous),
        [b'/', ..] => (Class::Libraries, Pages::Anonymous),
        _ => (Class::Other, Pages::Anonymous),
    }
}

/// What kind of file has this name.
pub(crate) fn files(name: &[u8]) -> Files {
    let name = present(name);
    match name {
        _ if !name.starts_with(b"/") => Files::Plain,
        _ if ends(name, &JAVA_FILES) => Files::Java,
        _ if ends(name, &PACKAGES) => Files::Packages,
        _ if ends(name, &FONTS) => Files::Fonts,
        _ => Files::Plain,
    }
}

fn present(name: &[u8]) -> &[u8] {
    name.strip_suffix(b" (deleted)").unwrap_or(name)
}

fn ends(name: &[u8], endings: &[&[u8]]) -> bool {
    endings.iter().any(|end| name.ends_with(end))
}

fn by_label(label: &[u8]) -> Option<Class> {
    LABELS.iter().find(|(start, _)| label.starts_with(start)).map(|(_, class)| *class)
}

/// Whether `name` is the library of a JVM whose memory has no names. ART's has.
pub(crate) fn is_jvm(name: &[u8]) -> bool {
    ends(name, &[b"/libjvm.so", b"/libj9vm29.so"])
}

#[cfg(test)]
#[path = "named_tests.rs"]
mod tests;
