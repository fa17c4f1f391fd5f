//! Where Python has to do with an object of Java's: samples also get the frames of Python that are on the same thread's stack,
//! because the line that keeps a Java object may be one that called Java. And it is noted when a sample's class is one by
//! which a bridge has Java hold a Python object: so a line is known that let Java have it. No heap is walked for it, and no
//! object is looked into.
//!
//! Such a call comes from Python's interpreter on that thread, or is made below it: so the thread's frames are there to be
//! read, by the way in which the native heap's call paths go on in them (`probing::joined`).
//!
//! Where there is no bridge, this costs a look at a flag. Otherwise Python's frames are asked for, and a sample's class is
//! compared with those that were met, or asked for its name.
//!
//! Never here: the GIL, or a class of the bridge's that is kept from being unloaded.

use std::ptr;
use std::sync::atomic::{
    AtomicBool, AtomicPtr, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};

use jni::sys;
use leakline_core::HOLDERS_OF_PYTHON;
use leakline_probing::java::bridges;
use leakline_probing::joined::{self, Joined, RawFrame};
use leakline_probing::loader::{self, Watch};

use super::weak;
use crate::env::table;
use crate::joined as java;
use crate::jvmti::Jvmti;

/// Most of Python's frames.
const MAX_FRAMES: usize = 32;

/// Whether there is a bridge's library.
static EXPECTED: AtomicBool = AtomicBool::new(false);
/// Weak references to the classes that were met. A program has one bridge: once one was met, nobody looks for the others.
static KNOWN: [AtomicPtr<sys::_jobject>; HOLDERS_OF_PYTHON.len()] =
    [const { AtomicPtr::new(ptr::null_mut()) }; HOLDERS_OF_PYTHON.len()];

/// Frames of Python, by the numbers by which they are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PythonFrames {
    /// Which of the runtimes that joined.
    runtime: u32,
    pub(super) numbers: Box<[u64]>,
}

/// What Python has to do with a sample.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Bridged {
    /// By which of the classes, from 1, Java holds a Python object; 0: none of them.
    pub(super) class: u8,
    /// Where Python was, if it was on that thread.
    pub(super) python: Option<PythonFrames>,
}

impl Bridged {
    /// What it has to do with a sample whose class is `class`, in the callback for it.
    ///
    /// # Safety
    ///
    /// `jni` is the calling thread's, and `class` is a reference to a class that is alive.
    pub(super) unsafe fn of(jvmti: Jvmti, jni: *mut sys::JNIEnv, class: sys::jclass) -> Self {
        if !EXPECTED.load(Relaxed) && others().next().is_none() {
            return Self::default();
        }
        let is_same = |known: &AtomicPtr<sys::_jobject>| {
            let known = known.load(Acquire);
            // SAFETY: the caller's promise; the other is a weak reference that is never deleted.
            !known.is_null() && unsafe { (table(jni).IsSameObject)(jni, known, class) }
        };
        let class = match KNOWN.iter().position(is_same) {
            Some(index) => index as u8 + 1,
            None if KNOWN.iter().any(|known| !known.load(Relaxed).is_null()) => 0,
            // SAFETY: the caller's promise.
            None => unsafe { find(jvmti, jni, class) },
        };
        Self { class, python: PythonFrames::here() }
    }

    /// For a path's hash.
    pub(super) fn words(&self) -> impl Iterator<Item = u64> {
        let python = self.python.iter().flat_map(|python| python.numbers.iter().copied());
        (self.class > 0).then_some(u64::from(self.class)).into_iter().chain(python)
    }

    /// The name of the class.
    pub(super) fn class_name(&self) -> Option<&'static str> {
        HOLDERS_OF_PYTHON.get(usize::from(self.class).checked_sub(1)?).copied()
    }

    /// Python's frames in words, innermost first.
    pub(super) fn tell(&self) -> Vec<leakline_core::Frame> {
        let Some(PythonFrames { runtime, numbers }) = &self.python else { return Vec::new() };
        let Some(joined) = joined::all().nth(*runtime as usize) else { return Vec::new() };
        let told = (joined.tell)(numbers).into_iter().flatten();
        told.map(|told| leakline_core::Frame::new(told.function, told.file, told.line)).collect()
    }
}

/// Runtimes that joined, and are not Java, with their numbers.
fn others() -> impl Iterator<Item = (usize, &'static Joined)> {
    joined::all().enumerate().filter(|(_, runtime)| !java::is_own(runtime))
}

impl PythonFrames {
    /// Those of the calling thread.
    fn here() -> Option<Self> {
        others().find_map(|(index, runtime)| {
            let mut frames: [RawFrame; MAX_FRAMES] = [[0; 2]; MAX_FRAMES];
            // SAFETY: there is room for as many frames as it is told, and no native ones to look at.
            let found = unsafe { (runtime.walk)(ptr::null(), 0, frames.as_mut_ptr(), MAX_FRAMES) };
            let frames = frames.get(..found.min(MAX_FRAMES)).filter(|frames| !frames.is_empty())?;
            let mut numbers = vec![0; frames.len()].into_boxed_slice();
            // SAFETY: `walk` has just found these, on this thread, and there is a number for each.
            unsafe { (runtime.keep)(frames.as_ptr(), frames.len(), numbers.as_mut_ptr()) };
            Some(Self { runtime: u32::try_from(index).unwrap_or(u32::MAX), numbers })
        })
    }
}

/// Notices that there is a bridge.
#[derive(Debug)]
pub(super) struct Expecting(Watch);

impl Expecting {
    pub(super) fn new() -> Self {
        let mut expecting = Self(Watch::new(&[]));
        expecting.look();
        expecting
    }

    /// Looks for a bridge's library, when others were loaded.
    pub(super) fn look(&mut self) {
        if !EXPECTED.load(Relaxed) && self.0.changed() && loader::loaded_object(bridges::LIBRARIES).is_some()
        {
            EXPECTED.store(true, Relaxed);
        }
    }
}

/// Which of the classes `class` is, from 1, where none is known yet; 0: none of them.
///
/// # Safety
///
/// As for [`Bridged::of`].
unsafe fn find(jvmti: Jvmti, jni: *mut sys::JNIEnv, class: sys::jclass) -> u8 {
    // SAFETY: the caller's promise.
    let Some(signature) = (unsafe { jvmti.class_signature(class) }) else { return 0 };
    let name = signature.strip_prefix('L').and_then(|name| name.strip_suffix(';')).unwrap_or_default();
    let is_same = |holder: &&str| holder.split('.').eq(name.split('/'));
    let Some(index) = HOLDERS_OF_PYTHON.iter().position(is_same) else { return 0 };
    if let Some(known) = KNOWN.get(index) {
        // SAFETY: the caller's promise.
        let new = unsafe { weak::new(jni, class) };
        if known.compare_exchange(ptr::null_mut(), new, AcqRel, Relaxed).is_err() && !new.is_null() {
            // SAFETY: it was made above, and another thread was faster.
            unsafe { weak::delete(jni, new) };
        }
    }
    index as u8 + 1
}

/// Forgets the classes of a JVM that has ended. In one that is there they stay: a callback may be at one of them.
pub(super) fn forget() {
    KNOWN.iter().for_each(|known| known.store(ptr::null_mut(), Release));
}
