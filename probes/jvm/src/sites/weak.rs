//! The weak references by which samples are kept, and how many there are: they are leakline's, and no concern of the host's.
//! Never leaves an exception behind.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use jni::sys;

use crate::env::table;

/// More local references than HotSpot has room for anyway, or its checks take no notice.
const LOCALS: sys::jint = 64;

/// How many there are, those that a callback has in its hands among them.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// How many there are.
pub(super) fn count() -> u64 {
    COUNT.load(Relaxed)
}

/// They went with their JVM.
pub(super) fn forget() {
    COUNT.store(0, Relaxed);
}

/// Has HotSpot's own checks (`-Xcheck:jni`) know that there may be many local references: they count those that the host's
/// native code holds around a callback, and would complain of us if they are more than a few.
///
/// # Safety
///
/// `jni` is the calling thread's.
pub(super) unsafe fn make_room(jni: *mut sys::JNIEnv) {
    // SAFETY: the caller's promise; there is nothing to be undone, for this ends with the callback.
    unsafe { (table(jni).EnsureLocalCapacity)(jni, LOCALS) };
}

/// A reference to `object`; null where there is no memory for it.
///
/// # Safety
///
/// `jni` is the calling thread's, and `object` a reference that is alive.
pub(super) unsafe fn new(jni: *mut sys::JNIEnv, object: sys::jobject) -> sys::jweak {
    let functions = table(jni);
    // SAFETY: the caller's promise.
    let weak = unsafe { (functions.NewWeakGlobalRef)(jni, object) };
    if !weak.is_null() {
        COUNT.fetch_add(1, Relaxed);
        return weak;
    }
    // SAFETY: as above.
    if unsafe { (functions.ExceptionCheck)(jni) } {
        // No memory for it: the host's allocation succeeded, and must not fail for us.
        // SAFETY: as above.
        unsafe { (functions.ExceptionClear)(jni) };
    }
    weak
}

/// Whether the object was collected.
///
/// # Safety
///
/// `jni` is the calling thread's, and nobody deletes the reference meanwhile.
pub(super) unsafe fn is_collected(jni: *mut sys::JNIEnv, weak: sys::jweak) -> bool {
    // SAFETY: the caller's promise; a weak reference that was collected is the same as null.
    unsafe { (table(jni).IsSameObject)(jni, weak, std::ptr::null_mut()) }
}

/// # Safety
///
/// As for [`is_collected`], and nobody uses the reference any more.
pub(super) unsafe fn delete(jni: *mut sys::JNIEnv, weak: sys::jweak) {
    // SAFETY: the caller's promise.
    unsafe { (table(jni).DeleteWeakGlobalRef)(jni, weak) };
    COUNT.fetch_sub(1, Relaxed);
}
