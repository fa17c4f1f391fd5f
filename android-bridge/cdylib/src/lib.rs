//! `libleakline_jni.so`: what a JVM loads. Everything stands in crate `leakline-android`, which is tested on its own.
//! Never here: anything else than the two entries, the heap, and the agent's C names (for `import leakline`).

// Linked for what it exports.
use leakline_c as _;

/// The agent's memory is not the host's: it never shows up in the host's malloc.
#[global_allocator]
static HEAP: leakline_probing::heap::OwnHeap = leakline_probing::heap::OwnHeap;

/// Called by the JVM when it loads the library.
#[unsafe(no_mangle)]
extern "system" fn JNI_OnLoad(vm: leakline_android::RawVm, _: *mut std::ffi::c_void) -> i32 {
    leakline_android::on_load(vm)
}

/// Called by a JVM that attaches the library as an agent, which may have it loaded already.
#[unsafe(no_mangle)]
extern "system" fn Agent_OnAttach(
    _: leakline_android::RawVm,
    _: *mut std::ffi::c_char,
    _: *mut std::ffi::c_void,
) -> i32 {
    leakline_android::on_attach()
}
