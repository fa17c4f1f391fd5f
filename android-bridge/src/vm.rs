//! The JVM that loaded the library, and the few things in it that are called.
//! Never keeps a thread in the JVM, and never looks anything up twice.

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;
use std::sync::OnceLock;

use jni::objects::{JClass, JStaticMethodID, JString};
use jni::refs::Global;
use jni::signature::ReturnType;
use jni::{EnvUnowned, JavaVM, Outcome, jni_sig, jni_str, sys};

use crate::entry;

/// A `JavaVM*`, as the JVM hands it to `JNI_OnLoad`.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct RawVm(NonNull<sys::JavaVM>);

// SAFETY: the invocation interface may be called from any thread.
unsafe impl Send for RawVm {}
// SAFETY: as above, and by many threads at once.
unsafe impl Sync for RawVm {}

static BOUND: OnceLock<Bound> = OnceLock::new();

/// What was looked up. It stays as long as the process does: no reference is ever given back to a JVM that may have gone.
struct Bound {
    vm: RawVm,
    class: Global<JClass<'static>>,
    read_probes: JStaticMethodID,
}

/// Why the app's probes could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("no JVM has loaded leakline")]
    NotBound,
    #[error("the thread cannot enter the JVM: {code}")]
    NotAttached { code: i32 },
    #[error("{source}")]
    Jni {
        #[from]
        source: jni::errors::Error,
    },
    #[error("a panic: see the log")]
    Panicked,
}

/// Looks up the class and its method, registers the entry points, and tells the agent which JVM to read. Called on the
/// thread that loads the library, by the class whose loader is the app's.
pub(crate) fn bind(vm: RawVm) -> Result<(), jni::errors::Error> {
    // SAFETY: the JVM itself gave us the pointer, and lives as long as the process as far as its threads can tell.
    let java_vm = unsafe { JavaVM::from_raw(vm.0.as_ptr()) };
    java_vm.attach_current_thread(|env| {
        let class = env.find_class(jni_str!("io/leakline/runtime/Native"))?;
        let read_probes =
            env.get_static_method_id(&class, jni_str!("readProbes"), jni_sig!("()Ljava/lang/String;"))?;
        let methods = entry::methods();
        // SAFETY: each function takes an environment, a class and texts, as its signature says; all methods are static.
        unsafe { env.register_native_methods(&class, &methods) }?;
        let class = env.new_global_ref(&class)?;
        // A second load (of a copy, by another class loader) keeps what the first one found.
        let _ = BOUND.set(Bound { vm, class, read_probes });
        Ok::<_, jni::errors::Error>(())
    })?;
    // SAFETY: as above.
    unsafe { leakline::use_java_vm(vm.0.cast::<c_void>()) };
    Ok(())
}

/// What the app's probes say, as text: see `answer::gauges`. Takes the calling thread into the JVM for that long.
pub(crate) fn read_probes(thread: &CStr) -> Result<String, CallError> {
    let bound = BOUND.get().ok_or(CallError::NotBound)?;
    let attached = Attached::enter(bound.vm, thread)?;
    // SAFETY: the environment is this thread's, until `attached` is dropped, which outlives this.
    let mut env = unsafe { EnvUnowned::from_raw(attached.env) };
    let outcome = env.with_env(|env| {
        env.with_local_frame(8, |env| {
            // SAFETY: the id is that of this static method of this class, which takes nothing and gives a String.
            let answer = unsafe {
                env.call_static_method_unchecked(&bound.class, bound.read_probes, ReturnType::Object, &[])
            };
            if answer.is_err() {
                // It catches what probes throw. This is the JVM out of memory, or the like.
                env.exception_clear();
            }
            let text = env.cast_local::<JString>(answer?.l()?)?;
            if text.is_null() { Ok(String::new()) } else { text.try_to_string(env) }
        })
    });
    match outcome.into_outcome() {
        Outcome::Ok(text) => Ok(text),
        Outcome::Err(source) => Err(CallError::Jni { source }),
        Outcome::Panic(_) => Err(CallError::Panicked),
    }
}

/// The calling thread is in the JVM, as a daemon; it leaves at the end unless it was there before.
///
/// By hand, for the crate jni attaches threads as non-daemons only, and a JVM's end waits for those: a probe of the app that
/// hangs would keep the process alive.
struct Attached {
    vm: RawVm,
    env: *mut sys::JNIEnv,
    detach: bool,
}

impl Attached {
    fn enter(vm: RawVm, name: &CStr) -> Result<Self, CallError> {
        let mut env = std::ptr::null_mut();
        let interface = interface(vm);
        // SAFETY: the interface is the JVM's own, and writes to our pointer.
        let code = unsafe { (interface.GetEnv)(vm.0.as_ptr(), &raw mut env, sys::JNI_VERSION_1_6) };
        if code == sys::JNI_OK && !env.is_null() {
            return Ok(Self { vm, env: env.cast(), detach: false });
        }
        let mut arguments = sys::JavaVMAttachArgs {
            version: sys::JNI_VERSION_1_6,
            name: name.as_ptr().cast_mut(),
            group: std::ptr::null_mut(),
        };
        let arguments = (&raw mut arguments).cast();
        // SAFETY: as above; the arguments live until the call returns, and the JVM only reads them.
        let code = unsafe { (interface.AttachCurrentThreadAsDaemon)(vm.0.as_ptr(), &raw mut env, arguments) };
        if code != sys::JNI_OK || env.is_null() {
            return Err(CallError::NotAttached { code });
        }
        Ok(Self { vm, env: env.cast(), detach: true })
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if self.detach {
            // SAFETY: this thread was attached by `enter`, and runs no Java code now.
            unsafe { (interface(self.vm).DetachCurrentThread)(self.vm.0.as_ptr()) };
        }
    }
}

fn interface(vm: RawVm) -> &'static sys::JNIInvokeInterface__1_4 {
    // SAFETY: a JVM begins with the pointer to its interface, which is never written again.
    let interface = unsafe { vm.0.read() };
    // SAFETY: every JVM since 1.4 has at least these functions, and they stay where they are.
    unsafe { &*interface.cast() }
}
