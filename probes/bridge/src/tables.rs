//! The bridges that are known, and the table that each keeps of the Python objects that Java holds.
//! Never walks a table: its length is asked for.

use jni::sys;

use crate::error::BridgeError;
use crate::java::{Class, Count, Frame, Local, Member};

/// A bridge between Python and Java.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bridge {
    /// JPype: its queue has an entry for each Java object that keeps a Python object (proxies, exceptions, buffers).
    Jpype,
    /// jep: the interpreters that share one Python share a set, which has an entry for each `PyObject`. Those of a
    /// `SubInterpreter` have a set of their own, which only a walk of the heap would find.
    Jep,
    /// Chaquopy: one map for the process, which has an entry for each `PyObject` of Java's.
    Chaquopy,
}

const QUEUE: &str = "Lorg/jpype/ref/JPypeReferenceQueue;";
const SHARED: &str = "Ljep/SharedInterpreter;";
const CHAQUOPY: &str = "Lcom/chaquo/python/PyObject;";
const MANAGER: &str = "Ljep/python/MemoryManager;";
const SET: &str = "Ljava/util/Collections$SetFromMap;";
const POINTER: &str = "Ljep/python/PyPointer;";
/// Most of jep's references that are read.
const MOST_POINTERS: i32 = 200_000;
const MAP: &str = "Ljava/util/concurrent/ConcurrentHashMap;";

/// A bridge's table.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) bridge: Bridge,
    pub(crate) count: Count,
}

impl Table {
    /// The table of the bridge that this JVM has; `None` as long as there is none.
    pub(crate) fn find(frame: &Frame<'_>) -> Result<Option<Self>, BridgeError> {
        let Some((signature, class)) = frame.initialised(&[QUEUE, SHARED, CHAQUOPY]) else { return Ok(None) };
        let (bridge, count) = match signature {
            QUEUE => (Bridge::Jpype, of_jpype(frame, class)?),
            SHARED => (Bridge::Jep, of_jep(frame, class)?),
            _ => (Bridge::Chaquopy, of_chaquopy(frame, class)?),
        };
        Ok(Some(Self { bridge, count }))
    }
}

/// `getQueueSize` reads a field, without the lock under which it is written: old by as much as an int may be.
fn of_jpype(frame: &Frame<'_>, class: Class<'_>) -> Result<Count, BridgeError> {
    let instance = Member {
        name: c"getInstance",
        of: c"()Lorg/jpype/ref/JPypeReferenceQueue;",
        call: "JPypeReferenceQueue.getInstance",
    };
    let queue = frame.call_static(class, instance)?;
    frame.keep(queue, QUEUE, c"getQueueSize", "JPypeReferenceQueue.getQueueSize")
}

/// Its entries are weak, and go with the objects. The map is a plain one, whose size is a field: the lock under which it
/// is written is not taken.
fn of_chaquopy(frame: &Frame<'_>, class: Class<'_>) -> Result<Count, BridgeError> {
    let cache = Member { name: c"cache", of: c"Ljava/util/Map;", call: "PyObject.cache" };
    let cache = frame.static_field(class, cache)?;
    frame.keep(cache, "Ljava/util/HashMap;", c"size", "PyObject.cache.size")
}

/// The map inside the set, if it is the one that adds up its size without a lock.
fn of_jep(frame: &Frame<'_>, class: Class<'_>) -> Result<Count, BridgeError> {
    let map = Member { name: c"m", of: c"Ljava/util/Map;", call: "the set of MemoryManager.pointers" };
    let map = frame.field(pointers(frame, class)?, SET, map)?;
    frame.keep(map, MAP, c"size", "the map of MemoryManager.pointers")
}

/// The set of jep's own references to Python objects.
fn pointers<'f>(frame: &'f Frame<'_>, class: Class<'_>) -> Result<Local<'f>, BridgeError> {
    let manager = Member {
        name: c"memoryManager",
        of: c"Ljep/python/MemoryManager;",
        call: "SharedInterpreter.memoryManager",
    };
    let pointers = Member { name: c"pointers", of: c"Ljava/util/Set;", call: "MemoryManager.pointers" };
    let manager = frame.static_field(class, manager)?;
    frame.field(manager, MANAGER, pointers)
}

/// The addresses of the Python objects that Java holds by jep, sorted. Some may be gone by the time they are used.
pub(crate) fn held_by_jep(frame: &Frame<'_>) -> Result<Vec<u64>, BridgeError> {
    let nothing = BridgeError::Nothing { call: "SharedInterpreter" };
    let (_, class) = frame.initialised(&[SHARED]).ok_or(nothing)?;
    let to_array =
        Member { name: c"toArray", of: c"()[Ljava/lang/Object;", call: "the set of MemoryManager.pointers" };
    // Takes no lock: the map behind the set is walked as it is.
    let all = frame.call(pointers(frame, class)?, SET, to_array)?;
    let mut addresses = Vec::new();
    for index in 0..frame.length(all).min(MOST_POINTERS) {
        let Some(pointer) = frame.element(all, index) else { continue };
        let address = frame.long(pointer, POINTER, c"pyObject", "PyPointer.pyObject");
        frame.delete(pointer.raw());
        addresses.push(address? as u64);
    }
    addresses.sort_unstable();
    Ok(addresses)
}

/// The address of the Python object that `object`, of a class of this name, holds by jep.
pub(crate) fn address_held_by_jep(frame: &Frame<'_>, object: sys::jobject, class: &str) -> Option<u64> {
    let signature = match class {
        "jep.python.PyObject" => "Ljep/python/PyObject;",
        "jep.python.PyCallable" => "Ljep/python/PyCallable;",
        _ => return None,
    };
    let pointer = Member { name: c"pointer", of: c"Ljep/python/PyPointer;", call: "PyObject.pointer" };
    // SAFETY: the caller's reference is alive and not null.
    let object = unsafe { Local::from_raw(object) };
    let pointer = frame.field(object, signature, pointer).ok()?;
    let address = frame.long(pointer, POINTER, c"pyObject", "PyPointer.pyObject");
    frame.delete(pointer.raw());
    address.ok().map(|address| address as u64)
}
