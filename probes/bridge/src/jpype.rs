//! JPype's own table of the Python objects that Java holds: its queue of references, which has one entry for each Java
//! object that keeps a Python object alive (proxies, exceptions, buffers), until that Java object was collected.
//! Never walks the table: its length is asked for.

use std::ffi::CStr;
use std::ptr;

use jni::sys;

use crate::classes;
use crate::error::BridgeError;
use crate::vm::Inside;

const SIGNATURE: &CStr = c"Lorg/jpype/ref/JPypeReferenceQueue;";

/// The queue, kept until it is released or the JVM ends.
#[derive(Debug)]
pub(crate) struct Queue {
    object: sys::jobject,
    size: sys::jmethodID,
}

// SAFETY: global references and method ids belong to no thread.
unsafe impl Send for Queue {}

impl Queue {
    /// The queue of this process's JPype; `None` as long as JPype has not made it.
    pub(crate) fn find(inside: &Inside) -> Result<Option<Self>, BridgeError> {
        let env = inside.env();
        // SAFETY: the thread is in the JVM; the frame is popped below.
        let code = unsafe { (inside.table().PushLocalFrame)(env, 16) };
        if code != sys::JNI_OK {
            inside.threw();
            return Err(BridgeError::Failed { call: "PushLocalFrame", code });
        }
        let found = Self::find_in_frame(inside);
        // SAFETY: this is the frame that was pushed, and none of its references is used any more.
        unsafe { (inside.table().PopLocalFrame)(env, ptr::null_mut()) };
        found
    }

    fn find_in_frame(inside: &Inside) -> Result<Option<Self>, BridgeError> {
        let (env, table) = (inside.env(), inside.table());
        let Some(class) = classes::initialised(inside, SIGNATURE)? else { return Ok(None) };
        let answer = c"()Lorg/jpype/ref/JPypeReferenceQueue;";
        // SAFETY: the class is alive and initialised, and both texts end in a NUL.
        let instance =
            unsafe { (table.GetStaticMethodID)(env, class, c"getInstance".as_ptr(), answer.as_ptr()) };
        if inside.threw() || instance.is_null() {
            return Err(BridgeError::Nothing { call: "getInstance" });
        }
        // SAFETY: as above.
        let size = unsafe { (table.GetMethodID)(env, class, c"getQueueSize".as_ptr(), c"()I".as_ptr()) };
        if inside.threw() || size.is_null() {
            return Err(BridgeError::Nothing { call: "getQueueSize" });
        }
        // SAFETY: the id is that of a static method of this class, which takes nothing.
        let local = unsafe { (table.CallStaticObjectMethodA)(env, class, instance, ptr::null()) };
        if inside.threw() || local.is_null() {
            return Err(BridgeError::Nothing { call: "getInstance" });
        }
        // SAFETY: the reference is this frame's.
        let object = unsafe { (table.NewGlobalRef)(env, local) };
        if object.is_null() {
            return Err(BridgeError::Nothing { call: "NewGlobalRef" });
        }
        Ok(Some(Self { object, size }))
    }

    /// How many Python objects Java holds. Takes no lock: the field behind it is read as it is.
    pub(crate) fn size(&self, inside: &Inside) -> Result<u64, BridgeError> {
        let (env, table) = (inside.env(), inside.table());
        // SAFETY: the method is that of this object's class, takes nothing and answers with an int.
        let size = unsafe { (table.CallIntMethodA)(env, self.object, self.size, ptr::null()) };
        if inside.threw() {
            return Err(BridgeError::Nothing { call: "getQueueSize" });
        }
        Ok(u64::try_from(size).unwrap_or(0))
    }

    /// Lets go of it, in the JVM that it is of.
    pub(crate) fn release(self, inside: &Inside) {
        // SAFETY: the reference was made by `find`, and this is its end.
        unsafe { (inside.table().DeleteGlobalRef)(inside.env(), self.object) };
    }
}
