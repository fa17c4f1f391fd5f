//! The invocation interface: finds the JVM and takes the calling thread into it and out again.
//! Never creates a JVM, never destroys one, and stays out of one that has ended.

use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::{NotAttached, tools};
use crate::loader;
use jni::sys;

/// Objects that may have `JNI_GetCreatedJavaVMs`. On Android an app may see it in one of its two; where it may not, the
/// app hands its JVM over.
const LIBRARIES: [&str; 4] = ["libjvm.so", "libnativehelper.so", "libart.so", "libj9vm"];

type GetCreatedJavaVMs =
    unsafe extern "system" fn(*mut *mut sys::JavaVM, sys::jsize, *mut sys::jsize) -> sys::jint;

/// Takes the calling thread into a JVM.
type AttachThread = unsafe extern "system" fn(*mut sys::JavaVM, *mut *mut c_void, *mut c_void) -> sys::jint;

/// Where JVMs come from.
#[derive(Debug, Clone, Copy)]
pub enum VmSource {
    /// Asked for at each reading.
    Created(GetCreatedJavaVMs),
    /// Handed over, and there for as long as the process is (Android's).
    Given(Vm),
}

impl VmSource {
    /// Looks through what is loaded; some ten microseconds.
    pub fn find() -> Option<Self> {
        let name = c"JNI_GetCreatedJavaVMs";
        let found = LIBRARIES
            .iter()
            .find_map(|library| loader::loaded_object(&[library])?.symbol(name))
            .or_else(|| loader::symbol(name))?;
        // SAFETY: a function of this name has this type in every JVM, by the JNI specification.
        let function = unsafe { std::mem::transmute::<NonNull<c_void>, GetCreatedJavaVMs>(found) };
        Some(Self::Created(function))
    }

    /// The JVM, if there is one now.
    pub fn vm(self) -> Option<Vm> {
        let function = match self {
            Self::Given(vm) => return Some(vm),
            Self::Created(function) => function,
        };
        let (mut vm, mut count) = (std::ptr::null_mut(), 0);
        // SAFETY: may be called from any thread at any time; writes at most one pointer and one count, both ours.
        let code = unsafe { function(&raw mut vm, 1, &raw mut count) };
        if code == sys::JNI_OK && count > 0 { NonNull::new(vm).map(Vm) } else { None }
    }
}

/// A JVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vm(NonNull<sys::JavaVM>);

// SAFETY: the invocation interface may be called from any thread.
unsafe impl Send for Vm {}
// SAFETY: as above, and by many threads at once.
unsafe impl Sync for Vm {}

impl Vm {
    /// # Safety
    ///
    /// `vm` is a JVM that lives as long as the process.
    pub unsafe fn from_raw(vm: *mut c_void) -> Option<Self> {
        NonNull::new(vm.cast()).map(Self)
    }

    /// Takes the calling thread into the JVM, as a daemon called `name`, until the guard is dropped.
    ///
    /// Where the JVM ends meanwhile, HotSpot never returns from this or from any later call: the thread stays blocked
    /// until the process is gone, and nobody waits for it.
    pub fn attach(&self, name: &CStr) -> Result<Attached<'_>, NotAttached> {
        self.attach_as(name, self.interface().AttachCurrentThreadAsDaemon)
    }

    /// As [`attach`](Self::attach), but not as a daemon: who destroys the JVM waits until this guard is dropped. For what
    /// must not be cut off in the middle, and is short.
    pub fn attach_for_sure(&self, name: &CStr) -> Result<Attached<'_>, NotAttached> {
        self.attach_as(name, self.interface().AttachCurrentThread)
    }

    fn attach_as(&self, name: &CStr, attach: AttachThread) -> Result<Attached<'_>, NotAttached> {
        let mut env = std::ptr::null_mut();
        let vm = self.0.as_ptr();
        // SAFETY: the interface is the JVM's own; JNI 1.6 asks for a `JNIEnv`, which is written to our pointer.
        let code = unsafe { (self.interface().GetEnv)(vm, &raw mut env, sys::JNI_VERSION_1_6) };
        let already = code == sys::JNI_OK && !env.is_null();
        if !already {
            let mut arguments = sys::JavaVMAttachArgs {
                version: sys::JNI_VERSION_1_6,
                name: name.as_ptr().cast_mut(),
                group: std::ptr::null_mut(),
            };
            let arguments = (&raw mut arguments).cast();
            // SAFETY: as above; the arguments live until the call returns, and the JVM only reads them.
            let code = unsafe { attach(vm, &raw mut env, arguments) };
            if code != sys::JNI_OK || env.is_null() {
                return Err(NotAttached { code });
            }
        }
        Ok(Attached { vm: *self, env: env.cast(), detach: !already, _vm: PhantomData })
    }

    /// JNI's interface of `version` for the calling thread; `None` where it is not in the JVM. Waits for nothing.
    pub fn environment(&self, version: sys::jint) -> Option<*mut c_void> {
        let mut env = std::ptr::null_mut();
        // SAFETY: the interface is the JVM's own, and writes to our pointer.
        let code = unsafe { (self.interface().GetEnv)(self.0.as_ptr(), &raw mut env, version) };
        (code == sys::JNI_OK && !env.is_null()).then_some(env)
    }

    /// An environment of the tool interface of `version`, for the caller to dispose of; `None` where the JVM has none, or
    /// may not be asked ([`tools::missing`]).
    pub fn tools(&self, version: sys::jint) -> Option<*mut c_void> {
        if tools::missing().is_some() { None } else { self.environment(version) }
    }

    fn interface(&self) -> &sys::JNIInvokeInterface__1_4 {
        // SAFETY: a JVM begins with the pointer to its interface, which is never written again.
        let interface = unsafe { self.0.read() };
        // SAFETY: every JVM since 1.4 has at least these functions, and they stay where they are.
        unsafe { &*interface.cast() }
    }
}

/// The calling thread is in the JVM.
pub struct Attached<'vm> {
    vm: Vm,
    env: *mut sys::JNIEnv,
    detach: bool,
    _vm: PhantomData<&'vm Vm>,
}

impl Attached<'_> {
    /// Leaves the thread in the JVM when this guard is dropped.
    pub fn stay(mut self) {
        self.detach = false;
    }

    /// Takes the thread out of the JVM when this guard is dropped, though it was there before.
    pub fn leave(&mut self) {
        self.detach = true;
    }

    /// This thread's interface.
    pub fn env(&self) -> *mut sys::JNIEnv {
        self.env
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        if self.detach {
            // SAFETY: this thread was attached by `attach`, and runs no Java code now.
            unsafe { (self.vm.interface().DetachCurrentThread)(self.vm.0.as_ptr()) };
        }
    }
}
