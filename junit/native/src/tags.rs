//! Tags on classes: by them a callback knows at once whether a class is asked for, and which.
//! Never on other objects.

use std::ffi::c_void;
use std::mem::transmute;

use jni::sys;
use leakline_probing::java::jvmti::Jvmti;

/// Numbers of functions.
const GET_TAG: usize = 106;
const SET_TAG: usize = 107;

type Env = *mut *const *const c_void;
type GetTag = unsafe extern "system" fn(Env, sys::jobject, *mut i64) -> i32;
type SetTag = unsafe extern "system" fn(Env, sys::jobject, i64) -> i32;

/// 0: none.
///
/// # Safety
///
/// `class` is a reference that is alive.
pub(crate) unsafe fn get(jvmti: Jvmti, class: sys::jclass) -> i64 {
    let mut tag = 0;
    // SAFETY: the function of this number has this type, by the specification.
    let get = unsafe { transmute::<*const c_void, GetTag>(jvmti.function(GET_TAG)) };
    // SAFETY: the caller's promise, and the number is ours.
    let error = unsafe { get(jvmti.raw(), class, &raw mut tag) };
    if error == 0 { tag } else { 0 }
}

/// # Safety
///
/// As for [`get`].
pub(crate) unsafe fn set(jvmti: Jvmti, class: sys::jclass, tag: i64) {
    // SAFETY: the function of this number has this type, by the specification.
    let set = unsafe { transmute::<*const c_void, SetTag>(jvmti.function(SET_TAG)) };
    // SAFETY: the caller's promise.
    unsafe { set(jvmti.raw(), class, tag) };
}

/// A class's name as a histogram and as the tool interface write it, made equal: `java.lang.String`, `[Ljava.lang.Object;`.
/// Those of classes that are made at run time differ by a slash.
pub(crate) fn plain(name: &str) -> String {
    let name = match name.strip_prefix('L').and_then(|name| name.strip_suffix(';')) {
        Some(class) => class,
        None => name,
    };
    name.replace('/', ".")
}

#[cfg(test)]
mod tests {
    use super::plain;

    fn check(histogram: &str, signature: &str) {
        assert_eq!(plain(histogram), plain(signature));
    }

    #[test]
    fn both_ways_to_write_a_class_are_one() {
        check("java.lang.String", "Ljava/lang/String;");
        check("[B", "[B");
        check("[[Ljava.lang.Object;", "[[Ljava/lang/Object;");
        check("Lamp", "LLamp;");
        check("a.Foo$$Lambda/0x0800c001f2b0", "La/Foo$$Lambda.0x0800c001f2b0;");
    }
}
