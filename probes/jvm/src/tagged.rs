//! An environment of the tool interface in which objects have tags, for one walk.
//!
//! Tags belong to an environment: this one is made for a walk and disposed of after it, so that the collector, which has
//! to look after tags, does so for no longer.

use std::ffi::c_void;
use std::mem::transmute;

use jni::sys;

use crate::error::JvmError;
use crate::jvmti::{self, Jvmti};
use crate::vm::Vm;

/// Numbers of functions.
const SET_TAG: usize = 107;
const FOLLOW_REFERENCES: usize = 115;
const GET_TAG: usize = 106;
const GET_CLASS_LOADER: usize = 57;

pub(crate) type Env = *mut *const *const c_void;
pub(crate) type Error = i32;
type GetTag = unsafe extern "system" fn(Env, sys::jobject, *mut i64) -> Error;
type GetClassLoader = unsafe extern "system" fn(Env, sys::jclass, *mut sys::jobject) -> Error;
type SetTag = unsafe extern "system" fn(Env, sys::jobject, i64) -> Error;
type FollowReferences =
    unsafe extern "system" fn(Env, i32, sys::jclass, sys::jobject, *const Callbacks, *const c_void) -> Error;

/// Told of one reference: its kind, and of what it leads to the class's tag, and the object's own.
pub(crate) type OnReference = unsafe extern "system" fn(
    kind: i32,
    info: *const c_void,
    class: i64,
    referrer_class: i64,
    size: i64,
    tag: *mut i64,
    referrer_tag: *mut i64,
    length: i32,
    user_data: *mut c_void,
) -> i32;

/// Told of an array of primitives that is visited, once: its class's tag, its size, its own tag, and its elements.
pub(crate) type OnArray = unsafe extern "system" fn(
    class: i64,
    size: i64,
    tag: *mut i64,
    length: i32,
    kind: i32,
    elements: *const c_void,
    user_data: *mut c_void,
) -> i32;

/// The specification's struct of 16 functions.
#[repr(C)]
struct Callbacks {
    object: usize,
    reference: OnReference,
    field: usize,
    array: Option<OnArray>,
    others: [usize; 12],
}

/// Local references to classes, as many as HotSpot lets one ask for.
pub(crate) const LOCALS: i32 = 65_536;
/// Classes that get a number.
const MAX_CLASSES: usize = 1 << 20;

/// What is answered for a reference: not to go on from this object, to go on, not to go on at all.
pub(crate) const VISIT_NOTHING: i32 = 0;
pub(crate) const VISIT_OBJECTS: i32 = 0x100;
pub(crate) const VISIT_ABORT: i32 = 0x8000;

/// Ours until it is dropped.
pub(crate) struct Tagged(Jvmti);

impl Tagged {
    /// On a thread that is in the JVM.
    pub(crate) fn new(vm: Vm) -> Result<Self, JvmError> {
        let refused = |said: &str| JvmError::Refused { what: "the tool interface", said: said.to_owned() };
        let raw = vm.tools(jvmti::VERSION).ok_or_else(|| refused("there is none"))?;
        // SAFETY: it was asked for by this version, and is disposed of only when this is dropped.
        let jvmti = unsafe { Jvmti::from_raw(raw) }.ok_or_else(|| refused("there is none"))?;
        let tagged = Self(jvmti);
        if tagged.0.add_tags() { Ok(tagged) } else { Err(refused("it gives no tags")) }
    }

    /// Its functions.
    pub(crate) fn jvmti(&self) -> Jvmti {
        self.0
    }

    /// # Safety
    ///
    /// `object` is a reference that is alive.
    pub(crate) unsafe fn tag(&self, object: sys::jobject, tag: i64) -> bool {
        // SAFETY: the function of this number has this type, by the specification.
        let set = unsafe { transmute::<*const c_void, SetTag>(self.0.function(SET_TAG)) };
        // SAFETY: the caller's promise.
        unsafe { set(self.0.raw(), object, tag) == 0 }
    }

    /// Gives every loaded class its place in the result, from 1, as its tag; 0 is left for those that are loaded meanwhile. The
    /// references are local: there must be room for [`LOCALS`].
    pub(crate) fn tag_classes(&self) -> Vec<sys::jclass> {
        let mut classes = self.0.loaded_classes();
        classes.truncate(MAX_CLASSES);
        for (index, class) in classes.iter().enumerate() {
            // SAFETY: the reference is alive. A class that cannot be tagged is among the others.
            unsafe { self.tag(*class, index as i64 + 1) };
        }
        classes
    }

    /// Follows references from the JVM's roots, with the world at rest: weak ones as well as strong ones. `what` names the
    /// result for an error.
    ///
    /// # Safety
    ///
    /// `reference` and `array` take `user_data`, call nothing of the JVM's, and never panic.
    pub(crate) unsafe fn follow(
        &self,
        what: &'static str,
        reference: OnReference,
        array: Option<OnArray>,
        user_data: *mut c_void,
    ) -> Result<(), JvmError> {
        let function = self.0.function(FOLLOW_REFERENCES);
        // SAFETY: the function of this number has this type, by the specification.
        let follow = unsafe { transmute::<*const c_void, FollowReferences>(function) };
        let callbacks = Callbacks { object: 0, reference, field: 0, array, others: [0; 12] };
        let null = std::ptr::null_mut();
        // SAFETY: no filter, no class, no object to begin with; the rest is the caller's promise.
        match unsafe { follow(self.0.raw(), 0, null, null, &raw const callbacks, user_data) } {
            0 => Ok(()),
            code => Err(JvmError::Refused { what, said: format!("error {code}") }),
        }
    }
}

impl Tagged {
    /// 0: it has none.
    ///
    /// # Safety
    ///
    /// `object` is a reference that is alive.
    pub(crate) unsafe fn tag_of(&self, object: sys::jobject) -> Option<i64> {
        let mut tag = 0;
        // SAFETY: the function of this number has this type, by the specification.
        let get = unsafe { transmute::<*const c_void, GetTag>(self.0.function(GET_TAG)) };
        // SAFETY: the caller's promise, and the number is ours.
        let error = unsafe { get(self.0.raw(), object, &raw mut tag) };
        (error == 0).then_some(tag)
    }

    /// A local reference to the class's loader, for the caller to delete; `None` for the JVM's own first one.
    ///
    /// # Safety
    ///
    /// `class` is a reference to a class, and alive.
    pub(crate) unsafe fn loader(&self, class: sys::jclass) -> Option<sys::jobject> {
        let mut loader = std::ptr::null_mut();
        // SAFETY: the function of this number has this type, by the specification.
        let get = unsafe { transmute::<*const c_void, GetClassLoader>(self.0.function(GET_CLASS_LOADER)) };
        // SAFETY: the caller's promise; one reference is written, to ours.
        let error = unsafe { get(self.0.raw(), class, &raw mut loader) };
        (error == 0 && !loader.is_null()).then_some(loader)
    }
}

impl Drop for Tagged {
    fn drop(&mut self) {
        // SAFETY: this is its only user; its tags and capabilities go with it.
        unsafe { self.0.dispose() };
    }
}
