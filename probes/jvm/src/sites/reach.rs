//! Counts what is live, and asks which of the sampled objects are, by following the references from the JVM's roots: where no
//! collection has looked, a leak is told from garbage all the same, and nobody had to be asked for a collection.
//!
//! A walk tells of every reference, and of an object as often as something leads to it. But each object that is visited tells of
//! its class once, so objects are counted by their class, of which all have one size. Arrays of primitives are told of once each.
//! Other arrays have the mean size of those that references lead to, as most have one owner; only large ones get a tag where they are
//! met first: a tag is a block of malloc's in the host, and many of them would leave as many holes behind.
//!
//! The world stands still for as long as all of the heap that is live takes to be walked. That is reckoned beforehand (`looks`),
//! and a walk that takes longer than it may ends without a result. Soft, weak and final references count as leading to their
//! objects: what is not reached is garbage for sure.

use std::ffi::c_void;
use std::ptr;
use std::time::{Duration, Instant};

use jni::sys;

use crate::env::Frame;
use crate::error::JvmError;
use crate::tagged::{LOCALS, Tagged, VISIT_ABORT, VISIT_OBJECTS};
use crate::vm::Vm;

/// A reference's kind: from an object to its class.
const CLASS: i32 = 1;
/// The tag of a large array that was met.
const MET: i64 = -1;
/// Bytes from which on an array is large.
const LARGE: u64 = 1024;

/// It is looked at the clock after so many calls.
const CALLS: u32 = 1024;

/// What was found.
pub(super) struct Reached {
    /// For each of the objects, in their order.
    pub(super) is_reached: Vec<bool>,
    /// All objects that something leads to, bytes; classes apart. `None`: the time was up, and nothing is known.
    pub(super) live: Option<u64>,
    /// The world stood still for about so long.
    pub(super) pause: Duration,
}

/// A class's objects.
#[derive(Debug, Clone, Copy, Default)]
struct Objects {
    is_of: Shape,
    visited: u64,
    /// References that lead to one of them, and the sizes that these told of, added up; large arrays apart.
    references: u64,
    referenced: u64,
    /// Large arrays, and arrays of primitives.
    counted: u64,
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
    /// Each has its own, and only references to it tell it.
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

    fn refer(&mut self, size: u64) {
        self.references += 1;
        self.referenced = self.referenced.saturating_add(size);
    }

    fn count(&mut self, size: u64) {
        self.counted += 1;
        self.bytes = self.bytes.saturating_add(size);
    }

    fn live(self) -> u64 {
        let others = u128::from(self.visited.saturating_sub(self.counted));
        let mean = others * u128::from(self.referenced) / u128::from(self.references.max(1));
        self.bytes.saturating_add(u64::try_from(mean).unwrap_or(u64::MAX))
    }
}

struct Found {
    is_reached: Vec<bool>,
    /// By the classes' tags.
    classes: Vec<Objects>,
    /// When it has to end.
    until: Instant,
    calls: u32,
    is_over: bool,
}

impl Found {
    fn of(&mut self, class: i64) -> Option<&mut Objects> {
        let index = usize::try_from(class).ok().filter(|index| *index < self.classes.len());
        self.classes.get_mut(index.unwrap_or(0))
    }

    /// What is answered.
    fn go_on(&mut self) -> i32 {
        self.calls = self.calls.wrapping_add(1);
        self.is_over = self.is_over || self.calls.is_multiple_of(CALLS) && Instant::now() > self.until;
        if self.is_over { VISIT_ABORT } else { VISIT_OBJECTS }
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

/// Asks for objects by their weak references, on the lane's thread, which is in the JVM. Stops after `most`.
///
/// # Safety
///
/// Nobody deletes the references meanwhile.
pub(super) unsafe fn reach(
    frame: &Frame<'_>,
    vm: Vm,
    objects: &[sys::jweak],
    most: Duration,
) -> Result<Reached, JvmError> {
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
    let is_reached = vec![true; objects.len()];
    let mut found = Found { is_reached, classes, until: Instant::now(), calls: 0, is_over: false };
    for (object, (tag, is_reached)) in objects.iter().zip((first..).zip(&mut found.is_reached)) {
        // SAFETY: the caller's promise; of one that was collected meanwhile the JVM takes no tag, and who asks will see that
        // it was.
        *is_reached = unsafe { !tagged.tag(*object, tag) };
    }
    let begun = Instant::now();
    found.until = begun + most;
    let user_data = ptr::from_mut(&mut found).cast();
    // SAFETY: both take what was found, and nobody else uses it until this returns.
    unsafe { tagged.follow("the objects in use", on_reference, Some(on_array), user_data)? };
    let pause = begun.elapsed();
    if found.is_over {
        return Ok(Reached { is_reached: vec![true; objects.len()], live: None, pause });
    }
    let live = found.classes.iter().map(|objects| objects.live()).sum();
    Ok(Reached { is_reached: found.is_reached, live: Some(live), pause })
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
    length: i32,
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
        return found.go_on();
    }
    let size = u64::try_from(size).unwrap_or(0);
    if let Some(objects) = found.of(class) {
        match objects.is_of {
            Shape::Fields => objects.refer(size),
            Shape::References if size >= LARGE => {
                if is_new {
                    objects.count(size);
                }
                if *tag == 0 {
                    *tag = MET;
                }
            }
            // Many lists share one that is empty.
            Shape::References if length > 0 => objects.refer(size),
            Shape::References | Shape::Primitives => {}
        }
    }
    found.go_on()
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
        objects.count(u64::try_from(size).unwrap_or(0));
    }
    found.go_on()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(signatures: &[&str], samples: usize, until: Instant) -> Found {
        let classes = [None].into_iter().chain(signatures.iter().copied().map(Some));
        let classes = classes.map(Objects::of_class).collect();
        Found { is_reached: vec![false; samples], classes, until, calls: 0, is_over: false }
    }

    /// What is live of a class of such objects, of which so many are visited, by references that tell of these sizes.
    fn check(signature: &str, visited: u64, sizes: &[i64], expected: u64) {
        let mut found = found(&["Ljava/lang/Class;", signature], 0, Instant::now() + Duration::from_secs(60));
        let user_data = ptr::from_mut(&mut found).cast::<c_void>();
        let mut tag = 0;
        let mut tell = |kind, class, of, size| {
            let (null, tag) = (ptr::null(), &raw mut tag);
            // SAFETY: what was found is this, and the tag is the object's.
            let answer =
                unsafe { on_reference(kind, null, class, of, size, tag, ptr::null_mut(), 1, user_data) };
            assert_eq!(answer, VISIT_OBJECTS);
        };
        sizes.iter().for_each(|size| tell(2, 2, 1, *size));
        (0..visited).for_each(|_| tell(CLASS, 1, 2, 112));
        let live: Vec<u64> = found.classes.iter().map(|class| class.live()).collect();
        assert_eq!(live, [0, 0, expected], "{signature}");
    }

    #[test]
    fn an_object_is_counted_once_however_often_something_leads_to_it() {
        check("Ljava/lang/Long;", 2, &[24, 24, 24, 24, 24], 48);
        // One large array, to which three references lead; five small ones, each with an owner.
        check("[Ljava/lang/Object;", 1, &[4016, 4016, 4016], 4016);
        check("[Ljava/lang/Object;", 5, &[56, 56, 40, 24, 24], 200);
        // Of arrays of primitives, every one tells of itself.
        check("[B", 1, &[4016, 4016], 0);
    }

    #[test]
    fn a_sample_is_met_once() {
        let mut found = found(&["A"], 2, Instant::now());
        // Tags: a class, the second sample, none, an array that was met.
        let met: Vec<bool> = [1, 3, 3, 0, MET].map(|mut tag| found.meet(&mut tag)).to_vec();
        assert_eq!((met, found.is_reached), (vec![true, true, false, true, false], vec![false, true]));
    }

    #[test]
    fn a_walk_ends_when_its_time_is_up() {
        let mut found = found(&[], 0, Instant::now());
        let answers: Vec<i32> = (0..2 * CALLS).map(|_| found.go_on()).collect();
        let ends = answers.iter().position(|answer| *answer == VISIT_ABORT);
        assert_eq!(ends, Some(CALLS as usize - 1));
        assert!(answers[CALLS as usize..].iter().all(|answer| *answer == VISIT_ABORT));
    }
}
