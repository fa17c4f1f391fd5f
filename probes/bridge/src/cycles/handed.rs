//! What comes across from Python: the Java object behind each wrapper, and by what Java's hold on a Python object is
//! recognised. JPype leaves both in an array, in a `ThreadLocal` of our thread; jep is asked for each object by the
//! function that it exports, and its own objects say whose address they hold.

use std::ffi::c_void;
use std::mem::transmute;
use std::ptr::NonNull;

use jni::sys;
use leakline_probing::across::{self, Reached};
use leakline_probing::loader;

use crate::error::BridgeError;
use crate::java::{Frame, Local, Member};
use crate::tables::{self, Bridge};

/// jep's conversion of a Python object: for a wrapper, a new local reference to its object.
type AsObject = unsafe extern "C" fn(*mut sys::JNIEnv, *mut c_void, sys::jclass) -> sys::jobject;

const THREAD: &str = "Ljava/lang/Thread;";
const OBJECT: &str = "Ljava/lang/Object;";
const LOCALS: &str = "Ljava/lang/ThreadLocal$ThreadLocalMap;";
const ENTRY: &str = "Ljava/lang/ThreadLocal$ThreadLocalMap$Entry;";
const ARRAY: &str = "[Ljava/lang/Object;";
/// Entries of our own thread's map that are looked through.
const MOST_LOCALS: i32 = 4096;

/// Called with `Jep` for each wrapper, under the GIL.
struct Jep {
    env: *mut sys::JNIEnv,
    object: sys::jclass,
    as_object: AsObject,
    wrapped: Vec<sys::jobject>,
}

/// One bridge's way across.
pub(super) struct Handed<'f> {
    frame: &'f Frame<'f>,
    bridge: Bridge,
    /// The addresses that jep's objects hold, sorted.
    held: Vec<u64>,
    jep: Option<Box<Jep>>,
    /// Of each pair the wrapper's object, and with JPype the proxy.
    pairs: Vec<(sys::jobject, sys::jobject)>,
}

impl<'f> Handed<'f> {
    /// Looks up what is needed, before Python is asked.
    pub(super) fn prepare(frame: &'f Frame<'f>, bridge: Bridge) -> Result<Self, BridgeError> {
        let none = Self { frame, bridge, held: Vec::new(), jep: None, pairs: Vec::new() };
        if bridge == Bridge::Jpype {
            return Ok(none);
        }
        let unknown = || BridgeError::Unknown { what: "PyObject_As_jobject" };
        let library =
            loader::loaded_object(&["libjep."]).or_else(|| loader::loaded_object(&["jep.cpython-"]));
        let found = library.and_then(|library| library.symbol(c"PyObject_As_jobject")).ok_or_else(unknown)?;
        // SAFETY: jep exports a function of this type by this name, since 3.8.
        let as_object = unsafe { transmute::<NonNull<c_void>, AsObject>(found) };
        let (_, object) = frame.initialised(&[OBJECT]).ok_or_else(unknown)?;
        let jep = Jep { env: frame.raw(), object: object.raw(), as_object, wrapped: Vec::new() };
        let held = tables::held_by_jep(frame)?;
        Ok(Self { jep: Some(Box::new(jep)), held, ..none })
    }

    /// As the question for the probe of Python has it.
    pub(super) fn bridge(&mut self) -> Result<across::Bridge, BridgeError> {
        if self.bridge == Bridge::Jpype {
            return Ok(across::Bridge::Jpype);
        }
        let jep = self.jep.as_mut().ok_or(BridgeError::Unknown { what: "jep" })?;
        let context = std::ptr::from_mut(jep.as_mut());
        Ok(across::Bridge::Jep {
            held: self.held.clone(),
            hand_over: hand_over as *const () as u64,
            context: context as u64,
        })
    }

    /// Takes what was handed over.
    pub(super) fn take(&mut self, reached: &Reached) -> Result<(), BridgeError> {
        if let Some(jep) = &mut self.jep {
            let wrapped = std::mem::take(&mut jep.wrapped).into_iter();
            self.pairs = wrapped.map(|object| (object, std::ptr::null_mut())).collect();
        } else if !reached.pairs.is_empty() {
            self.pairs = left_by_jpype(self.frame, reached.pairs.len())?;
        }
        Ok(())
    }

    /// The Java object behind the wrapper of a pair.
    pub(super) fn wrapped(&self, pair: usize) -> Option<sys::jobject> {
        self.pairs.get(pair).map(|(wrapped, _)| *wrapped).filter(|wrapped| !wrapped.is_null())
    }

    /// Whether by `object`, of a class of this name, Java holds the Python object of a pair, which is at `address`.
    pub(super) fn is_hold(
        &self,
        frame: &Frame<'_>,
        object: sys::jobject,
        class: &str,
        pair: usize,
        address: u64,
    ) -> bool {
        match self.bridge {
            Bridge::Jpype => {
                let proxy = self.pairs.get(pair).map(|(_, proxy)| *proxy);
                proxy.is_some_and(|proxy| !proxy.is_null() && frame.is_same(proxy, object))
            }
            Bridge::Jep | Bridge::Chaquopy => {
                tables::address_held_by_jep(frame, object, class) == Some(address)
            }
        }
    }
}

/// See [`across::HandOver`].
///
/// # Safety
///
/// `context` is the address of a `Jep` that nobody else uses meanwhile, on the thread of its environment; `wrapper` is a
/// Python object that is alive, under the GIL.
unsafe extern "C" fn hand_over(context: u64, wrapper: u64) -> bool {
    // SAFETY: the caller's promise.
    let jep = unsafe { &mut *(context as *mut Jep) };
    // SAFETY: the caller's promise; the class is alive, and the function reads a reference.
    let object = unsafe { (jep.as_object)(jep.env, wrapper as *mut c_void, jep.object) };
    jep.wrapped.push(object);
    !object.is_null()
}

/// The array that JPype has left in one of our thread's own variables: 2 entries for each of `pairs`.
fn left_by_jpype(frame: &Frame<'_>, pairs: usize) -> Result<Vec<(sys::jobject, sys::jobject)>, BridgeError> {
    let current =
        Member { name: c"currentThread", of: c"()Ljava/lang/Thread;", call: "Thread.currentThread" };
    let locals = Member {
        name: c"threadLocals",
        of: c"Ljava/lang/ThreadLocal$ThreadLocalMap;",
        call: "Thread.threadLocals",
    };
    let table = Member {
        name: c"table",
        of: c"[Ljava/lang/ThreadLocal$ThreadLocalMap$Entry;",
        call: "the table of Thread.threadLocals",
    };
    let value = Member { name: c"value", of: c"Ljava/lang/Object;", call: "an entry of Thread.threadLocals" };
    let (_, thread) = frame.initialised(&[THREAD]).ok_or(BridgeError::Nothing { call: "Thread" })?;
    let thread = frame.call_static(thread, current)?;
    let locals = frame.field(thread, THREAD, locals)?;
    let table = frame.field(locals, LOCALS, table)?;
    let wanted = i32::try_from(2 * pairs).unwrap_or(i32::MAX);
    for index in 0..frame.length(table).min(MOST_LOCALS) {
        let Some(entry) = frame.element(table, index) else { continue };
        let Ok(array) = frame.field(entry, ENTRY, value) else { continue };
        if frame.is_of(array, ARRAY) && frame.length(array) == wanted {
            let at = |index| frame.element(array, index).map_or(std::ptr::null_mut(), Local::raw);
            return Ok((0..wanted / 2).map(|pair| (at(2 * pair), at(2 * pair + 1))).collect());
        }
    }
    Err(BridgeError::Nothing { call: "the hand-over by JPype" })
}
