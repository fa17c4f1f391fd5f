//! Has the JVM tell its roots by the tool interface, and counts those that are global references, by their objects' class.
//! Follows no reference from there: what the roots hold is not visited.
//!
//! HotSpot tells the stacks' roots, then all global references, then those of its system classes. There the count ends it:
//! if it went on to the end, HotSpot up to 17 would walk the whole heap afterwards, to clean up marks that it did not make.

use std::ffi::c_void;
use std::ptr;
use std::time::{Duration, Instant};

use jni::sys;

use crate::env::Frame;
use crate::error::JvmError;
use crate::histogram::names;
use crate::tagged::{LOCALS, Tagged, VISIT_ABORT, VISIT_NOTHING};
use crate::vm::Vm;

/// Classes that are told.
const MAX_TOLD: usize = 2000;
/// A reference's kind.
const JNI_GLOBAL: i32 = 21;
/// The kind that comes after it.
const SYSTEM_CLASS: i32 = 22;
/// The tag of a class loader, which no class has.
const LOADER: i64 = -1;

/// What was counted.
pub(super) struct Counted {
    /// Global references.
    pub(super) total: u64,
    /// Those to objects of each class; a name may come more than once.
    pub(super) classes: Vec<(String, u64)>,
    /// Class loaders that have a class.
    pub(super) loaders: u64,
    /// The world stood still for about so long.
    pub(super) pause: Duration,
}

struct Sums {
    /// References by the tags of their objects' classes; 0 for classes that have none.
    counts: Vec<u64>,
    /// Whether there was one.
    seen: bool,
}

/// Counts, on the lane's thread, which is in the JVM.
pub(super) fn count(frame: &Frame<'_>, vm: Vm) -> Result<Counted, JvmError> {
    let tagged = Tagged::new(vm)?;
    let _frame = frame.inner(LOCALS)?;
    let classes = tagged.tag_classes();
    let loaders = loaders(&tagged, frame, &classes);
    let mut sums = Sums { counts: vec![0; classes.len() + 1], seen: false };
    let begun = Instant::now();
    let user_data = ptr::from_mut(&mut sums).cast();
    // SAFETY: `visit` takes these sums, and nobody else uses them until this returns.
    unsafe { tagged.follow("the JVM's roots", visit, None, user_data)? };
    let pause = begun.elapsed();
    let mut counts: Vec<(u64, sys::jclass)> =
        sums.counts.iter().skip(1).copied().zip(classes).filter(|(count, _)| *count > 0).collect();
    counts.sort_unstable_by_key(|(count, _)| std::cmp::Reverse(*count));
    let named = counts.into_iter().take(MAX_TOLD).filter_map(|(count, class)| {
        // SAFETY: the reference is alive until the frame ends.
        let signature = unsafe { tagged.jvmti().class_signature(class) }?;
        Some((names::of_signature(&signature), count))
    });
    Ok(Counted { total: sums.counts.iter().sum(), classes: named.collect(), loaders, pause })
}

/// Tells loaders apart by tags, which go with the environment. Nothing stands still.
fn loaders(tagged: &Tagged, frame: &Frame<'_>, classes: &[sys::jclass]) -> u64 {
    let mut count = 0;
    for class in classes {
        // SAFETY: the reference is alive until the frame ends.
        let Some(loader) = (unsafe { tagged.loader(*class) }) else { continue };
        // SAFETY: it is alive until it is deleted below.
        let is_new = unsafe { tagged.tag_of(loader) } == Some(0);
        // SAFETY: as above.
        if is_new && unsafe { tagged.tag(loader, LOADER) } {
            count += 1;
        }
        frame.delete(loader);
    }
    count
}

/// Called with the world at rest, once for each root.
///
/// # Safety
///
/// `sums` is what `count` passed.
unsafe extern "system" fn visit(
    kind: i32,
    _: *const c_void,
    class: i64,
    _: i64,
    _: i64,
    _: *mut i64,
    _: *mut i64,
    _: i32,
    sums: *mut c_void,
) -> i32 {
    // SAFETY: the caller's promise; nobody else uses it meanwhile.
    let sums = unsafe { &mut *sums.cast::<Sums>() };
    if kind == JNI_GLOBAL {
        sums.seen = true;
        let index = usize::try_from(class).unwrap_or(0);
        let index = if index < sums.counts.len() { index } else { 0 };
        if let Some(count) = sums.counts.get_mut(index) {
            *count = count.wrapping_add(1);
        }
    }
    if kind == SYSTEM_CLASS && sums.seen { VISIT_ABORT } else { VISIT_NOTHING }
}
