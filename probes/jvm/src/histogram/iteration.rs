//! Counts by the tool interface: every class gets a number as its tag, and the JVM tells the size and the class's tag of
//! every object. For JVMs without HotSpot's diagnostic command.

use std::ffi::c_void;
use std::mem::transmute;
use std::ptr;

use jni::sys;

use super::{Counted, Means, names};
use crate::env::Frame;
use crate::error::JvmError;
use crate::tagged::{Env, Error, LOCALS, Tagged};
use crate::vm::Vm;

/// Number of a function.
const ITERATE_THROUGH_HEAP: usize = 116;

type IterateThroughHeap =
    unsafe extern "system" fn(Env, i32, sys::jclass, *const HeapCallbacks, *const c_void) -> Error;
type Visit = unsafe extern "system" fn(i64, i64, *mut i64, i32, *mut c_void) -> i32;

/// The specification's struct: of its 16 functions, that for objects comes first.
#[repr(C)]
struct HeapCallbacks {
    object: Visit,
    others: [usize; 15],
}

/// To go on with the next object.
const VISIT_OBJECTS: i32 = 0x100;

/// Any JVM with the tool interface and tags.
pub(super) struct Iteration {
    vm: Vm,
}

impl Iteration {
    /// Asks for nothing yet: a JVM that has the other means is left without the tool interface.
    pub(super) fn new(vm: Vm) -> Self {
        Self { vm }
    }
}

/// Objects and bytes by the classes' tags; 0 for classes that have none.
struct Sums(Vec<(u64, u64)>);

impl Means for Iteration {
    fn name(&self) -> &'static str {
        "the tool interface's heap iteration"
    }

    fn count(&mut self, frame: &Frame<'_>) -> Result<Vec<Counted>, JvmError> {
        let tagged = Tagged::new(self.vm)?;
        let frame = frame.inner(LOCALS)?;
        let mut names = vec!["(classes that were loaded meanwhile, or that the JVM hides)".to_owned()];
        for class in tagged.tag_classes() {
            // SAFETY: the reference is alive until `frame` ends.
            let signature = unsafe { tagged.jvmti().class_signature(class) };
            names.push(signature.map_or_else(String::new, |signature| names::of_signature(&signature)));
        }
        drop(frame);
        let mut sums = Sums(vec![(0, 0); names.len()]);
        iterate(&tagged, &mut sums)?;
        let counted = names.into_iter().zip(sums.0).filter(|(_, (count, _))| *count > 0);
        Ok(counted.map(|(name, (count, bytes))| Counted { name, count, bytes }).collect())
    }
}

/// Called with the world at rest, once for each object.
///
/// # Safety
///
/// `sums` is what `iterate` passed.
unsafe extern "system" fn visit(class: i64, size: i64, _: *mut i64, _: i32, sums: *mut c_void) -> i32 {
    // SAFETY: the caller's promise; nobody else uses it meanwhile.
    let sums = unsafe { &mut *sums.cast::<Sums>() };
    let index = usize::try_from(class).unwrap_or(0);
    if let Some((count, bytes)) = sums.0.get_mut(index) {
        *count = count.wrapping_add(1);
        *bytes = bytes.wrapping_add(size as u64);
    }
    VISIT_OBJECTS
}

fn iterate(tagged: &Tagged, sums: &mut Sums) -> Result<(), JvmError> {
    let function = tagged.jvmti().function(ITERATE_THROUGH_HEAP);
    // SAFETY: the function of this number has this type, by the specification.
    let iterate = unsafe { transmute::<*const c_void, IterateThroughHeap>(function) };
    let callbacks = HeapCallbacks { object: visit, others: [0; 15] };
    let sums = ptr::from_mut(sums).cast::<c_void>();
    let env = tagged.jvmti().raw();
    // SAFETY: no filter and no class; the JVM calls `visit` with `sums` until this returns.
    match unsafe { iterate(env, 0, ptr::null_mut(), &raw const callbacks, sums) } {
        0 => Ok(()),
        code => Err(JvmError::Refused { what: "the heap's iteration", said: format!("error {code}") }),
    }
}
