//! Java's frames for call paths of the native heap: they stand where Java's machine code is on the native stack. The
//! frames are read by the native probe's hook, from inside malloc, on whatever thread allocates, without entering the JVM.
//! What they are called is looked up on the probe's lane, where waiting for the JVM harms nobody: paths through a method
//! that is not known yet have no Java frames until the next reading.
//!
//! A JVM whose native code allocates nothing that is sampled is left as it is: its tool interface is asked for only when
//! there is something to tell.
//!
//! Never asks the JVM for anything in the hook, and never holds the lock of its table while it does on the lane.

use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};

use jni::sys;
use leakline_probing::joined::{self, Joined, RawFrame, Told};
use leakline_probing::loader;
use leakline_probing::sampler::lock::Lock;

use crate::env::Frame;
use crate::hotspot::Layout;
use crate::jvmti::{self, Jvmti};
use crate::methods::{Method, Methods, NO_NUMBER};
use crate::vm::Vm;

/// Methods that are looked up at one reading, at some microseconds each.
const AT_ONCE: usize = 2000;
/// What their names and lines may take: some 2,500 methods. A program's native code is called from a few hundred.
const MAX_METHOD_BYTES: usize = 512 << 10;
/// Local references, as many as HotSpot lets one ask for.
const LOCALS: i32 = 65_536;
/// Readings between two times that all classes have their methods numbered, at most; each time is twice the last.
const MAX_PATIENCE: u32 = 64;

/// The JVM that joined. It is made once and never freed: hooks read it without a lock, and a process has one JVM.
static JOINED: AtomicPtr<Java> = AtomicPtr::new(std::ptr::null_mut());
/// Whether frames may be read.
static ON: AtomicBool = AtomicBool::new(false);
/// Whether a hook met Java's code, and `AsyncGetCallTrace` does not answer yet.
static WANTED: AtomicBool = AtomicBool::new(false);
/// How often a hook met a method without a number.
static UNNUMBERED: AtomicU64 = AtomicU64::new(0);
/// Not taken around forks: a child's hooks rest.
static METHODS: Lock<Methods> = Lock::new(Methods::within(MAX_METHOD_BYTES));

struct Java {
    vm: Vm,
    layout: Layout,
    /// Whether `AsyncGetCallTrace` answers.
    answers: AtomicBool,
}

/// What the lane knows of the JVM that joined.
#[derive(Debug, Default)]
pub(crate) struct Learner {
    jvmti: Option<Jvmti>,
    unnumbered: u64,
    patience: u32,
    waited: u32,
}

/// Has native call paths go on in Java's frames, from now until [`end`]. Called on a thread that is in `vm`.
pub(crate) fn begin(vm: Vm, frame: &Frame<'_>) {
    if let Some(java) = known() {
        ON.store(java.vm == vm, Release);
        return;
    }
    let layout = loader::loaded_object(&["libjvm.so"]).and_then(|libjvm| Layout::find(&libjvm, frame));
    let Some(layout) = layout else { return };
    let java = Java { vm, layout, answers: AtomicBool::new(false) };
    JOINED.store(Box::into_raw(Box::new(java)), Release);
    ON.store(true, Release);
    joined::join(Joined { code: layout.code, walk, keep, tell });
}

/// From now on no frames are read.
pub(crate) fn end() {
    ON.store(false, Release);
}

impl Learner {
    /// Learns what hooks met since the last time. Called on the lane's thread, in the JVM.
    pub(crate) fn learn(&mut self, frame: &Frame<'_>) {
        let Some(java) = java() else { return };
        if !java.answers.load(Relaxed) && !WANTED.load(Relaxed) {
            return;
        }
        let Some(jvmti) = self.jvmti.or_else(|| environment(java)) else { return };
        self.jvmti = Some(jvmti);
        let Ok(frame) = frame.inner(LOCALS) else { return };
        if !java.answers.load(Relaxed) {
            number_all(jvmti);
            java.answers.store(true, Release);
        } else {
            self.number_again(jvmti);
        }
        let unknown = METHODS.with(|methods| {
            methods.forget_unmet();
            methods.unknown()
        });
        for id in unknown.into_iter().take(AT_ONCE) {
            let method = method(jvmti, id).unwrap_or_else(Method::nameless);
            METHODS.with(|methods| methods.add(id, Some(method)));
        }
        drop(frame);
    }

    /// Classes that were loaded later have no numbers. Where those never come, it is tried more and more rarely.
    fn number_again(&mut self, jvmti: Jvmti) {
        self.waited = self.waited.saturating_add(1);
        let unnumbered = UNNUMBERED.load(Relaxed);
        if unnumbered != self.unnumbered && self.waited > self.patience {
            number_all(jvmti);
            self.unnumbered = unnumbered;
            self.waited = 0;
            self.patience = (self.patience * 2 + 1).min(MAX_PATIENCE);
        }
    }
}

fn environment(java: &Java) -> Option<Jvmti> {
    let env = java.vm.tools(jvmti::VERSION)?;
    // SAFETY: it was asked for by this version, and nobody disposes of it.
    let jvmti = unsafe { Jvmti::from_raw(env) }?;
    (jvmti.add_capabilities() && jvmti.watch_class_loads()).then_some(jvmti)
}

fn number_all(jvmti: Jvmti) {
    for class in jvmti.loaded_classes() {
        // SAFETY: its frame ends in `learn`.
        unsafe { jvmti.number_methods(class) };
    }
}

/// A method in words; `None` for one that is no more. Leaves a local reference, for the caller's frame to end.
pub(crate) fn method(jvmti: Jvmti, id: u64) -> Option<Method> {
    let id = id as usize as sys::jmethodID;
    // SAFETY: the JVM gave this number for a frame, and checks whether there is such a method still.
    let name = unsafe { jvmti.method_name(id) }?;
    // SAFETY: as above.
    let class = unsafe { jvmti.declaring_class(id) }?;
    // SAFETY: it was given just now, in the caller's frame.
    let signature = unsafe { jvmti.class_signature(class) }?;
    // SAFETY: as above.
    let source = unsafe { jvmti.source_file(class) };
    // SAFETY: as for its name.
    let lines = unsafe { jvmti.lines(id) };
    Some(Method::new(&signature, &name, source.as_deref(), lines))
}

/// Whether it is Java that has joined so, and not another runtime.
pub(crate) fn is_own(runtime: &Joined) -> bool {
    known().is_some_and(|java| java.layout.code == runtime.code)
}

fn known() -> Option<&'static Java> {
    // SAFETY: what was stored is never freed.
    unsafe { JOINED.load(Acquire).as_ref() }
}

/// The JVM, while frames may be read.
fn java() -> Option<&'static Java> {
    if ON.load(Acquire) { known() } else { None }
}

/// See [`leakline_probing::joined::Joined::walk`].
///
/// # Safety
///
/// `into` has room for `most` frames.
unsafe extern "C" fn walk(_native: *const usize, _count: usize, into: *mut RawFrame, most: usize) -> usize {
    let Some(java) = java() else { return 0 };
    if !java.answers.load(Acquire) {
        WANTED.store(true, Relaxed);
        return 0;
    }
    let Some(env) = java.vm.environment(sys::JNI_VERSION_1_6) else { return 0 };
    // SAFETY: the caller's promise.
    let into = unsafe { std::slice::from_raw_parts_mut(into, most) };
    // SAFETY: the JVM has just given it for this thread.
    let count = unsafe { java.layout.own_frames(env.cast(), into) };
    let frames = into.get(..count).unwrap_or_default();
    if frames.iter().any(|[id, _]| *id == 0) {
        UNNUMBERED.fetch_add(1, Relaxed);
        return 0;
    }
    if METHODS.with(|methods| frames.iter().fold(true, |all, [id, _]| methods.knows(*id) && all)) {
        count
    } else {
        0
    }
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
    METHODS.with(|methods| {
        for ([id, place], number) in frames.iter().zip(numbers) {
            *number = methods.number(*id, *place as i64);
        }
    });
}

/// See [`leakline_probing::joined::Joined::tell`].
fn tell(numbers: &[u64]) -> Vec<Option<Told>> {
    METHODS.with(|methods| numbers.iter().map(|number| methods.tell(*number)).collect())
}
