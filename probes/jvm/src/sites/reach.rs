//! Asks which of the sampled objects anything still leads to, by following the references from the JVM's roots: live is told
//! from garbage where no collection has looked, and nobody had to be asked for one.
//!
//! The world stands still for as long as all of the heap that is live takes to be walked, so this is reckoned beforehand
//! (`looks`). Soft, weak and final references count as leading to their objects: what is not reached is garbage for sure.

use std::ffi::c_void;
use std::ptr;
use std::time::{Duration, Instant};

use jni::sys;

use crate::error::JvmError;
use crate::tagged::{Tagged, Told, VISIT_ABORT, VISIT_OBJECTS};
use crate::vm::Vm;

/// What was found.
pub(super) struct Reached {
    /// For each of the objects, in their order.
    pub(super) is_reached: Vec<bool>,
    /// The world stood still for about so long.
    pub(super) pause: Duration,
}

struct Found {
    is_reached: Vec<bool>,
    /// Objects that were not met yet.
    left: usize,
}

/// Asks for objects by their weak references, on the lane's thread, which is in the JVM.
///
/// # Safety
///
/// Nobody deletes the references meanwhile.
pub(super) unsafe fn reach(vm: Vm, objects: &[sys::jweak]) -> Result<Reached, JvmError> {
    let tagged = Tagged::new(vm)?;
    let mut found = Found { is_reached: vec![true; objects.len()], left: 0 };
    for (index, (object, is_reached)) in objects.iter().zip(&mut found.is_reached).enumerate() {
        // SAFETY: the caller's promise; of one that was collected meanwhile the JVM takes no tag, and who asks will see that
        // it was.
        if unsafe { tagged.tag(*object, index as i64 + 1) } {
            *is_reached = false;
            found.left += 1;
        }
    }
    let begun = Instant::now();
    if found.left > 0 {
        let user_data = ptr::from_mut(&mut found).cast();
        // SAFETY: `visit` takes what was found, and nobody else uses it until this returns.
        unsafe { tagged.follow("the objects in use", Told::Tagged, visit, user_data)? };
    }
    Ok(Reached { is_reached: found.is_reached, pause: begun.elapsed() })
}

/// Called with the world at rest, once for each reference to one of the objects.
///
/// # Safety
///
/// `found` is what `reach` passed, and `tag` is the object's.
unsafe extern "system" fn visit(
    _: i32,
    _: *const c_void,
    _: i64,
    _: i64,
    _: i64,
    tag: *mut i64,
    _: *mut i64,
    _: i32,
    found: *mut c_void,
) -> i32 {
    // SAFETY: the caller's promise; nobody else uses it meanwhile.
    let found = unsafe { &mut *found.cast::<Found>() };
    // SAFETY: the caller's promise.
    let tag = unsafe { *tag };
    let place = usize::try_from(tag - 1).ok().and_then(|index| found.is_reached.get_mut(index));
    if let Some(is_reached) = place
        && !std::mem::replace(is_reached, true)
    {
        found.left -= 1;
    }
    if found.left == 0 { VISIT_ABORT } else { VISIT_OBJECTS }
}
