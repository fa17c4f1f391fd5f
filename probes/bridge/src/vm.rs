//! Finds the JVM, and takes the lane's thread into it and out again.
//! Never creates a JVM, and stays out of one that is starting or has ended.

use std::ffi::{CStr, c_void};
use std::ptr::{self, NonNull};

use jni::sys;
use leakline_probing::loader;

use crate::error::BridgeError;

/// The lane's thread as the JVM's users see it.
const THREAD: &CStr = c"leakline-bridge";
/// HotSpot starts this thread right after its live phase began (JDK 14 and later); the kernel keeps 15 bytes of a name.
/// To enter a JVM earlier may crash it (JDK-8308341).
const READY_THREAD: &str = "Notification Th";

type GetCreatedJavaVMs =
    unsafe extern "system" fn(*mut *mut sys::JavaVM, sys::jsize, *mut sys::jsize) -> sys::jint;

/// A JVM that was there when it was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vm(NonNull<sys::JavaVM>);

impl Vm {
    /// The JVM, if there is one now.
    pub(crate) fn find() -> Option<Self> {
        let found = loader::loaded_object(&["libjvm.so"])?.symbol(c"JNI_GetCreatedJavaVMs")?;
        // SAFETY: a function of this name has this type in every JVM, by the JNI specification.
        let function = unsafe { std::mem::transmute::<NonNull<c_void>, GetCreatedJavaVMs>(found) };
        let (mut vm, mut count) = (ptr::null_mut(), 0);
        // SAFETY: may be called from any thread at any time; writes at most one pointer and one count, both ours.
        let code = unsafe { function(&raw mut vm, 1, &raw mut count) };
        if code == sys::JNI_OK && count > 0 { NonNull::new(vm).map(Self) } else { None }
    }

    /// Takes the calling thread into the JVM, as a daemon, until the guard is dropped.
    pub(crate) fn enter(self) -> Result<Inside, BridgeError> {
        let mut env = ptr::null_mut();
        let mut arguments = sys::JavaVMAttachArgs {
            version: sys::JNI_VERSION_1_6,
            name: THREAD.as_ptr().cast_mut(),
            group: ptr::null_mut(),
        };
        let (vm, arguments) = (self.0.as_ptr(), (&raw mut arguments).cast());
        // SAFETY: the interface is the JVM's own; the arguments live until the call returns.
        let code = unsafe { (self.interface().AttachCurrentThreadAsDaemon)(vm, &raw mut env, arguments) };
        if code != sys::JNI_OK || env.is_null() {
            return Err(BridgeError::Failed { call: "AttachCurrentThreadAsDaemon", code });
        }
        Ok(Inside { vm: self, env: env.cast() })
    }

    fn interface(&self) -> &sys::JNIInvokeInterface__1_4 {
        // SAFETY: a JVM begins with the pointer to its interface, which is never written again.
        let interface = unsafe { self.0.read() };
        // SAFETY: every JVM since 1.4 has at least these functions, and they stay where they are.
        unsafe { &*interface.cast() }
    }
}

/// The lane's thread is in the JVM. The thread is the probe's alone, so that it was not in before.
pub(crate) struct Inside {
    vm: Vm,
    env: *mut sys::JNIEnv,
}

impl Inside {
    /// This thread's interface.
    pub(crate) fn env(&self) -> *mut sys::JNIEnv {
        self.env
    }

    /// Its functions.
    pub(crate) fn table(&self) -> &sys::JNINativeInterface__1_6 {
        // SAFETY: an environment begins with the pointer to its functions, which is never written again.
        let table = unsafe { self.env.read() };
        // SAFETY: every JVM of today has at least the functions of JNI 1.6, and they stay where they are.
        unsafe { &*table.cast() }
    }

    /// Forgets what was thrown on this thread, which is ours, and says whether anything was.
    pub(crate) fn threw(&self) -> bool {
        // SAFETY: the thread is in the JVM.
        let threw = unsafe { (self.table().ExceptionCheck)(self.env) };
        if threw {
            // SAFETY: as above.
            unsafe { (self.table().ExceptionClear)(self.env) };
        }
        threw
    }

    /// An environment of the tool interface, of JDK 11's version.
    pub(crate) fn tools(&self) -> Result<NonNull<c_void>, BridgeError> {
        const JVMTI_11: sys::jint = 0x300b_0000;
        let mut tools = ptr::null_mut();
        // SAFETY: the interface is the JVM's own, and writes to our pointer.
        let code = unsafe { (self.vm.interface().GetEnv)(self.vm.0.as_ptr(), &raw mut tools, JVMTI_11) };
        NonNull::new(tools)
            .filter(|_| code == sys::JNI_OK)
            .ok_or(BridgeError::Failed { call: "GetEnv of the tool interface", code })
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // SAFETY: `enter` attached this thread, and it runs no Java code now.
        unsafe { (self.vm.interface().DetachCurrentThread)(self.vm.0.as_ptr()) };
    }
}

/// Whether the JVM may be entered.
pub(crate) fn is_ready() -> bool {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return false };
    threads.flatten().any(|thread| {
        std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name.trim_end() == READY_THREAD)
    })
}
