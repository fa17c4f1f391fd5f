//! Pymalloc's arenas: what is mapped, and what of it is handed out, so that free arenas are told from a leak.
//!
//! CPython counts this itself and writes it as text into a C file (`sys._debugmallocstats`); here the file is a buffer of
//! ours. Hooking the arena allocator would be cheaper, but knows neither the arenas from before nor what is used in them;
//! reading pool headers needs the arenas' addresses, which are hidden in stripped builds.
//!
//! CPython stays silent while anything stands on top of pymalloc (tracemalloc, a hook). So for the length of that one
//! call, which allocates no Python memory, pymalloc is put back on top, under the GIL: nobody can have allocated meanwhile.
//! Where a second interpreter may run beside it (each has a GIL of its own from 3.12 on, if it likes), only `malloc` is put
//! back, which is all that CPython looks at: what others allocate in that moment is not seen by who stands on top, but each
//! of their frees is. Never done in free-threaded builds, which have no pymalloc.
//!
//! What is counted: the arenas of the interpreter that is read and of those that share its allocator. The cost is one
//! visit to each pool (16 KiB; 4 KiB before 3.10). The host's malloc sees one small block for the file, for the length of
//! the call.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::NonNull;
use std::sync::OnceLock;

use leakline_python::arenas::{ArenaBytes, parse};
use pyo3::Python;

use crate::host;

/// The text is some 4 KiB; one that does not fit is cut off, and the parser takes none that is.
const TEXT_BYTES: usize = 32 << 10;
/// For the file.
const WRITE: &CStr = c"w";
/// `PYMEM_DOMAIN_OBJ`.
const OBJECTS: c_int = 2;

type Print = unsafe extern "C" fn(*mut libc::FILE) -> c_int;
type Access = unsafe extern "C" fn(c_int, *mut Allocator);
type Interpreter = unsafe extern "C" fn() -> *mut c_void;

/// `PyMemAllocatorEx`, unchanged since 3.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
struct Allocator {
    context: *mut c_void,
    functions: [*mut c_void; 4],
}

// SAFETY: addresses, used by nobody but CPython, under its own rules.
unsafe impl Send for Allocator {}
// SAFETY: as above.
unsafe impl Sync for Allocator {}

impl Allocator {
    /// `on_top` with this one's `malloc`. The two need one context, or a `malloc` that has none and looks at none.
    fn malloc_under(self, on_top: Self) -> Result<Self, &'static str> {
        if !self.context.is_null() && self.context != on_top.context {
            return Err("a second interpreter runs, which may allocate meanwhile");
        }
        let [malloc, ..] = self.functions;
        let [_, calloc, realloc, free] = on_top.functions;
        Ok(Self { context: on_top.context, functions: [malloc, calloc, realloc, free] })
    }
}

/// Pymalloc itself, or its debugging version: seen on top once, when it counted. Functions stay where they are.
static PYMALLOC: OnceLock<Allocator> = OnceLock::new();

/// The calls that are outside the stable ABI.
struct Calls {
    print: Print,
    get: Access,
    set: Access,
    newest: Option<Interpreter>,
    oldest: Option<Interpreter>,
}

/// Learns which functions are pymalloc's while nothing stands on top of it: to be called before a hook is installed.
pub(crate) fn learn(py: Python<'_>) {
    if PYMALLOC.get().is_none() {
        read(py, &mut buffer()).ok();
    }
}

/// A buffer for the text, from our own heap and to be freed without the GIL.
pub(crate) fn buffer() -> Vec<u8> {
    vec![0; TEXT_BYTES]
}

/// The arenas now; or why they cannot be counted. `Ok(None)`: this Python has none.
pub(crate) fn read(py: Python<'_>, text: &mut [u8]) -> Result<Option<ArenaBytes>, &'static str> {
    let Some(calls) = Calls::find() else {
        return Err("this CPython does not export what counts them");
    };
    let mut on_top = Allocator { context: std::ptr::null_mut(), functions: [std::ptr::null_mut(); 4] };
    // SAFETY: the GIL is held, and `on_top` has the layout that CPython fills in.
    unsafe { (calls.get)(OBJECTS, &raw mut on_top) };
    let counted = calls.print(text);
    if let Some(found) = counted {
        PYMALLOC.get_or_init(|| on_top);
        return Ok(Some(found));
    }
    let Some(pymalloc) = PYMALLOC.get().copied() else {
        // Without a hook, silence means that there is no pymalloc; from here the two look the same.
        return Ok(None);
    };
    if on_top == pymalloc {
        return Ok(None);
    }
    let mut put_back = if calls.is_alone(py) { pymalloc } else { pymalloc.malloc_under(on_top)? };
    // SAFETY: the GIL is held. Either no other interpreter runs, so nobody allocates until the old one is back; or one
    // that does gets memory from pymalloc, as it would behind the old one, and frees it through the old one.
    unsafe { (calls.set)(OBJECTS, &raw mut put_back) };
    let counted = calls.print(text);
    // SAFETY: as above; it is what CPython itself gave.
    unsafe { (calls.set)(OBJECTS, &raw mut on_top) };
    Ok(counted)
}

/// Whether arenas of other interpreters may be missing in what [`read`] counts: from 3.12 on they can have their own.
pub(crate) fn may_be_more(py: Python<'_>) -> bool {
    Calls::find().is_some_and(|calls| !calls.is_alone(py))
}

impl Calls {
    fn find() -> Option<&'static Self> {
        static FOUND: OnceLock<Option<Calls>> = OnceLock::new();
        FOUND.get_or_init(Self::look_up).as_ref()
    }

    fn look_up() -> Option<Self> {
        let print = host::symbol(c"_PyObject_DebugMallocStats")?;
        let get = host::symbol(c"PyMem_GetAllocator")?;
        let set = host::symbol(c"PyMem_SetAllocator")?;
        Some(Self {
            // SAFETY: the name has had this signature in every CPython from 3.3 on.
            print: unsafe { std::mem::transmute::<NonNull<c_void>, Print>(print) },
            // SAFETY: a documented function; an enum of C is an int.
            get: unsafe { std::mem::transmute::<NonNull<c_void>, Access>(get) },
            // SAFETY: as above.
            set: unsafe { std::mem::transmute::<NonNull<c_void>, Access>(set) },
            newest: interpreter(c"PyInterpreterState_Head"),
            oldest: interpreter(c"PyInterpreterState_Main"),
        })
    }

    /// Whether nobody can allocate Python objects while this thread holds the GIL.
    fn is_alone(&self, py: Python<'_>) -> bool {
        if py.version_info() < (3, 12) {
            return true;
        }
        let (Some(newest), Some(oldest)) = (self.newest, self.oldest) else { return false };
        // SAFETY: it reads a pointer, which is not followed: another interpreter may be ending right now.
        let newest = unsafe { newest() };
        // Who makes a second one holds the GIL of one that is there.
        // SAFETY: as above.
        newest == unsafe { oldest() }
    }

    /// Has CPython write its text into `text`, and reads it.
    fn print(&self, text: &mut [u8]) -> Option<ArenaBytes> {
        text.fill(0);
        // SAFETY: `text` outlives the file, which is closed below and writes no further than it is told.
        let file = unsafe { libc::fmemopen(text.as_mut_ptr().cast(), text.len(), WRITE.as_ptr()) };
        let file = NonNull::new(file)?;
        let mut stage = [0 as c_char; 1024];
        // SAFETY: the file is new, and closed before `stage` ends: so the host's malloc need not give a buffer.
        unsafe { libc::setvbuf(file.as_ptr(), stage.as_mut_ptr(), libc::_IOFBF, stage.len()) };
        // SAFETY: the callers hold the GIL, and the file is open.
        unsafe { (self.print)(file.as_ptr()) };
        // SAFETY: opened above, and not used any more.
        unsafe { libc::fclose(file.as_ptr()) };
        let written = text.iter().position(|byte| *byte == 0).unwrap_or(0);
        parse(&text[..written])
    }
}

fn interpreter(name: &CStr) -> Option<Interpreter> {
    let address = host::symbol(name)?;
    // SAFETY: both names that are asked for are documented with this signature.
    Some(unsafe { std::mem::transmute::<NonNull<c_void>, Interpreter>(address) })
}
