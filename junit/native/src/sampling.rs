//! The callback for allocations, and the table that it fills, on whatever thread of the test's allocates.
//! An object is kept by a weak reference: whether it was collected is asked later.
//!
//! Never holds the lock while it calls the JVM, which may wait for a collection. Never makes a Java object, never leaves
//! an exception behind, never lets a panic out.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::panic::catch_unwind;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};
use std::sync::{Mutex, OnceLock, PoisonError};

use jni::sys;
use leakline_probing::java::jvmti::{self, Jvmti, StackFrame};
use leakline_probing::java::vm::Vm;

use crate::tags;

/// Frames of a path: beyond them is what runs the test.
const MAX_FRAMES: usize = 32;
/// Objects that are kept at a time, at some 50 bytes each, and a weak reference. Others are not told of.
const MAX_OBJECTS: usize = 200_000;
/// Call paths.
const MAX_PATHS: usize = 20_000;
/// Local references, as many as HotSpot lets one ask for.
const LOCALS: sys::jint = 65_536;

static ON: AtomicBool = AtomicBool::new(false);
static PART: AtomicI32 = AtomicI32::new(-1);
/// How often it was begun.
static EPOCH: AtomicU64 = AtomicU64::new(0);
/// Made once: a callback that is on its way uses it.
static TOOLS: OnceLock<Jvmti> = OnceLock::new();
static TABLE: Mutex<Option<Table>> = Mutex::new(None);

thread_local! {
    /// The epoch in which this thread was told of last.
    static TOLD: Cell<u64> = const { Cell::new(0) };
}

/// A class and a stack.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Path {
    /// Which of the table's.
    pub(crate) class: usize,
    /// Methods by the JVM's numbers, with the place in their code; innermost first.
    pub(crate) frames: Box<[(usize, i64)]>,
}

/// What was allocated.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Names of the classes that are asked for; a class's tag is its index and one.
    pub(crate) classes: Vec<String>,
    paths: HashMap<Path, usize>,
    objects: Vec<Object>,
}

#[derive(Debug, Clone, Copy)]
struct Object {
    weak: sys::jweak,
    path: usize,
    part: u32,
    bytes: u64,
}

// SAFETY: a weak global reference belongs to no thread.
unsafe impl Send for Object {}

impl Table {
    /// Path, part and bytes of each object.
    pub(crate) fn left(&self) -> impl Iterator<Item = (usize, u32, u64)> {
        self.objects.iter().map(|object| (object.path, object.part, object.bytes))
    }

    /// In their order.
    pub(crate) fn paths(&self) -> Vec<Path> {
        let mut paths: Vec<_> = self.paths.iter().collect();
        paths.sort_by_key(|(_, index)| **index);
        paths.into_iter().map(|(path, _)| path.clone()).collect()
    }

    fn has_room(&self) -> bool {
        self.objects.len() < MAX_OBJECTS && self.paths.len() < MAX_PATHS
    }
}

/// The environment that was begun with.
pub(crate) fn tools() -> Option<Jvmti> {
    TOOLS.get().copied()
}

/// The table, for as long as `work` runs; `None` before the first beginning.
pub(crate) fn with_table<R>(work: impl FnOnce(&mut Table) -> R) -> Option<R> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(work)
}

/// Begins to tell of every allocation of these classes; of a thread's from its next sample on.
///
/// # Safety
///
/// `jni` is the calling thread's.
pub(crate) unsafe fn begin(vm: Vm, jni: *mut sys::JNIEnv, classes: &[&str]) -> Result<(), String> {
    let jvmti =
        environment(vm).ok_or("this JVM does not tell of allocations (HotSpot does, from Java 11 on)")?;
    if !jvmti.add_sampling() {
        return Err(
            "another tool has this JVM sample allocations (leakline run, a profiler), which it does for one only"
                .to_owned(),
        );
    }
    let classes: Vec<String> = classes.iter().map(|name| (*name).to_owned()).collect();
    // SAFETY: the caller's promise.
    unsafe { tag(jvmti, jni, &classes) };
    *TABLE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Table { classes, ..Table::default() });
    EPOCH.fetch_add(1, Relaxed);
    PART.store(-1, Relaxed);
    ON.store(true, Release);
    if jvmti.set_sampling_interval(0) && jvmti.watch_samples(allocated) {
        return Ok(());
    }
    end();
    Err("the JVM refused to tell of allocations".to_owned())
}

fn environment(vm: Vm) -> Option<Jvmti> {
    if let Some(jvmti) = tools() {
        return Some(jvmti);
    }
    let env = vm.tools(jvmti::VERSION_11)?;
    // SAFETY: it was asked for by a version that has all that the older one has, and nobody disposes of it.
    let jvmti = unsafe { Jvmti::from_raw(env) }?;
    (jvmti.add_capabilities() && jvmti.add_tags()).then(|| *TOOLS.get_or_init(|| jvmti))
}

/// # Safety
///
/// `jni` is the calling thread's.
unsafe fn tag(jvmti: Jvmti, jni: *mut sys::JNIEnv, classes: &[String]) {
    let functions = table(jni);
    // SAFETY: the caller's promise.
    if unsafe { (functions.PushLocalFrame)(jni, LOCALS) } != sys::JNI_OK {
        // SAFETY: as above.
        unsafe { (functions.ExceptionClear)(jni) };
        return;
    }
    let plain: HashMap<String, usize> =
        classes.iter().enumerate().map(|(index, name)| (tags::plain(name), index)).collect();
    for class in jvmti.loaded_classes() {
        // SAFETY: its frame ends below.
        let signature = unsafe { jvmti.class_signature(class) }.unwrap_or_default();
        let tag = plain.get(&tags::plain(&signature)).map_or(0, |index| *index as i64 + 1);
        // SAFETY: as above.
        if tag != unsafe { tags::get(jvmti, class) } {
            // SAFETY: as above.
            unsafe { tags::set(jvmti, class, tag) };
        }
    }
    // SAFETY: it was pushed above.
    unsafe { (functions.PopLocalFrame)(jni, std::ptr::null_mut()) };
}

/// Whether the calling thread was told of since the beginning.
pub(crate) fn is_told() -> bool {
    TOLD.get() == EPOCH.load(Relaxed)
}

/// Negative: none; nothing is kept then.
pub(crate) fn set_part(part: i32) {
    PART.store(part, Relaxed);
}

/// Nothing is told of any more; the table stays.
pub(crate) fn end() {
    ON.store(false, Release);
    if let Some(jvmti) = tools() {
        jvmti.give_sampling_back();
    }
}

/// Takes out what was collected, if there are more than `many` objects. How many are left.
///
/// # Safety
///
/// `jni` is the calling thread's.
pub(crate) unsafe fn sweep(jni: *mut sys::JNIEnv, many: usize) -> usize {
    let count = with_table(|table| table.objects.len()).unwrap_or(0);
    if count <= many {
        return count;
    }
    // Out of the table, so that nobody else deletes them, and the JVM is asked without the lock.
    let mut objects = with_table(|table| std::mem::take(&mut table.objects)).unwrap_or_default();
    objects.retain(|object| {
        // SAFETY: the caller's promise; a weak reference that was collected is the same as null.
        let is_collected = unsafe { (table(jni).IsSameObject)(jni, object.weak, std::ptr::null_mut()) };
        if is_collected {
            // SAFETY: the caller's promise, and nobody has it any more.
            unsafe { delete(jni, object.weak) };
        }
        !is_collected
    });
    with_table(|table| {
        table.objects.append(&mut objects);
        table.objects.len()
    })
    .unwrap_or(0)
}

/// Takes out all objects.
///
/// # Safety
///
/// `jni` is the calling thread's.
pub(crate) unsafe fn forget(jni: *mut sys::JNIEnv) {
    for object in with_table(|table| std::mem::take(&mut table.objects)).unwrap_or_default() {
        // SAFETY: the caller's promise, and nobody has it any more.
        unsafe { delete(jni, object.weak) };
    }
}

/// Called by the JVM.
///
/// # Safety
///
/// As the specification says.
unsafe extern "system" fn allocated(
    env: *mut c_void,
    jni: *mut sys::JNIEnv,
    _thread: sys::jobject,
    object: sys::jobject,
    class: sys::jclass,
    size: i64,
) {
    if !ON.load(Acquire) {
        return;
    }
    // SAFETY: the JVM gave this environment, and it is never disposed of.
    let Some(jvmti) = (unsafe { Jvmti::from_raw(env) }) else { return };
    // SAFETY: the JVM's own arguments.
    let kept = catch_unwind(|| unsafe { keep(jvmti, jni, object, class, size) });
    if kept.is_err() {
        ON.store(false, Release);
    }
}

/// # Safety
///
/// `jni` is the calling thread's, and `object` and `class` are references that are alive.
unsafe fn keep(jvmti: Jvmti, jni: *mut sys::JNIEnv, object: sys::jobject, class: sys::jclass, size: i64) {
    TOLD.set(EPOCH.load(Relaxed));
    let Ok(part) = u32::try_from(PART.load(Relaxed)) else { return };
    // SAFETY: the caller's promise.
    let tag = unsafe { tags::get(jvmti, class) };
    let Some(class) = usize::try_from(tag).ok().and_then(|tag| tag.checked_sub(1)) else { return };
    let mut frames = [StackFrame::NONE; MAX_FRAMES];
    let count = jvmti.own_stack(&mut frames);
    let frames = frames.iter().take(count).map(|frame| (frame.method as usize, frame.place)).collect();
    let path = Path { class, frames };
    let functions = table(jni);
    // SAFETY: the caller's promise.
    let weak = unsafe { (functions.NewWeakGlobalRef)(jni, object) };
    if weak.is_null() {
        // No memory for it: the test's allocation succeeded, and must not fail for us.
        // SAFETY: as above.
        unsafe { (functions.ExceptionClear)(jni) };
        return;
    }
    let is_kept = with_table(|table| {
        if !table.has_room() {
            return false;
        }
        let next = table.paths.len();
        let path = *table.paths.entry(path).or_insert(next);
        table.objects.push(Object { weak, path, part, bytes: u64::try_from(size).unwrap_or(0) });
        true
    });
    if is_kept != Some(true) {
        // SAFETY: the caller's promise, and nobody else has it.
        unsafe { delete(jni, weak) };
    }
}

/// # Safety
///
/// `jni` is the calling thread's, and nobody uses the reference any more.
unsafe fn delete(jni: *mut sys::JNIEnv, weak: sys::jweak) {
    // SAFETY: the caller's promise.
    unsafe { (table(jni).DeleteWeakGlobalRef)(jni, weak) };
}

fn table<'a>(jni: *mut sys::JNIEnv) -> &'a sys::JNINativeInterface__1_6 {
    // SAFETY: `jni` comes from a thread in the JVM, where it begins with the pointer to the functions.
    let functions = unsafe { *jni };
    // SAFETY: every JVM since 1.6 has at least these functions, and they stay where they are.
    unsafe { &*functions.cast() }
}
