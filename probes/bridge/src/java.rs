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
        let tools = vm.environment(jvmti::VERSION).ok_or(BridgeError::NoTools)?;
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
        tools.loaded_classes().into_iter().find_map(|class| {
            // SAFETY: the reference is this frame's, and alive.
            let name = unsafe { tools.class_signature(class) }?;
            let signature = signatures.iter().find(|signature| **signature == name)?;
            // SAFETY: as above.
            let status = unsafe { tools.class_status(class) }?;
            (status & jvmti::CLASS_INITIALIZED != 0).then_some((*signature, Class(class, PhantomData)))
        })
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

    fn table(&self) -> &sys::JNINativeInterface__1_6 {
        // SAFETY: an environment begins with the pointer to its functions, which is never written again.
        let table = unsafe { self.env.read() };
        // SAFETY: every JVM of today has at least the functions of JNI 1.6, and they stay where they are.
        unsafe { &*table.cast() }
    }
}
