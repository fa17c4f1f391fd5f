//! Java's frames for call paths of the native heap: they stand where Java's machine code is on the native stack. Called
//! by the native probe's hook, from inside malloc, on whatever thread allocates.
//!
//! The JVM is asked only where its own rules allow it and where it need not be waited for: in native code that Java has
//! called, outside critical regions, while no safepoint wants threads to stop. Where in doubt there are no frames.
//! Allocations of the JVM's own are never asked about.
//!
//! Never holds the lock of its table while it asks the JVM, and never throws, clears or replaces a pending exception.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering::Acquire, Ordering::Release};

use jni::sys;
use leakline_probing::joined::{self, Joined, RawFrame, Told};
use leakline_probing::loader;
use leakline_probing::sampler::lock::Lock;

use crate::env::{Frame, delete_local};
use crate::hotspot::{JavaThread, Layout};
use crate::jvmti::{self, Jvmti};
use crate::methods::{Method, Methods, NO_NUMBER};
use crate::vm::Vm;

/// Methods that the lane looks up at one reading, of those that could not be looked up in the hook.
const AT_ONCE: usize = 200;

/// The JVM that joined. It is made once and never freed: hooks read it without a lock, and a process has one JVM.
static JOINED: AtomicPtr<Java> = AtomicPtr::new(std::ptr::null_mut());
/// Whether it may be asked.
static ON: AtomicBool = AtomicBool::new(false);
/// Not taken around forks: a child's hooks rest.
static METHODS: Lock<Methods> = Lock::new(Methods::new());

struct Java {
    vm: Vm,
    layout: Layout,
    jvmti: Jvmti,
}

/// Has native call paths go on in Java's frames, from now until [`end`]. Called on a thread that is in `vm`. Whether it
/// worked; where not, a later try may.
pub(crate) fn begin(vm: Vm, frame: &Frame<'_>) -> bool {
    if let Some(java) = known() {
        ON.store(java.vm == vm, Release);
        return true;
    }
    let Some(java) = find(vm, frame) else { return false };
    let code = java.layout.code;
    JOINED.store(Box::into_raw(Box::new(java)), Release);
    ON.store(true, Release);
    joined::join(Joined { code, walk, keep, tell });
    true
}

fn find(vm: Vm, frame: &Frame<'_>) -> Option<Java> {
    let libjvm = loader::loaded_object(&["libjvm.so"])?;
    let layout = Layout::find(&libjvm, frame)?;
    let jvmti = vm.environment(jvmti::VERSION)?;
    // SAFETY: it was asked for by this version, and nobody disposes of it.
    let jvmti = unsafe { Jvmti::from_raw(jvmti) }?;
    jvmti.add_capabilities().then_some(Java { vm, layout, jvmti })
}

/// From now on the JVM is not asked any more.
pub(crate) fn end() {
    ON.store(false, Release);
}

/// Looks up methods that could not be looked up in the hook. Called on a thread that is in the JVM.
pub(crate) fn learn(frame: &Frame<'_>) {
    let Some(java) = java() else { return };
    let unknown = METHODS.with(|methods| methods.unknown());
    for id in unknown.into_iter().take(AT_ONCE) {
        let method = java.method(frame.raw(), id, || true);
        METHODS.with(|methods| methods.add(id, method));
    }
}

fn known() -> Option<&'static Java> {
    // SAFETY: what was stored is never freed.
    unsafe { JOINED.load(Acquire).as_ref() }
}

/// The JVM, while it may be asked.
fn java() -> Option<&'static Java> {
    if ON.load(Acquire) { known() } else { None }
}

/// See [`leakline_probing::joined::Joined::walk`].
///
/// # Safety
///
/// `native` are `count` addresses, and `into` has room for `most` frames.
unsafe extern "C" fn walk(native: *const usize, count: usize, into: *mut RawFrame, most: usize) -> usize {
    let Some(java) = java() else { return 0 };
    if native.is_null() || into.is_null() {
        return 0;
    }
    // SAFETY: the caller's promise.
    let native = unsafe { std::slice::from_raw_parts(native, count) };
    if native.iter().any(|address| java.layout.is_jvm(*address)) {
        return 0;
    }
    let Some((_, thread)) = java.this_thread() else { return 0 };
    // SAFETY: the caller's promise.
    let into = unsafe { std::slice::from_raw_parts_mut(into, most) };
    if thread.may_ask() { java.jvmti.own_frames(into) } else { 0 }
}

/// See [`leakline_probing::joined::Joined::keep`].
///
/// # Safety
///
/// `frames` are `count` that `walk` has just found on this thread, and `numbers` has room for as many.
unsafe extern "C" fn keep(frames: *const RawFrame, count: usize, numbers: *mut u64) {
    // SAFETY: the caller's promise.
    let numbers = unsafe { std::slice::from_raw_parts_mut(numbers, count) };
    numbers.fill(NO_NUMBER);
    // SAFETY: the caller's promise.
    let frames = unsafe { std::slice::from_raw_parts(frames, count) };
    let asked = java().and_then(|java| Some((java, java.this_thread()?)));
    for ([id, place], number) in frames.iter().zip(numbers) {
        if METHODS.with(|methods| methods.lacks(*id)) {
            let method = asked.and_then(|(java, (env, thread))| java.method(env, *id, || thread.may_ask()));
            METHODS.with(|methods| methods.add(*id, method));
        }
        *number = METHODS.with(|methods| methods.number(*id, *place as i64));
    }
}

/// See [`leakline_probing::joined::Joined::tell`].
fn tell(numbers: &[u64]) -> Vec<Option<Told>> {
    METHODS.with(|methods| numbers.iter().map(|number| methods.tell(*number)).collect())
}

impl Java {
    /// The calling thread's interface and its `JavaThread`; `None` for a thread that is not in the JVM.
    fn this_thread(&self) -> Option<(*mut sys::JNIEnv, JavaThread<'_>)> {
        let env: *mut sys::JNIEnv = self.vm.environment(sys::JNI_VERSION_1_6)?.cast();
        // SAFETY: the JVM has just given it for this thread.
        Some((env, unsafe { self.layout.thread(env) }))
    }

    /// A method in words, as long as `may_ask` says yes. `env` is the calling thread's.
    fn method(&self, env: *mut sys::JNIEnv, id: u64, may_ask: impl Fn() -> bool) -> Option<Method> {
        let id = id as usize as sys::jmethodID;
        let name = may_ask().then(|| self.jvmti.method_name(id))??;
        let lines = may_ask().then(|| self.jvmti.lines(id))?;
        let class = may_ask().then(|| self.jvmti.declaring_class(id))??;
        let signature = may_ask().then(|| {
            // SAFETY: the reference is alive until it is deleted below.
            unsafe { self.jvmti.class_signature(class) }
        });
        let source = may_ask().then(|| {
            // SAFETY: as above.
            unsafe { self.jvmti.source_file(class) }
        });
        // Otherwise it goes when the host's native method returns.
        if may_ask() {
            // SAFETY: the JVM gave the reference to this thread, and it is not used any more.
            unsafe { delete_local(env, class) };
        }
        Some(Method::new(&signature??, &name, source?.as_deref(), lines))
    }
}

const _: () = assert!(size_of::<sys::jmethodID>() == size_of::<*mut c_void>());
