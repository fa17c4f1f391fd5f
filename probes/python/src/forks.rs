//! Something that is done before `os.fork` forks: as a handler of `os.register_at_fork`, since those are called before
//! CPython takes its own locks for the fork, and so while the GIL may be given up. `pthread_atfork`'s are called after: from
//! 3.13 on, with a lock that any thread with the GIL may want.
//!
//! Registered first, so called last of all. Does nothing in children.

use std::ffi::{c_char, c_int, c_void};
use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::find::CPython;
use crate::soon;

/// What is done.
#[derive(Debug, Clone, Copy)]
pub struct Before {
    /// Whether there is anything to do now.
    pub is_wanted: fn() -> bool,
    /// Called without the GIL, on the thread that forks. Must not unwind.
    pub call: fn(),
}

static BEFORE: OnceLock<Before> = OnceLock::new();
static API: OnceLock<Option<Api>> = OnceLock::new();

/// As in methodobject.h.
#[repr(C)]
struct Method {
    name: *const c_char,
    call: unsafe extern "C-unwind" fn(*mut c_void, *mut c_void) -> *mut c_void,
    flags: c_int,
    doc: *const c_char,
}

// SAFETY: what it points to is never changed.
unsafe impl Sync for Method {}

const METH_NOARGS: c_int = 4;

static METHOD: Method =
    Method { name: c"leakline_before_fork".as_ptr(), call: before_fork, flags: METH_NOARGS, doc: null_mut() };

macro_rules! api {
    ($($field:ident = $name:literal: $type:ty;)*) => {
        /// What is needed of CPython.
        #[derive(Clone, Copy)]
        struct Api {
            $($field: $type,)*
            /// Not null on a thread that has the GIL.
            current: unsafe extern "C" fn() -> *mut c_void,
            none: usize,
        }

        impl Api {
            fn find() -> Option<Self> {
                let python = CPython::find()?;
                let current = python.symbol(c"PyThreadState_GetUnchecked");
                let current = current.or_else(|| python.symbol(c"_PyThreadState_UncheckedGet"))?;
                Some(Self {
                    // SAFETY: these names have had this signature in every CPython.
                    current: unsafe {
                        std::mem::transmute::<NonNull<c_void>, unsafe extern "C" fn() -> *mut c_void>(current)
                    },
                    $($field: {
                        let found = python.symbol($name)?;
                        // SAFETY: this name has had this signature in every CPython.
                        unsafe { std::mem::transmute::<NonNull<c_void>, $type>(found) }
                    },)*
                    none: python.symbol(c"_Py_NoneStruct")?.as_ptr() as usize,
                })
            }
        }
    };
}

type Object = *mut c_void;

api! {
    save = c"PyEval_SaveThread": unsafe extern "C" fn() -> *mut c_void;
    // A thread that comes back when the interpreter has ended is ended here.
    restore = c"PyEval_RestoreThread": unsafe extern "C-unwind" fn(*mut c_void);
    keep = c"Py_IncRef": unsafe extern "C" fn(Object);
    drop = c"Py_DecRef": unsafe extern "C" fn(Object);
    import = c"PyImport_ImportModule": unsafe extern "C" fn(*const c_char) -> Object;
    attribute = c"PyObject_GetAttrString": unsafe extern "C" fn(Object, *const c_char) -> Object;
    function = c"PyCFunction_NewEx": unsafe extern "C" fn(*const Method, Object, Object) -> Object;
    dictionary = c"PyDict_New": unsafe extern "C" fn() -> Object;
    insert = c"PyDict_SetItemString": unsafe extern "C" fn(Object, *const c_char, Object) -> c_int;
    tuple = c"PyTuple_New": unsafe extern "C" fn(isize) -> Object;
    call = c"PyObject_Call": unsafe extern "C" fn(Object, Object, Object) -> Object;
    clear_error = c"PyErr_Clear": unsafe extern "C" fn();
}

/// Has `before` done before each fork of Python's own from now on: at once on a thread that has the GIL, or soon. From CPython
/// 3.12 on. An interpreter that has not begun is to be seen by [`has_started`] when it has.
pub fn before_forks(before: Before) {
    if BEFORE.set(before).is_ok() {
        has_started();
    }
}

/// The interpreter runs. Registers what [`before_forks`] was given, if it was.
pub fn has_started() {
    if BEFORE.get().is_none() {
        return;
    }
    let Some(api) = API.get_or_init(Api::find) else { return };
    // SAFETY: it may be called on any thread, and from 3.12 on says what that one has.
    if !unsafe { (api.current)() }.is_null() {
        register(api);
    } else if CPython::find().is_some_and(|python| python.is_initialized()) {
        // Where too much waits to be called, `os.fork` warns at times.
        soon::call(register_soon);
    }
}

unsafe extern "C" fn register_soon(_: *mut c_void) -> c_int {
    if let Some(Some(api)) = API.get() {
        register(api);
    }
    0
}

/// With the GIL.
fn register(api: &Api) {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, Ordering::AcqRel) {
        return;
    }
    if api.register().is_none() {
        // SAFETY: with the GIL.
        unsafe { (api.clear_error)() };
    }
}

impl Api {
    fn register(&self) -> Option<()> {
        // SAFETY: with the GIL, as all below; the name ends with a NUL.
        let posix = self.owned(unsafe { (self.import)(c"posix".as_ptr()) })?;
        // SAFETY: the module lives, and the name ends with a NUL.
        let register = self.owned(unsafe { (self.attribute)(posix.object, c"register_at_fork".as_ptr()) })?;
        // SAFETY: the method is there for good.
        let function = self.owned(unsafe { (self.function)(&raw const METHOD, null_mut(), null_mut()) })?;
        // SAFETY: takes nothing.
        let named = self.owned(unsafe { (self.dictionary)() })?;
        // SAFETY: both objects live.
        if unsafe { (self.insert)(named.object, c"before".as_ptr(), function.object) } != 0 {
            return None;
        }
        // SAFETY: takes a number.
        let none = self.owned(unsafe { (self.tuple)(0) })?;
        // SAFETY: all of them live.
        self.owned(unsafe { (self.call)(register.object, none.object, named.object) }).map(drop)
    }

    fn owned(&self, object: Object) -> Option<Owned<'_>> {
        (!object.is_null()).then_some(Owned { api: self, object })
    }
}

/// A reference that is given back, with the GIL.
struct Owned<'a> {
    api: &'a Api,
    object: Object,
}

impl Drop for Owned<'_> {
    fn drop(&mut self) {
        // SAFETY: it is a reference of ours.
        unsafe { (self.api.drop)(self.object) };
    }
}

/// Called by CPython with the GIL.
unsafe extern "C-unwind" fn before_fork(_: *mut c_void, _: *mut c_void) -> *mut c_void {
    let (Some(Some(api)), Some(before)) = (API.get(), BEFORE.get()) else { return null_mut() };
    if (before.is_wanted)() {
        // SAFETY: this thread has the GIL.
        let state = unsafe { (api.save)() };
        (before.call)();
        // SAFETY: the state is this thread's.
        unsafe { (api.restore)(state) };
    }
    let none = api.none as *mut c_void;
    // SAFETY: CPython's None.
    unsafe { (api.keep)(none) };
    none
}
