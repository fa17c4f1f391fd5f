use super::*;

/// What is in mappings of these names beside a file's pages, and which pages are counted.
fn check(names: &[&str], expected: (Class, Pages)) {
    for name in names {
        assert_eq!(class(name.as_bytes()), expected, "{name}");
        let gone = format!("{name} (deleted)");
        if name.starts_with('/') {
            assert_eq!(class(gone.as_bytes()), expected, "{gone}");
        }
    }
}

#[test]
fn names_of_linux_are_known() {
    check(&[""], (Class::Unnamed, Pages::Anonymous));
    check(&["[heap]", "[anon: glibc: malloc arena]"], (Class::Malloc, Pages::Anonymous));
    check(&["[stack]", "[stack:4711]"], (Class::Stacks, Pages::Anonymous));
    check(&["[anon:cpython:pymalloc]"], (Class::Python, Pages::Anonymous));
    check(&["[anon:somebody's]", "anon_inode:[perf_event]"], (Class::Other, Pages::Anonymous));
    check(&["/usr/lib/libc.so.6", "/opt/app.jar", "/f/DejaVuSans.ttf"], (Class::Libraries, Pages::Anonymous));
    check(&["/opt/jdk/lib/server/classes.jsa"], (Class::JavaOther, Pages::Anonymous));
    check(&["/memfd:java_heap"], (Class::JavaHeap, Pages::Shared));
    check(&["/memfd:a buffer", "/SYSV00000000", "/dev/shm/x", "/dev/zero"], (Class::Other, Pages::Shared));
    check(&["/dev/dri/renderD128", "/i915", "/dev/nvidia0"], (Class::Graphics, Pages::Shared));
    check(&["[vvar]", "[vdso]", "/anon_hugepage", "/dev/hugepages/x"], (Class::Other, Pages::Uncounted));
}

#[test]
fn names_of_android_are_known() {
    check(
        &[
            "[anon:libc_malloc]",
            "[anon:scudo:primary]",
            "[anon:scudo:secondary]",
            "[anon:GWP-ASan Guard Page]",
            "[anon:jemalloc]",
        ],
        (Class::Malloc, Pages::Anonymous),
    );
    check(
        &["[anon:stack_and_tls:4711]", "[anon:thread signal stack]", "[stack]"],
        (Class::Stacks, Pages::Anonymous),
    );
    check(
        &[
            "[anon:.bss]",
            "[anon:linker_alloc]",
            "/data/app/~~x==/com.example.app-y==/lib/arm64/libapp.so",
            "/data/app/base.apk",
            "/system/fonts/Roboto-Regular.ttf",
        ],
        (Class::Libraries, Pages::Anonymous),
    );
    check(
        &[
            "[anon:dalvik-main space (region space)]",
            "[anon:dalvik-main space 1]",
            "[anon:dalvik-alloc space]",
            "[anon:dalvik-large object space allocation]",
            "[anon:dalvik-free list large object space]",
            "[anon:dalvik-non moving space]",
            "[anon:dalvik-zygote space]",
        ],
        (Class::JavaHeap, Pages::Anonymous),
    );
    check(
        &["/dev/ashmem/dalvik-main space", "[anon_shmem:dalvik-main space]", "/memfd:dalvik-main space"],
        (Class::JavaHeap, Pages::Shared),
    );
    check(
        &[
            "[anon:dalvik-LinearAlloc]",
            "[anon:dalvik-indirect ref table]",
            "[anon:dalvik-card table]",
            "[anon:dalvik-large object free list space allocation info map]",
            "[anon:dalvik-allocspace non moving space live-bitmap 3]",
            "[anon:dalvik-/apex/com.android.art/javalib/boot.art]",
            "/data/app/oat/arm64/base.odex",
            "/data/app/oat/arm64/base.vdex",
            "/system/framework/arm64/boot.oat",
            "/system/framework/arm64/boot.art",
            "/data/data/com.example.app/code_cache/classes.dex",
        ],
        (Class::JavaOther, Pages::Anonymous),
    );
    check(&["[anon_shmem:dalvik-card table]"], (Class::JavaOther, Pages::Shared));
    check(
        &["[anon:dalvik-jit-code-cache]", "[anon:dalvik-zygote-data-code-cache]"],
        (Class::JavaCode, Pages::Anonymous),
    );
    check(
        &["/memfd:jit-cache", "/memfd:jit-zygote-cache", "/dev/ashmem/dalvik-jit-code-cache"],
        (Class::JavaCode, Pages::Shared),
    );
    check(
        &["/dev/ashmem/GFXStats", "/dev/ashmem/CursorWindow: /data/x", "[anon_shmem:x]"],
        (Class::Other, Pages::Shared),
    );
    check(
        &["/dev/mali0", "/dmabuf:", "/dmabuf", "anon_inode:dmabuf", "anon_inode:/dmabuf"],
        (Class::Graphics, Pages::Shared),
    );
    check(&["/dev/kgsl-3d0"], (Class::GraphicsDevice, Pages::Shared));
    check(&["[anon:partition_alloc]", "[anon:arc4random data]"], (Class::Other, Pages::Anonymous));
}

#[test]
fn kinds_of_files_are_known() {
    for (names, kind) in [
        (
            &["/a/base.odex", "/a/boot.art", "/a/boot.oat (deleted)", "/a/x.vdex", "/a/x.dex", "/a/c.jsa"][..],
            Files::Java,
        ),
        (&["/data/app/base.apk", "/system/framework/core-oj.jar"], Files::Packages),
        (&["/system/fonts/Roboto.ttf", "/f/a.otf", "/f/a.ttc"], Files::Fonts),
        (
            &["/lib/libc.so.6", "", "[heap]", "[anon:dalvik-/x/boot.art]", "/a/ttf", "/usr/bin/python3"],
            Files::Plain,
        ),
    ] {
        for name in names {
            assert_eq!(files(name.as_bytes()), kind, "{name}");
        }
    }
}
