//! Calls the destructors of our threads' variables, in place of glibc's `__cxa_thread_atexit_impl`, which takes memory of
//! the host's for each and aborts the process when there is none. The linker gives std this one (see `build.rs`); the host
//! and its libraries keep glibc's.
//!
//! Never aborts: a destructor that there is no memory for is not called, and what it would give back is leaked.

use std::alloc::{GlobalAlloc as _, Layout};
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU32, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::HEAP;

type Destructor = unsafe extern "C" fn(*mut c_void);

/// One destructor; the newest is called first.
struct Node {
    destructor: Destructor,
    object: *mut c_void,
    older: *mut Node,
}

/// The key under which a thread keeps its list, and one more; 0: there is none yet. The library is loaded before the program
/// makes keys, so ours is among the first, for which glibc has room in each thread.
static KEY: AtomicU32 = AtomicU32::new(0);

/// As glibc's.
///
/// # Safety
/// `destructor` may be called with `object` when this thread ends.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn leakline_thread_atexit(
    destructor: Destructor,
    object: *mut c_void,
    _: *mut c_void,
) -> c_int {
    let Some(key) = key() else { return -1 };
    // SAFETY: the layout is not of size zero.
    let node: *mut Node = unsafe { HEAP.alloc(Layout::new::<Node>()) }.cast();
    if node.is_null() {
        return -1;
    }
    // SAFETY: the key exists as long as the process.
    let older = unsafe { libc::pthread_getspecific(key) }.cast();
    // SAFETY: there is room for a node, and nobody else has it.
    unsafe { node.write(Node { destructor, object, older }) };
    // SAFETY: as above. Where it fails the node is leaked.
    unsafe { libc::pthread_setspecific(key, node.cast()) }
}

/// Called by the C library when a thread ends, with its list.
unsafe extern "C" fn end(list: *mut c_void) {
    let Some(key) = key() else { return };
    let mut list: *mut Node = list.cast();
    while !list.is_null() {
        // SAFETY: only nodes are in the list, each is read once and given back then.
        let node = unsafe { list.read() };
        // SAFETY: it came from this heap with this layout.
        unsafe { HEAP.dealloc(list.cast(), Layout::new::<Node>()) };
        // Before the destructor, which may register another.
        // SAFETY: the key exists as long as the process.
        unsafe { libc::pthread_setspecific(key, node.older.cast()) };
        // SAFETY: whoever registered it allowed that.
        unsafe { (node.destructor)(node.object) };
        // SAFETY: as above.
        list = unsafe { libc::pthread_getspecific(key) }.cast();
    }
}

fn key() -> Option<libc::pthread_key_t> {
    KEY.load(Acquire).checked_sub(1).or_else(make_key)
}

#[cold]
fn make_key() -> Option<libc::pthread_key_t> {
    let mut key = 0;
    // SAFETY: `key` is ours to write, and `end` is there as long as the library, which is never unloaded.
    if unsafe { libc::pthread_key_create(&raw mut key, Some(end)) } != 0 {
        return None;
    }
    match KEY.compare_exchange(0, key + 1, Release, Relaxed) {
        Ok(_) => Some(key),
        Err(_) => {
            // Another thread was first.
            // SAFETY: nobody else knows this key.
            unsafe { libc::pthread_key_delete(key) };
            KEY.load(Acquire).checked_sub(1)
        }
    }
}

/// Makes the key before the program makes its own.
pub(crate) fn begin() {
    let _ = key();
}
