//! Counts what is live, and asks which of the sampled objects are, by following the references from the JVM's roots: where no
//! collection has looked, a leak is told from garbage all the same, and nobody had to be asked for a collection.
//!
//! A walk tells of every reference, and of an object as often as something leads to it. But each object that is visited tells of
//! its class once, so objects are counted by their class, of which all have one size. Arrays of primitives are told of once each;
//! other arrays get a tag where they are met first.
//!
//! The world stands still for as long as all of the heap that is live takes to be walked, so this is reckoned beforehand
//! (`looks`). Soft, weak and final references count as leading to their objects: what is not reached is garbage for sure.

use std::ffi::c_void;
use std::ptr;
use std::time::{Duration, Instant};

use jni::sys;

use crate::env::Frame;
use crate::error::JvmError;
use crate::tagged::{LOCALS, Tagged, VISIT_OBJECTS};
use crate::vm::Vm;

/// A reference's kind: from an object to its class.
const CLASS: i32 = 1;
/// The tag of an array that was met.
const MET: i64 = -1;

/// What was found.
pub(super) struct Reached {
    /// For each of the objects, in their order.
    pub(super) is_reached: Vec<bool>,
    /// All objects that something leads to, bytes; classes apart.
    pub(super) live: u64,
    /// The world stood still for about so long.
    pub(super) pause: Duration,
}

/// A class's objects.
#[derive(Debug, Clone, Copy, Default)]
struct Objects {
    is_of: Shape,
    visited: u64,
    /// References that lead to one of them, and the sizes that these told of, added up.
    references: u64,
    bytes: u64,
}

/// What tells the size of a class's objects.
#[derive(Debug, Clone, Copy, Default)]
enum Shape {
    /// All have one.
    #[default]
    Fields,
    /// Each has its own, and tells it once.
    Primitives,
    /// Each has its own, and every reference to it tells it.
    References,
}

impl Objects {
    fn of_class(signature: Option<&str>) -> Self {
        let is_of = match signature.and_then(|signature| signature.strip_prefix('[')) {
            None => Shape::Fields,
            Some(element) if element.starts_with(['L', '[']) => Shape::References,
            Some(_) => Shape::Primitives,
        };
        Self { is_of, ..Self::default() }
    }

    fn live(self) -> u64 {
        match self.is_of {
            // Those of classes that have no tag may be of several sizes.
            Shape::Fields => {
                (u128::from(self.visited) * u128::from(self.bytes) / u128::from(self.references.max(1)))
                    as u64
            }
            Shape::Primitives | Shape::References => self.bytes,
        }
    }
}

struct Found {
    is_reached: Vec<bool>,
    /// By the classes' tags.
    classes: Vec<Objects>,
}

impl Found {
    fn of(&mut self, class: i64) -> Option<&mut Objects> {
        let index = usize::try_from(class).ok().filter(|index| *index < self.classes.len());
        self.classes.get_mut(index.unwrap_or(0))
    }

    /// A reference to an object with this tag. Gives whether there was none before.
    fn meet(&mut self, tag: &mut i64) -> bool {
        let after_classes = (*tag - self.classes.len() as i64).try_into().ok();
        match after_classes.and_then(|index: usize| self.is_reached.get_mut(index)) {
            Some(is_reached) => !std::mem::replace(is_reached, true),
            None => *tag != MET,
        }
    }
}

/// Asks for objects by their weak references, on the lane's thread, which is in the JVM.
///
/// # Safety
///
/// Nobody deletes the references meanwhile.
pub(super) unsafe fn reach(frame: &Frame<'_>, vm: Vm, objects: &[sys::jweak]) -> Result<Reached, JvmError> {
    let tagged = Tagged::new(vm)?;
    let inner = frame.inner(LOCALS)?;
    let mut classes = vec![Objects::default()];
    for class in tagged.tag_classes() {
        // SAFETY: the reference is alive until `inner` ends.
        let signature = unsafe { tagged.jvmti().class_signature(class) };
        classes.push(Objects::of_class(signature.as_deref()));
    }
    drop(inner);
    let first = classes.len() as i64;
    let mut found = Found { is_reached: vec![true; objects.len()], classes };
    for (object, (tag, is_reached)) in objects.iter().zip((first..).zip(&mut found.is_reached)) {
        // SAFETY: the caller's promise; of one that was collected meanwhile the JVM takes no tag, and who asks will see that
        // it was.
        *is_reached = unsafe { !tagged.tag(*object, tag) };
    }
    let begun = Instant::now();
    let user_data = ptr::from_mut(&mut found).cast();
    // SAFETY: both take what was found, and nobody else uses it until this returns.
    unsafe { tagged.follow("the objects in use", on_reference, Some(on_array), user_data)? };
    let live = found.classes.iter().map(|objects| objects.live()).sum();
    Ok(Reached { is_reached: found.is_reached, live, pause: begun.elapsed() })
}

/// Called with the world at rest, once for each reference.
///
/// # Safety
///
/// `found` is what `reach` passed, and `tag` is the object's.
unsafe extern "system" fn on_reference(
    kind: i32,
    _: *const c_void,
    class: i64,
    referrer_class: i64,
    size: i64,
    tag: *mut i64,
    _: *mut i64,
    _: i32,
    found: *mut c_void,
) -> i32 {
    // SAFETY: the caller's promise; nobody else uses it meanwhile.
    let found = unsafe { &mut *found.cast::<Found>() };
    // SAFETY: the caller's promise.
    let tag = unsafe { &mut *tag };
    let is_new = found.meet(tag);
    if kind == CLASS {
        if let Some(objects) = found.of(referrer_class) {
            objects.visited += 1;
        }
        return VISIT_OBJECTS;
    }
    if let Some(objects) = found.of(class) {
        match objects.is_of {
            Shape::Fields => {
                objects.references += 1;
                objects.bytes = objects.bytes.saturating_add(size as u64);
            }
            Shape::References if is_new => {
                objects.bytes = objects.bytes.saturating_add(size as u64);
                if *tag == 0 {
                    *tag = MET;
                }
            }
            Shape::References | Shape::Primitives => {}
        }
    }
    VISIT_OBJECTS
}

/// Called with the world at rest, once for each array of primitives.
///
/// # Safety
///
/// `found` is what `reach` passed.
unsafe extern "system" fn on_array(
    class: i64,
    size: i64,
    _: *mut i64,
    _: i32,
    _: i32,
    _: *const c_void,
    found: *mut c_void,
) -> i32 {
    // SAFETY: the caller's promise; nobody else uses it meanwhile.
    let found = unsafe { &mut *found.cast::<Found>() };
    if let Some(objects) = found.of(class) {
        objects.bytes = objects.bytes.saturating_add(size as u64);
    }
    VISIT_OBJECTS
}
