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

/// Number of a function.
const SET_TAG: usize = 107;

pub(crate) type Env = *mut *const *const c_void;
pub(crate) type Error = i32;
type SetTag = unsafe extern "system" fn(Env, sys::jobject, i64) -> Error;

/// Ours until it is dropped.
pub(crate) struct Tagged(Jvmti);

impl Tagged {
    /// On a thread that is in the JVM.
    pub(crate) fn new(vm: Vm) -> Result<Self, JvmError> {
        let refused = |said: &str| JvmError::Refused { what: "the tool interface", said: said.to_owned() };
        let raw = vm.environment(jvmti::VERSION).ok_or_else(|| refused("there is none"))?;
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
}

impl Drop for Tagged {
    fn drop(&mut self) {
        // SAFETY: this is its only user; its tags and capabilities go with it.
        unsafe { self.0.dispose() };
    }
}
