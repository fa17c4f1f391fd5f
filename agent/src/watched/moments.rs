//! Moments at which a host that gets a runtime can be seen to do so without looking for it: a thread of the JVM's, a key of
//! the interpreter's. Then its lane is started, on the host's thread, outside of every lock of the host's.
//!
//! Costs a load where there is nothing to start. Who calls is told by `_dl_find_object`, which takes no lock.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

use leakline_probing::loader;
use leakline_probing::shared::Lane;

use super::{away, lanes};

/// What a thread runs.
pub type Routine = extern "C" fn(*mut c_void) -> *mut c_void;
type CreateThread =
    unsafe extern "C" fn(*mut libc::pthread_t, *const libc::pthread_attr_t, Routine, *mut c_void) -> c_int;
type CreateKey =
    unsafe extern "C" fn(*mut libc::pthread_key_t, Option<unsafe extern "C" fn(*mut c_void)>) -> c_int;

/// Libraries that are a JVM, or its launcher.
const JVM: [&[u8]; 2] = [b"libjvm.so", b"libjli.so"];
/// The beginning of the names of those that are CPython.
const PYTHON: [&[u8]; 1] = [b"libpython3"];

/// A function of the C library's behind ours, looked up at the first call.
struct Next(AtomicPtr<c_void>, &'static CStr);

static THREAD: Next = Next(AtomicPtr::new(std::ptr::null_mut()), c"pthread_create");
static KEY: Next = Next(AtomicPtr::new(std::ptr::null_mut()), c"pthread_key_create");
static FIND: Next = Next(AtomicPtr::new(std::ptr::null_mut()), c"_dl_find_object");

impl Next {
    fn get(&self) -> Option<*mut c_void> {
        let known = self.0.load(Ordering::Relaxed);
        if !known.is_null() {
            return Some(known);
        }
        let found = loader::next_symbol(self.1)?.as_ptr();
        self.0.store(found, Ordering::Relaxed);
        Some(found)
    }
}

/// `pthread_create`, passed on. A JVM's thread shows that there is a JVM.
///
/// # Safety
/// As the C library's.
#[unsafe(link_section = "leakline_pass")]
pub unsafe extern "C" fn create_thread(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    routine: Routine,
    argument: *mut c_void,
) -> c_int {
    let Some(next) = THREAD.get() else { return libc::EAGAIN };
    // SAFETY: the C library has this name with this signature.
    let next = unsafe { std::mem::transmute::<*mut c_void, CreateThread>(next) };
    // SAFETY: the host's call, passed on.
    let outcome = unsafe { next(thread, attributes, routine, argument) };
    if outcome == 0 && routine as usize != lanes::main as *const () as usize {
        away::host_has_threads();
        if lanes::may_start(Lane::Jvm) {
            start_if_in(Lane::Jvm, routine as usize, &JVM);
        }
    }
    outcome
}

/// `pthread_key_create`, passed on, with the address from which it was called. CPython's first key, which it makes while it
/// starts, shows that there is a CPython.
///
/// # Safety
/// As the C library's.
#[unsafe(link_section = "leakline_pass")]
pub unsafe extern "C" fn create_key(
    key: *mut libc::pthread_key_t,
    destructor: Option<unsafe extern "C" fn(*mut c_void)>,
    caller: usize,
) -> c_int {
    let Some(next) = KEY.get() else { return libc::EAGAIN };
    // SAFETY: the C library has this name with this signature.
    let next = unsafe { std::mem::transmute::<*mut c_void, CreateKey>(next) };
    // SAFETY: the host's call, passed on.
    let outcome = unsafe { next(key, destructor) };
    // Its allocator makes one, with a destructor, as soon as the library is loaded, which need not mean anything.
    if outcome == 0 && destructor.is_none() && lanes::may_start(Lane::Python) {
        start_if_in(Lane::Python, caller, &PYTHON);
    }
    outcome
}

#[cold]
fn start_if_in(lane: Lane, address: usize, names: &[&[u8]]) {
    // A panic must not reach the host.
    let started = std::panic::catch_unwind(|| {
        if is_in(address, names) {
            lanes::start(lane);
        }
    });
    drop(started);
}

/// Whether the object that has `address` has a file name that begins with one of `names`.
fn is_in(address: usize, names: &[&[u8]]) -> bool {
    /// As in dlfcn.h, with room for what newer versions add.
    #[repr(C)]
    struct Found {
        flags: u64,
        start: *mut c_void,
        end: *mut c_void,
        map: *const LinkMap,
        rest: [u64; 12],
    }
    /// The beginning of the loader's own, as in link.h.
    #[repr(C)]
    struct LinkMap {
        base: usize,
        name: *const c_char,
    }

    let Some(find) = FIND.get() else { return false };
    // SAFETY: the C library has this name with this signature.
    let find = unsafe {
        std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void, *mut Found) -> c_int>(find)
    };
    let mut found = Found {
        flags: 0,
        start: std::ptr::null_mut(),
        end: std::ptr::null_mut(),
        map: std::ptr::null(),
        rest: [0; 12],
    };
    // SAFETY: it only compares the address, and writes what it found.
    if unsafe { find(address as *mut c_void, &raw mut found) } != 0 {
        return false;
    }
    // SAFETY: null, or the loader's entry of an object that is in use: code of it called us, or is about to run.
    let Some(map) = (unsafe { found.map.as_ref() }) else { return false };
    if map.name.is_null() {
        return false;
    }
    // SAFETY: the loader's names end with a NUL and live as long as the object.
    let path = unsafe { CStr::from_ptr(map.name) }.to_bytes();
    let file = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    names.iter().any(|name| file.starts_with(name))
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_by_the_file_that_has_it() {
        let libc = loader::symbol(c"pthread_create").unwrap().as_ptr() as usize;
        assert!(is_in(libc, &[b"nothing", b"libc.so"]));
        assert!(!is_in(libc, &PYTHON) && !is_in(0, &[b""]));
        // The program itself has no name.
        assert!(!is_in(an_address_is_told_by_the_file_that_has_it as *const () as usize, &[b"lib"]));
    }

    #[test]
    fn calls_are_passed_on() {
        extern "C" fn doubled(argument: *mut c_void) -> *mut c_void {
            (argument as usize * 2) as *mut c_void
        }
        let (mut thread, mut result, mut key) = (0, std::ptr::null_mut(), 0);
        // SAFETY: everything outlives the thread, which is joined.
        let created = unsafe { create_thread(&raw mut thread, std::ptr::null(), doubled, 21 as *mut c_void) };
        // SAFETY: it was created just now.
        let joined = unsafe { libc::pthread_join(thread, &raw mut result) };
        assert_eq!((created, joined, result as usize), (0, 0, 42));
        // SAFETY: `key` is ours to write.
        assert_eq!(unsafe { create_key(&raw mut key, None, 0) }, 0);
        // SAFETY: it was created just now.
        assert_eq!(unsafe { libc::pthread_key_delete(key) }, 0);
    }
}
