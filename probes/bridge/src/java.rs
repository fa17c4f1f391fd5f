//! The few calls into the JVM that this probe makes, as safe functions on a frame of local references.
//!
//! What was thrown is forgotten at once and becomes an error. Never `FindClass`, which may run a class loader of the
//! host's own, and never a class that is not initialised yet.

use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr;

use jni::sys;
use leakline_probing::java::jvmti::{self, Jvmti};
use leakline_probing::java::vm::{Attached, Vm};

use crate::error::BridgeError;

/// Local references for a search among all classes, as many as HotSpot lets one ask for.
const LOCALS: sys::jint = 65_536;

/// An object that lives as long as its frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Local<'f>(sys::jobject, PhantomData<&'f ()>);

/// A class that was initialised, and lives as long as its frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Class<'f>(sys::jclass, PhantomData<&'f ()>);

impl Local<'_> {
    /// The reference, which ends with the frame.
    pub(crate) fn raw(self) -> sys::jobject {
        self.0
    }

    /// A reference that this thread's frame has.
    ///
    /// # Safety
    ///
    /// `raw` is one, and not null.
    pub(crate) unsafe fn from_raw(raw: sys::jobject) -> Self {
        Self(raw, PhantomData)
    }
}

impl Class<'_> {
    /// The reference, which ends with the frame.
    pub(crate) fn raw(self) -> sys::jclass {
        self.0
    }
}

/// A member of a class: its name, and its type as in JNI.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) name: &'static CStr,
    pub(crate) of: &'static CStr,
    /// For errors.
    pub(crate) call: &'static str,
}

/// An object that outlives frames, and a method of its class that takes nothing and answers with an int.
#[derive(Debug)]
pub(crate) struct Count {
    object: sys::jobject,
    method: sys::jmethodID,
    call: &'static str,
}

// SAFETY: global references and method ids belong to no thread.
unsafe impl Send for Count {}

/// A frame of local references on a thread that is in the JVM, with the tool interface.
pub(crate) struct Frame<'a> {
    env: *mut sys::JNIEnv,
    tools: Option<Jvmti>,
    _attached: PhantomData<&'a Attached<'a>>,
}

impl Drop for Frame<'_> {
    fn drop(&mut self) {
        if let Some(tools) = self.tools {
            // SAFETY: it was made for this frame, which is its only user.
            unsafe { tools.dispose() };
        }
        self.threw();
        // SAFETY: `push` pushed this frame on this thread, and no local of it can be used any more.
        unsafe { (self.table().PopLocalFrame)(self.env, ptr::null_mut()) };
    }
}

impl<'a> Frame<'a> {
    /// A frame to read a count in.
    pub(crate) fn new(attached: &'a Attached<'_>) -> Result<Self, BridgeError> {
        Self::push(attached, 8)
    }

    /// A frame to look for classes in.
    pub(crate) fn with_tools(attached: &'a Attached<'_>, vm: Vm) -> Result<Self, BridgeError> {
        let mut frame = Self::push(attached, LOCALS)?;
        let tools = vm.tools(jvmti::VERSION).ok_or(BridgeError::NoTools)?;
        // SAFETY: it was asked for by this version, and is disposed of only when the frame is dropped.
        frame.tools = unsafe { Jvmti::from_raw(tools) };
        Ok(frame)
    }

    fn push(attached: &'a Attached<'_>, locals: sys::jint) -> Result<Self, BridgeError> {
        let frame = Self { env: attached.env(), tools: None, _attached: PhantomData };
        // SAFETY: the thread is in the JVM; the frame is popped when this is dropped.
        let code = unsafe { (frame.table().PushLocalFrame)(frame.env, locals) };
        if code == sys::JNI_OK {
            return Ok(frame);
        }
        frame.threw();
        // There is no frame to be popped.
        std::mem::forget(frame);
        Err(BridgeError::Nothing { call: "PushLocalFrame" })
    }

    /// Of `signatures` (`Ljava/lang/String;`) the first whose class is loaded and initialised, whatever loader it came
    /// from. Asks for the name of each loaded class: a few milliseconds, and nothing stands still.
    pub(crate) fn initialised<'s>(&self, signatures: &[&'s str]) -> Option<(&'s str, Class<'_>)> {
        let tools = self.tools?;
        let mut found = None;
        for class in tools.loaded_classes() {
            if found.is_none() {
                // SAFETY: the reference is this frame's, and alive.
                let name = unsafe { tools.class_signature(class) }.unwrap_or_default();
                let signature = signatures.iter().find(|signature| **signature == name);
                // SAFETY: as above.
                let status = || unsafe { tools.class_status(class) }.unwrap_or_default();
                if let Some(signature) = signature
                    && status() & jvmti::CLASS_INITIALIZED != 0
                {
                    found = Some((*signature, Class(class, PhantomData)));
                    continue;
                }
            }
            self.delete(class);
        }
        found
    }

    /// Its functions, of a frame that has them.
    pub(crate) fn tools(&self) -> Option<Jvmti> {
        self.tools
    }

    /// This thread's interface.
    pub(crate) fn raw(&self) -> *mut sys::JNIEnv {
        self.env
    }

    /// Whether both refer to the same object.
    pub(crate) fn is_same(&self, one: sys::jobject, other: sys::jobject) -> bool {
        // SAFETY: references of this thread's frames, alive.
        unsafe { (self.table().IsSameObject)(self.env, one, other) }
    }

    /// Gives a local reference up before its frame ends.
    pub(crate) fn delete(&self, object: sys::jobject) {
        // SAFETY: a local reference of this thread's frames, which nobody uses any more.
        unsafe { (self.table().DeleteLocalRef)(self.env, object) };
    }

    /// One more reference to the same object; null where there is no room.
    pub(crate) fn another(&self, object: sys::jobject) -> sys::jobject {
        // SAFETY: a reference of this thread's frames, alive.
        unsafe { (self.table().NewLocalRef)(self.env, object) }
    }

    /// Whether the object's class has this signature and no other.
    pub(crate) fn is_of(&self, object: Local<'_>, signature: &str) -> bool {
        self.class_of(object, signature, "a class").is_ok()
    }

    /// An array's length.
    pub(crate) fn length(&self, array: Local<'_>) -> i32 {
        // SAFETY: callers pass arrays, by the type of the field or the class that they come from.
        unsafe { (self.table().GetArrayLength)(self.env, array.0) }
    }

    /// An element of an array of references, within its length; `None` for null.
    pub(crate) fn element(&self, array: Local<'_>, index: i32) -> Option<Local<'_>> {
        // SAFETY: as for `length`; the index is within it.
        let element = unsafe { (self.table().GetObjectArrayElement)(self.env, array.0, index) };
        (!self.threw() && !element.is_null()).then_some(Local(element, PhantomData))
    }

    /// A field with a long in it, of an object whose class has the signature `class`.
    pub(crate) fn long(
        &self,
        object: Local<'_>,
        class: &str,
        name: &CStr,
        call: &'static str,
    ) -> Result<i64, BridgeError> {
        let of = self.class_of(object, class, call)?;
        // SAFETY: the class is alive and initialised, for there is an object of it, and both texts end in a NUL.
        let id = unsafe { (self.table().GetFieldID)(self.env, of.0, name.as_ptr(), c"J".as_ptr()) };
        self.delete(of.0);
        self.check(id.is_null(), call)?;
        // SAFETY: the id is that of a field of this object's class with a long in it.
        Ok(unsafe { (self.table().GetLongField)(self.env, object.0, id) })
    }

    /// Calls a method of the object's class, which has the signature `class`, that takes nothing and answers with an
    /// object.
    pub(crate) fn call(
        &self,
        object: Local<'_>,
        class: &str,
        member: Member,
    ) -> Result<Local<'_>, BridgeError> {
        let of = self.class_of(object, class, member.call)?;
        // SAFETY: as in `long`.
        let id =
            unsafe { (self.table().GetMethodID)(self.env, of.0, member.name.as_ptr(), member.of.as_ptr()) };
        self.check(id.is_null(), member.call)?;
        // SAFETY: the id is that of a method of this object's class, which takes nothing, as its type says.
        self.local(unsafe { (self.table().CallObjectMethodA)(self.env, object.0, id, ptr::null()) }, member)
    }

    /// Calls a method of the object's class, which has the signature `class`, that takes one object and answers with a boolean,
    /// which nobody wants to know. An error where it throws.
    pub(crate) fn call_with(
        &self,
        object: Local<'_>,
        class: &str,
        member: Member,
        argument: Local<'_>,
    ) -> Result<(), BridgeError> {
        let of = self.class_of(object, class, member.call)?;
        // SAFETY: as in `long`.
        let id =
            unsafe { (self.table().GetMethodID)(self.env, of.0, member.name.as_ptr(), member.of.as_ptr()) };
        self.check(id.is_null(), member.call)?;
        let argument = sys::jvalue { l: argument.0 };
        // SAFETY: the id is that of a method of this object's class, which takes one object, as its type says.
        unsafe { (self.table().CallBooleanMethodA)(self.env, object.0, id, &raw const argument) };
        self.check(false, member.call)
    }

    /// Forgets what others may have left pending on this thread, which is ours.
    pub(crate) fn forget_thrown(&self) {
        self.threw();
    }

    /// Calls a static method that takes nothing and answers with an object.
    pub(crate) fn call_static(&self, class: Class<'_>, member: Member) -> Result<Local<'_>, BridgeError> {
        // SAFETY: the class is alive and initialised, and both texts end in a NUL.
        let id = unsafe {
            (self.table().GetStaticMethodID)(self.env, class.0, member.name.as_ptr(), member.of.as_ptr())
        };
        self.check(id.is_null(), member.call)?;
        // SAFETY: the id is that of a static method of this class, which takes nothing, as its type says.
        self.local(
            unsafe { (self.table().CallStaticObjectMethodA)(self.env, class.0, id, ptr::null()) },
            member,
        )
    }

    /// The object in a static field.
    pub(crate) fn static_field(&self, class: Class<'_>, member: Member) -> Result<Local<'_>, BridgeError> {
        // SAFETY: the class is alive and initialised, and both texts end in a NUL.
        let id = unsafe {
            (self.table().GetStaticFieldID)(self.env, class.0, member.name.as_ptr(), member.of.as_ptr())
        };
        self.check(id.is_null(), member.call)?;
        // SAFETY: the id is that of a static field of this class with an object in it, as its type says.
        self.local(unsafe { (self.table().GetStaticObjectField)(self.env, class.0, id) }, member)
    }

    /// The object in a field of `object`, whose class has the signature `class`.
    pub(crate) fn field(
        &self,
        object: Local<'_>,
        class: &str,
        member: Member,
    ) -> Result<Local<'_>, BridgeError> {
        let of = self.class_of(object, class, member.call)?;
        // SAFETY: the class is alive and initialised, for there is an object of it, and both texts end in a NUL.
        let id =
            unsafe { (self.table().GetFieldID)(self.env, of.0, member.name.as_ptr(), member.of.as_ptr()) };
        self.delete(of.0);
        self.check(id.is_null(), member.call)?;
        // SAFETY: the id is that of a field of this object's class with an object in it, as its type says.
        self.local(unsafe { (self.table().GetObjectField)(self.env, object.0, id) }, member)
    }

    /// Keeps `object`, whose class has the signature `class`, and a method of it that answers with an int.
    pub(crate) fn keep(
        &self,
        object: Local<'_>,
        class: &str,
        name: &CStr,
        call: &'static str,
    ) -> Result<Count, BridgeError> {
        let of = self.class_of(object, class, call)?;
        // SAFETY: as in `field`.
        let method = unsafe { (self.table().GetMethodID)(self.env, of.0, name.as_ptr(), c"()I".as_ptr()) };
        self.check(method.is_null(), call)?;
        // SAFETY: the object is this frame's, and alive.
        let object = unsafe { (self.table().NewGlobalRef)(self.env, object.0) };
        self.check(object.is_null(), "NewGlobalRef")?;
        Ok(Count { object, method, call })
    }

    /// Asks the object that was kept.
    pub(crate) fn count(&self, count: &Count) -> Result<u64, BridgeError> {
        // SAFETY: the method is that of this object's class, takes nothing and answers with an int; the object was not
        // released, for that takes it by value.
        let size =
            unsafe { (self.table().CallIntMethodA)(self.env, count.object, count.method, ptr::null()) };
        self.check(false, count.call)?;
        Ok(u64::try_from(size).unwrap_or(0))
    }

    /// Lets go of it, in the JVM that it is of.
    pub(crate) fn release(&self, count: Count) {
        // SAFETY: the reference was made by `keep`, and this is its end.
        unsafe { (self.table().DeleteGlobalRef)(self.env, count.object) };
    }

    /// The object's class, which has to be that of this signature and no other.
    fn class_of(
        &self,
        object: Local<'_>,
        signature: &str,
        what: &'static str,
    ) -> Result<Class<'_>, BridgeError> {
        // SAFETY: the object is alive and not null.
        let class = unsafe { (self.table().GetObjectClass)(self.env, object.0) };
        self.check(class.is_null(), what)?;
        let tools = self.tools.ok_or(BridgeError::NoTools)?;
        // SAFETY: the reference is this frame's, and alive.
        let name = unsafe { tools.class_signature(class) };
        if name.as_deref() == Some(signature) {
            Ok(Class(class, PhantomData))
        } else {
            Err(BridgeError::Unknown { what })
        }
    }

    fn local(&self, raw: sys::jobject, member: Member) -> Result<Local<'_>, BridgeError> {
        self.check(raw.is_null(), member.call)?;
        Ok(Local(raw, PhantomData))
    }

    fn check(&self, nothing: bool, call: &'static str) -> Result<(), BridgeError> {
        if self.threw() || nothing { Err(BridgeError::Nothing { call }) } else { Ok(()) }
    }

    /// Forgets what was thrown on this thread, which is ours, and says whether anything was.
    fn threw(&self) -> bool {
        // SAFETY: the thread is in the JVM.
        let threw = unsafe { (self.table().ExceptionCheck)(self.env) };
        if threw {
            // SAFETY: as above.
            unsafe { (self.table().ExceptionClear)(self.env) };
        }
        threw
    }

    pub(crate) fn table(&self) -> &sys::JNINativeInterface__1_6 {
        // SAFETY: an environment begins with the pointer to its functions, which is never written again.
        let table = unsafe { self.env.read() };
        // SAFETY: every JVM of today has at least the functions of JNI 1.6, and they stay where they are.
        unsafe { &*table.cast() }
    }
}
